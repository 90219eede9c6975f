"""What `try` found, as JSON and as one table of text in 100 columns."""

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from offline.dataset import Dataset
from offline.trying.contenders import BY_SIMPLICITY, MMGREC, Contender, compared_users
from offline.trying.intervals import Interval, mean_interval
from offline.trying.verdict import Verdict, gain, judge

WIDTH = 100
MEANING = {
    "popularity": "the same for everyone: what most users took",
    "item-kNN": "what users took who took the same items",
    "transitions": "what was taken next, counted over one to three steps",
    "SASRec": "a Transformer over the order of a history",
    MMGREC: "as the service answers",
}
_HEAD = ("method", "recall@20 (95 %)", "ndcg@20 (95 %)", "MMGRec ahead (95 %)", "s")


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """All that there is to say.

    Attributes:
        dataset: what was tried.
        contenders: in the order of `BY_SIMPLICITY`; none where nothing is held out.
        skipped: who could not run, and why.
        columns: field to column of the log; empty where a dataset folder was given.
        recipe: of MMGRec.
        verdict: of the contenders.
    """

    dataset: Dataset
    contenders: tuple[Contender, ...]
    skipped: Mapping[str, str]
    columns: Mapping[str, str]
    recipe: str
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        return {
            "dataset": self.dataset.name,
            "users": self.dataset.num_users,
            "items": self.dataset.num_items,
            "has_time": self.dataset.has_time,
            "columns": dict(self.columns),
            "recipe": self.recipe,
            "compared_users": len(compared_users(self.dataset)),
            "new_items_share": _rounded(new_items_share(self.dataset)),
            "contenders": [self._contender_json(each) for each in self.contenders],
            "skipped": dict(self.skipped),
            "verdict": asdict(self.verdict),
        }

    def as_text(self) -> str:
        """Table and verdict, at most `WIDTH` columns but for long names."""
        return "\n".join(
            [*self._title(), *self._table(), *self._notes(), "", *_wrapped(f"VERDICT: {self.verdict.words}")]
        )

    def _contender_json(self, each: Contender) -> dict[str, Any]:
        found = {
            "name": each.name,
            "recall@20": _interval_json(mean_interval(each.recall)),
            "ndcg@20": _interval_json(mean_interval(each.ndcg)),
            "seconds": round(each.seconds, 1),
        }
        ahead = self._ahead(each)
        return found | ({} if ahead is None else {"mmgrec_ahead": _interval_json(ahead)})

    def _ahead(self, each: Contender) -> Interval | None:
        """How far MMGRec is ahead in recall@20 + ndcg@20."""
        mmgrec = next(one for one in self.contenders if one.name == MMGREC)
        return None if each is mmgrec else gain(mmgrec, each)

    def _title(self) -> list[str]:
        data = self.dataset
        compared = f"{len(compared_users(data)):,} of {data.num_users:,} users, {data.num_items:,} items"
        hidden = "The newest item of each" if data.has_time else "A tenth of the items of each, drawn at random,"
        return _wrapped(
            f"{data.name}: {compared}. {hidden} was hidden; each method ranks all items but those that the user has."
        )

    def _table(self) -> list[str]:
        if not self.contenders:
            return []
        rows = [_HEAD, *(self._row(each) for each in self.contenders)]
        widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
        lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
        return ["", lines[0], "-" * len(lines[0]), *lines[1:]]

    def _row(self, each: Contender) -> tuple[str, ...]:
        ahead = self._ahead(each)
        return (
            each.name,
            _shown(mean_interval(each.recall)),
            _shown(mean_interval(each.ndcg)),
            "" if ahead is None else _shown(ahead, sign="+"),
            f"{each.seconds:.0f}",
        )

    def _notes(self) -> list[str]:
        notes = []
        if self.contenders:
            notes += _wrapped(
                "recall@20: share of the hidden items among 20 recommendations; ndcg@20: the same, counting more the "
                "further up they stand; MMGRec ahead: in the sum of both, over the same users, clear when the bounds "
                "have one sign; s: seconds to choose settings and to fit."
            )
            notes += [f"{each.name}: {MEANING[each.name]}" for each in self.contenders]
        notes += [line for name, why in self.skipped.items() for line in _wrapped(f"{name}: left out, {why}")]
        share = new_items_share(self.dataset)
        if share is not None and share >= 0.05:
            notes += _wrapped(
                f"{share * 100:.0f} % of the hidden items stand in no training history: only content (titles, ...) "
                "could lead to them."
            )
        if self.columns and "timestamp" not in self.columns:
            known = ",".join(f"{field}={column}" for field, column in self.columns.items())
            notes += _wrapped(
                "No column was taken as a time. If the log has one, name it, because order tells a lot: "
                f"--map {shlex.quote(f'{known},timestamp=COLUMN')}"
            )
        if self.recipe == "tiny" and self.contenders:
            notes += _wrapped("MMGRec was trained with the recipe tiny, to see how it goes; judge it by standard.")
        return ["", *notes] if notes else []


def outcome_of(
    dataset: Dataset,
    contenders: Sequence[Contender],
    skipped: Mapping[str, str],
    columns: Mapping[str, str],
    recipe: str,
) -> Outcome:
    """Judge, and put everything in order."""
    ordered = tuple(sorted(contenders, key=lambda each: BY_SIMPLICITY.index(each.name)))
    return Outcome(
        dataset=dataset,
        contenders=ordered,
        skipped=skipped,
        columns=columns,
        recipe=recipe,
        verdict=judge(ordered),
    )


def new_items_share(dataset: Dataset) -> float | None:
    """Share of the held-out items that nobody has in training; None where nothing is held out."""
    held_out = dataset.test.items
    return float(np.mean(dataset.train_counts()[held_out] == 0)) if len(held_out) else None


def _shown(found: Interval, sign: str = "") -> str:
    return f"{found.mean:{sign}.4f} {found.low:{sign}.4f}..{found.high:{sign}.4f}"


def _interval_json(found: Interval) -> dict[str, float]:
    return {name: round(value, 6) for name, value in found._asdict().items()}


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
