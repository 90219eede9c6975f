"""The gate: what a candidate must hold before anybody is served by it, and every reason why one is refused.

`publish` asks what the run alone can tell (`promises_of`); `retrain` asks for more (offline.retraining.judging). A
reason that is `final` breaks a promise of every release, and nothing publishes in spite of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from offline.artefacts import open_run_decoder
from offline.parity import MAX_SCORE_DIFFERENCE, MIN_SAME_LISTS
from offline.run_folder import RunFolder
from service.constraints import ItemFilter
from service.decoder import BeamDecoder

MOST_SHRINK = 0.2
"""Share of the items, or of the interactions, that may have gone since the served release."""
LEAST_COMMON = 0.5
"""Share of the served items that the candidate must have: with less it is another catalogue."""
LEAST_COVERAGE = 0.5
"""Coverage of the catalogue, as a share of the served release's."""
MOST_SLOWER = 2.0
"""Median latency, as a multiple of the served release's."""
SLOWER_FLOOR_MS = 2.0
"""Differences below it are the machine's."""
STANDARD_ERRORS = 2.0
"""A fall that is smaller than this many standard errors of the paired difference is noise."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a candidate is refused.

    Attributes:
        name: of what was measured, such as "recall@20".
        value: what was found.
        limit: what it must not be beyond.
        text: the same in words.
        final: whether it holds in spite of `--force`.
    """

    name: str
    value: float | str
    limit: float | str
    text: str
    final: bool = False

    def as_json(self) -> dict[str, Any]:
        """As reports and summaries have it."""
        return asdict(self)


def promises_of(run: RunFolder, decoder: BeamDecoder | None = None) -> tuple[list[Reason], dict[str, Any]]:
    """What a run breaks of what every release promises, and the facts that go into the manifest.

    Rec-IDs are unique and legal (the trie cannot be built otherwise), the decoder opens and answers, ONNX equals torch
    (measured when it was exported), and the evaluation met no illegal, repeated or seen item.

    Args:
        run: finished.
        decoder: the run's own, where it is open already.

    Raises:
        BadInputError: a file of the run is missing or damaged, or its Rec-IDs are not unique and legal.
    """
    decoder = decoder or open_run_decoder(run)
    beam_width = decoder.settings.beam_widths[0]
    try:
        answer = decoder.decode([np.zeros(0, np.int64)], [ItemFilter()], beam_width=beam_width)
    except Exception as error:  # noqa: BLE001 - a runtime may raise anything on a graph that it cannot run
        cure = f"export it again: python -m offline export --data DIR --run {run.folder}"
        return [_broken("decoder", str(error), "runs", f"its decoder does not run ({error}); {cure}")], {}
    metrics, parity = run.read_json("metrics.json"), run.read_json("parity.json")
    num_expected = min(beam_width, decoder.num_items)
    reasons = [
        _broken(name, metrics[name], 0, f"{name} = {metrics[name]:g}, must be 0")
        for name in ("illegal", "duplicates", "seen")
        if metrics[name]
    ]
    found = int(answer.alive.sum())
    if found != num_expected or not np.isfinite(answer.score[answer.alive]).all():
        text = f"an empty history must get {num_expected} items with finite scores"
        reasons.append(_broken("empty_history", found, num_expected, text))
    num_described = len(run.load_arrays("item_table")["items.train_count"])
    if num_described != decoder.num_items:
        text = f"the item table describes {num_described} items, the trie holds {decoder.num_items}"
        reasons.append(_broken("item_table", num_described, decoder.num_items, text))
    reasons += _parity_reasons(parity.get("fp32", {}), decoder.settings.dense_weight)
    return reasons, {"items": decoder.num_items, **parity}


def _parity_reasons(parity: Mapping[str, Any], dense_weight: float) -> list[Reason]:
    """ONNX against torch, with the limits of `offline.parity.check_parity`."""
    same, difference = parity.get("same_lists", 1.0), parity.get("max_score_difference", 0.0)
    limit = MAX_SCORE_DIFFERENCE * max(1.0, dense_weight / 20)
    reasons = []
    if same < MIN_SAME_LISTS:
        text = f"ONNX gives the lists of torch to {same:.2%} of the users, at least {MIN_SAME_LISTS:.2%} must get them"
        reasons.append(_broken("same_lists", same, MIN_SAME_LISTS, text))
    if difference > limit:
        text = f"scores of ONNX and torch differ by {difference:g}, at most {limit:g} is allowed"
        reasons.append(_broken("max_score_difference", difference, limit, text))
    return reasons


def shrink_reasons(now: Mapping[str, int], before: Mapping[str, int]) -> list[Reason]:
    """Whether `items` or `interactions` have shrunk beyond the limit; names that `before` lacks are not compared."""
    reasons = []
    for name in ("items", "interactions"):
        least = before.get(name, 0) * (1 - MOST_SHRINK)
        if now[name] < least:
            text = (
                f"the dataset has {now[name]} {name}, the served release was made of {before[name]}: more than "
                f"{MOST_SHRINK:.0%} are gone; see whether the export was cut off"
            )
            reasons.append(Reason(name=name, value=now[name], limit=least, text=text))
    return reasons


def catalogue_reasons(num_common: int, num_served: int) -> list[Reason]:
    """Whether the candidate is of another catalogue than what is served: then nothing compares the two either.

    Args:
        num_common: served items that the candidate has, too.
        num_served: items of the served release.
    """
    share = num_common / num_served if num_served else 1.0
    if share >= LEAST_COMMON:
        return []
    text = (
        f"the dataset has {num_common} of the {num_served} items of the served release ({share:.1%}), at least "
        f"{LEAST_COMMON:.0%} are asked for; see whether --data and --namespace belong together"
    )
    return [Reason(name="catalogue", value=share, limit=LEAST_COMMON, text=text)]


def quality_reasons(comparison: Mapping[str, Any], tolerance: float) -> list[Reason]:
    """Falls of recall and NDCG beyond the tolerance that are more than noise, and a coverage that has collapsed.

    Args:
        comparison: see `offline.retraining.comparison.compare`.
        tolerance: share of the served release's quality that may be lost.
    """
    reasons = []
    for name, difference in comparison.get("difference", {}).items():
        new, served = comparison["new"][name], comparison["served"][name]
        least, noise = served * (1 - tolerance), STANDARD_ERRORS * comparison["standard_error"][name]
        if new < least and difference + noise < 0:
            text = (
                f"{name} is {new:.4f}, the served release has {served:.4f} on the same {comparison['users']} users; at "
                f"least {least:.4f} is asked for, and the fall is more than {STANDARD_ERRORS:g} standard errors"
            )
            reasons.append(Reason(name=name, value=new, limit=least, text=text))
    if "served" in comparison:
        new, least = comparison["new"]["coverage@20"], comparison["served"]["coverage@20"] * LEAST_COVERAGE
        if new < least:
            text = f"coverage@20 has collapsed to {new:.4f}; at least {least:.4f} is asked for, half of what is served"
            reasons.append(Reason(name="coverage@20", value=new, limit=least, text=text))
    return reasons


def latency_reasons(new_ms: float, served_ms: float | None, budget_ms: float | None) -> list[Reason]:
    """Whether an answer takes much longer than the served release's, or longer than the budget."""
    reasons = []
    if served_ms is not None:
        most = max(served_ms * MOST_SLOWER, served_ms + SLOWER_FLOOR_MS)
        if new_ms > most:
            text = f"an answer takes {new_ms:.2f} ms (median), the served release {served_ms:.2f}; at most {most:.2f}"
            reasons.append(Reason(name="latency_ms", value=new_ms, limit=most, text=text))
    if budget_ms is not None and new_ms > budget_ms:
        text = f"an answer takes {new_ms:.2f} ms (median), --latency-budget-ms is {budget_ms:g}"
        reasons.append(Reason(name="latency_budget_ms", value=new_ms, limit=budget_ms, text=text))
    return reasons


def replay_reasons(counts: Mapping[str, int]) -> list[Reason]:
    """Answers to recent histories that no release may give."""
    return [
        _broken(f"replay_{name}", counts[name], 0, f"{counts[name]} {name} items in the answers to recent histories")
        for name in ("illegal", "duplicates", "seen", "missing")
        if counts[name]
    ]


def in_words(reasons: Sequence[Reason]) -> str:
    """All reasons in one line."""
    return "; ".join(reason.text for reason in reasons)


def _broken(name: str, value: float | str, limit: float | str, text: str) -> Reason:
    return Reason(name=name, value=value, limit=limit, text=text, final=True)
