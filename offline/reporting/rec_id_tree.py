"""The first two levels of the Rec-ID tree as branches with a share of the circle and a colour, ready to be drawn."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from offline.reporting.charts import percentage, short
from offline.reporting.facts import Facts

IntArray = npt.NDArray[np.int64]

THINNEST = 0.0008
"""Branches of a smaller share of the circle are drawn together: nobody sees them, and a page has to be sent."""
COLOURS = 8
COMMONEST_CATEGORY = 0.5
"""A category of more than half of the items tells them apart too little to be a colour."""
NAMED = 3


class Branch(NamedTuple):
    """A node of the tree.

    Attributes:
        ring: 0 for the first level, 1 for the second.
        start: where it begins on the circle, in [0, 1].
        stop: where it ends.
        look: CSS class of its colour.
        opacity: of the colour.
        text: what it is.
        rows: its items.
    """

    ring: int
    start: float
    stop: float
    look: str
    opacity: float
    text: str
    rows: IntArray


class Look(NamedTuple):
    """Colour of a set of items: `group` sorts equal ones beside each other."""

    group: float
    look: str
    opacity: float
    text: str


class Colouring(NamedTuple):
    """How branches are coloured.

    Attributes:
        of: the look of item rows.
        alike: item rows taken apart into those that look alike.
        legend: names and CSS classes.
        title: what the colours say.
    """

    of: Callable[[IntArray], Look]
    alike: Callable[[IntArray], list[IntArray]]
    legend: Sequence[tuple[str, str]]
    title: str


def branches_of(facts: Facts, colouring: Colouring) -> list[Branch]:
    """All branches: those of the first level by colour and size, those of the second within them."""
    codes, found, start = facts.codes, list[Branch](), 0.0
    for code, rows, look in _in_order(_groups(codes[:, 0], np.arange(facts.num_items)), colouring):
        stop = start + len(rows) / facts.num_items
        found.append(_branch(0, start, stop, f"code {code}", rows, look, facts))
        if codes.shape[1] > 1:
            found += _second_level(facts, colouring, rows, f"codes {code}", start)
        start = stop
    return found


def _second_level(facts: Facts, colouring: Colouring, rows: IntArray, above: str, start: float) -> list[Branch]:
    """The branches within one of the first level; those too thin to be seen are joined, as far as they look alike."""
    fewest = THINNEST * facts.num_items
    groups = _groups(facts.codes[rows, 1], rows)
    drawn = [group for group in groups if len(group[1]) >= fewest]
    named = [(f"{above}, {code}", inside, look) for code, inside, look in _in_order(drawn, colouring)]
    if thin := [inside for _, inside in groups if len(inside) < fewest]:
        parts = colouring.alike(np.concatenate(thin))
        rest = [part for part in parts if len(part) < fewest]
        parts = [part for part in parts if len(part) >= fewest] + ([np.concatenate(rest)] if rest else [])
        named += [(f"{above}, and any of {len(thin)}", part, colouring.of(part)) for part in parts]
    found = []
    for name, inside, look in named:
        stop = start + len(inside) / facts.num_items
        found.append(_branch(1, start, stop, name, inside, look, facts))
        start = stop
    return found


def _branch(ring: int, start: float, stop: float, name: str, rows: IntArray, look: Look, facts: Facts) -> Branch:
    titles = " · ".join(facts.name_of(row) for row in facts.most_interacted(rows, NAMED))
    text = f"{name}: {len(rows)} {'item' if len(rows) == 1 else 'items'}, {look.text}\n{titles}"
    return Branch(ring, start, stop, look.look, look.opacity, text, rows)


def _groups(codes: npt.NDArray[np.int32], rows: IntArray) -> list[tuple[int, IntArray]]:
    """Every code that occurs, and its item rows."""
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)
    return [(int(code), part) for code, part in zip(present, np.split(rows[order], starts[1:]), strict=True)]


def _in_order(groups: list[tuple[int, IntArray]], colouring: Colouring) -> list[tuple[int, IntArray, Look]]:
    """By colour and then by size."""
    looked = [(code, rows, colouring.of(rows)) for code, rows in groups]
    return sorted(looked, key=lambda group: (group[2].group, -len(group[1]), group[0]))


def colouring_of(facts: Facts) -> Colouring:
    """By the most frequent category where categories tell items apart, else by popularity."""
    return _by_category(facts) or _by_popularity(facts)


def _by_category(facts: Facts) -> Colouring | None:
    names, counts = np.unique(
        np.array([name for each in facts.table.categories for name in dict.fromkeys(each)], object).astype(str),
        return_counts=True,
    )
    fitting = counts <= COMMONEST_CATEGORY * facts.num_items
    names, counts = names[fitting], counts[fitting]
    chosen = [str(names[at]) for at in np.argsort(-counts, kind="stable")[:COLOURS]]
    place = {name: at for at, name in enumerate(chosen)}
    # An item of several is that which tells more of the tree: the most frequent of them, or the least.
    labels = max(
        (_labels(facts, place, pick) for pick in (min, max)), key=lambda each: _purity(each, facts.codes[:, 0])
    )
    if len(chosen) < 2 or (labels < COLOURS).mean() < 1 / 3:
        return None
    looks = [f"s{at}" for at in range(len(chosen))]

    def look_of(rows: IntArray) -> Look:
        tally = np.bincount(labels[rows], minlength=COLOURS + 1)
        most = int(tally.argmax())
        purity = float(tally[most] / len(rows))
        if most == COLOURS:
            return Look(COLOURS, "rest", 0.35 + 0.5 * purity, f"{percentage(purity)} of other categories")
        return Look(most, looks[most], 0.3 + 0.7 * purity, f"{percentage(purity)} {chosen[most]}")

    legend = [*zip(chosen, looks, strict=True), ("other", "rest")]

    def alike(rows: IntArray) -> list[IntArray]:
        return [part for _, part in _groups(labels[rows], rows)]

    return Colouring(look_of, alike, legend, "colour: the most frequent category of a branch, paler where it is mixed")


def _labels(facts: Facts, place: Mapping[str, int], pick: Callable[[Iterable[int]], int]) -> npt.NDArray[np.int32]:
    """One category of every item, int32 [N]; `COLOURS` where it has none of those with a place."""
    places = ([place[name] for name in each if name in place] for each in facts.table.categories)
    return np.fromiter((pick(found) if found else COLOURS for found in places), np.int32, facts.num_items)


def _purity(labels: npt.NDArray[np.int32], codes: npt.NDArray[np.int32]) -> float:
    """Share of the items with the commonest label of their code, beyond that of the commonest label of all."""
    tally = np.zeros((int(codes.max()) + 1, COLOURS + 1), np.int64)
    np.add.at(tally, (codes, labels), 1)
    return float(tally.max(axis=1).sum() - tally.sum(axis=0).max()) / len(codes)


def _by_popularity(facts: Facts) -> Colouring:
    counts = facts.table.train_counts
    highest = float(np.log1p(counts).max()) or 1.0

    def look_of(rows: IntArray) -> Look:
        mean = float(counts[rows].mean())
        strength = float(np.log1p(counts[rows]).mean()) / highest
        return Look(-strength, "s0", 0.12 + 0.88 * strength, f"{short(mean)} training interactions an item")

    legend = [("the stronger the colour, the more training interactions an item has", "s0")]
    return Colouring(
        look_of, lambda rows: [rows], legend, "colour: training interactions of an average item of the branch"
    )
