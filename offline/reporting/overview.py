"""The head of the report: what was trained, whether it was published, and the figures that everybody asks for."""

from offline.reporting.charts import percentage
from offline.reporting.facts import Facts
from offline.reporting.latency_section import Latencies
from offline.reporting.markup import Html, join, tag
from offline.reporting.page import seconds_text
from offline.reporting.served import Served


def head(facts: Facts, latencies: Latencies, served: Served | None) -> Html:
    """Title, what kind of run, the verdict of the gate, and tiles."""
    return tag(
        "header",
        tag("p", "MMGRec, report of a run", class_="overline"),
        tag("h1", str(facts.description["dataset"])),
        _chips(facts, served),
        _refusal(facts),
        tag("div", *(_tile(value, name) for value, name in _tiles(facts, latencies)), class_="tiles"),
    )


def _chips(facts: Facts, served: Served | None) -> Html:
    recipe = facts.description["recipe"]
    finished = facts.stages["metrics"].finished[:16]
    plain = [f"recipe {recipe.get('name')}", f"seed {recipe.get('seed')}", finished and f"finished {finished} UTC"]
    if served is not None:
        plain.append(f"compared with {served.version}")
    chips = [tag("li", text) for text in plain if text]
    if facts.version is not None:
        chips.append(tag("li", f"published as {facts.version}", class_="good"))
    if facts.gate is not None:
        said = "gate passed" if facts.gate.passed else "gate overruled" if facts.gate.forced else "gate refused"
        chips.append(tag("li", said, class_="good" if facts.gate.passed else "bad"))
    return tag("ul", *chips, class_="chips")


def _refusal(facts: Facts) -> Html | None:
    """The reasons of a gate, those of one that was forced included."""
    if facts.gate is None or not facts.gate.reasons:
        return None
    reasons = facts.gate.reasons
    return tag(
        "div",
        tag("h3", "What the gate found"),
        tag("ul", *(tag("li", reason) for reason in reasons)),
        class_="findings",
    )


def _tiles(facts: Facts, latencies: Latencies) -> list[tuple[str, str]]:
    metrics, tiles = facts.metrics, []
    if "recall@20" in metrics:
        popular = metrics.get("popularity_recall@20")
        times = f", {metrics['recall@20'] / popular:.1f} times popularity" if popular else ""
        tiles.append((f"{metrics['recall@20']:.4f}", f"recall@20{times}"))
        tiles.append((f"{metrics['ndcg@20']:.4f}", "ndcg@20"))
    if "coverage@20" in metrics:
        tiles.append((percentage(metrics["coverage@20"]), "of the items recommended"))
    unique = facts.rec_id_description["report"].get("unique_share")
    if unique is not None:
        tiles.append((percentage(float(unique)), "of the items with codes of their own"))
    single = latencies.measured[0]
    tiles.append((f"{single.p50:.1f} ms", f"to decode a request, p99 {single.p99:.1f} ms"))
    training = sum(record.seconds for name, record in facts.stages.items() if name != "metrics")
    tiles.append((seconds_text(training), "of training"))
    return tiles


def _tile(value: str, name: str) -> Html:
    return tag("div", join(tag("b", value), tag("span", name)), class_="tile")
