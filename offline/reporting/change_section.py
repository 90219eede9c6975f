"""What changed since the release that is served."""

import numpy as np

from offline.reporting.charts import percentage
from offline.reporting.facts import Facts
from offline.reporting.markup import Content, Html, join, tag
from offline.reporting.page import NOT_KNOWN, Cell, Section, absent, lead, pairs, table
from offline.reporting.quality_section import COLUMNS
from offline.reporting.served import Served

COMPARED = (
    *COLUMNS,
    "generator_recall@20",
    "generator_ndcg@20",
    "dense_recall@20",
    "popularity_recall@20",
    "beam_recall",
    "coverage@20",
)
NAMED = 8


def changes(facts: Facts, served: Served | None) -> Section:
    """Metrics side by side, items that came and went, items that kept their codes."""
    parts = [_as_the_gate_saw_it(facts)]
    if served is None:
        how = f"python -m offline report --run {facts.run.folder} --served active"
        parts.append(absent("Metrics, items and codes beside those of what is served: ", tag("code", how)))
    else:
        same = dict(served.metrics) == dict(facts.metrics)
        text = (
            f"Beside release {served.version}. A metric that is more than {percentage(served.tolerance)} below it is "
            "highlighted; figures compare only as far as both were scored on the same held-out interactions."
        )
        own = tag("p", "This run is what that release serves.", class_="good-text") if same else None
        parts += [lead(text), own, _metrics(facts, served), tag("h3", "Items and codes"), _items(facts, served)]
    return Section("changes", "Since the served release", join(parts))


def _as_the_gate_saw_it(facts: Facts) -> Html | None:
    """Both on the same users, histories and targets, as `retrain` has measured it."""
    if facts.gate is None or facts.gate.comparison is None:
        return None
    users, new, there, errors = facts.gate.comparison
    rows: list[list[Content | Cell]] = []
    for name in new.keys() & there.keys():
        error = f"{errors[name]:.4f}" if name in errors else NOT_KNOWN
        rows.append([name, _figure(there[name]), _figure(new[name]), f"{new[name] - there[name]:+.4f}", error])
    text = f"As the gate compared them: {users} users, the same held-out interactions, items that both know."
    head = ("metric", "served", "this run", "difference", "standard error")
    return join(lead(text), table(head, sorted(rows, key=lambda row: str(row[0]), reverse=True)))


def beyond_tolerance(facts: Facts, served: Served) -> list[str]:
    """The metrics that are further below the release than it is tolerated."""
    return [
        name
        for name in COMPARED
        if name in facts.metrics
        and name in served.metrics
        and facts.metrics[name] < served.metrics[name] * (1 - served.tolerance)
    ]


def _metrics(facts: Facts, served: Served) -> Html:
    worse = beyond_tolerance(facts, served)
    rows: list[list[Content | Cell]] = []
    for name in COMPARED:
        here, there = facts.metrics.get(name), served.metrics.get(name)
        if here is None and there is None:
            continue
        change = NOT_KNOWN if here is None or not there else f"{100 * (here / there - 1):+.1f} %"
        rows.append([name, _figure(there), _figure(here), Cell(change, "worse") if name in worse else change])
    if not rows:
        return absent("Neither was scored: there is nothing held out.")
    return table(("metric", "served", "this run", "change"), rows)


def _items(facts: Facts, served: Served) -> Html:
    here, there = facts.table.row_of(), {item_id: row for row, item_id in enumerate(served.item_ids)}
    added = [row for item_id, row in here.items() if item_id not in there]
    removed = [item_id for item_id in served.item_ids if item_id not in here]
    names = [facts.name_of(row) for row in facts.most_interacted(np.array(added, np.int64), NAMED)]
    rows: list[tuple[str, Content]] = [
        ("items", f"{facts.num_items}, of which {len(here) - len(added)} are in the release"),
        ("added", _listed(len(added), names)),
        ("removed", _listed(len(removed), removed[:NAMED])),
    ]
    rows += _kept_codes(facts, served, [(here[item_id], there[item_id]) for item_id in here.keys() & there.keys()])
    told = facts.rec_id_description.get("kept_codes_share")
    if told is not None:
        rows.append(("kept their codes since the last run", percentage(float(told))))
    return pairs(rows)


def _kept_codes(facts: Facts, served: Served, both: list[tuple[int, int]]) -> list[tuple[str, Content]]:
    """Shares of the items of both that have the same first code, and all the same codes."""
    if not both:
        return []
    if facts.codes.shape[1] != served.codes.shape[1]:
        return [("codes", f"{served.codes.shape[1]} levels there, {facts.codes.shape[1]} here: not comparable")]
    mine, theirs = np.array(both, np.int64).T
    equal = facts.codes[mine] == served.codes[theirs]
    return [
        ("same first code", percentage(float(equal[:, 0].mean()))),
        ("same codes at all levels", percentage(float(equal.all(axis=1).mean()))),
    ]


def _listed(count: int, names: list[str]) -> str:
    if not count:
        return "none"
    more = f" · and {count - len(names)} more" if count > len(names) else ""
    return f"{count}: {' · '.join(names)}{more}"


def _figure(value: float | None) -> str:
    return NOT_KNOWN if value is None else f"{value:.4f}"
