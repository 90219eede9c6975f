"""A few users: what they had, what they are recommended, and what the Rec-IDs have in common."""

import numpy as np
import numpy.typing as npt

from offline.recommended import Recommended
from offline.reporting.facts import Facts
from offline.reporting.markup import Content, Html, join, tag
from offline.reporting.page import Section, absent, lead

USERS, ITEMS, HISTORY = 4, 6, 8
FEWEST_HISTORY = 3

IntArray = npt.NDArray[np.int64]


def examples(facts: Facts) -> Section:
    """Four users with a history, spread over those that were kept."""
    title, kept = "Examples", facts.recommended
    if not facts.has_titles:
        return Section("examples", title, absent("The items have no titles, so a list of them would say nothing."))
    if kept is None:
        return Section("examples", title, absent("The run kept no lists; train it again to have it scored anew."))
    users = _chosen(kept)
    if not users:
        return Section("examples", title, absent("No user of the test split has a history to show."))
    text = (
        "Users of the test split, their newest items first. A tick marks what the user really took and the model did "
        "not know. Below each item: the items of the history that share most of its first codes."
    )
    shown = (_example(facts, kept, user, number) for number, user in enumerate(users, 1))
    return Section("examples", title, join(lead(text), tag("div", *shown, class_="grid roomy")))


def _chosen(kept: Recommended) -> list[int]:
    """Spread over the users that have a few items; all others only where there are none such."""
    lengths = [len(history) for history in kept.histories]
    fitting = [user for user, length in enumerate(lengths) if length >= FEWEST_HISTORY]
    fitting = fitting or [user for user, length in enumerate(lengths) if length]
    if not fitting:
        return []
    places = np.unique(np.linspace(0, len(fitting) - 1, USERS).astype(np.int64))
    return [fitting[int(place)] for place in places]


def _example(facts: Facts, kept: Recommended, user: int, number: int) -> Html:
    history = kept.histories[user][::-1]
    named = [facts.name_of(int(row)) for row in history[:HISTORY]]
    more = f" · and {len(history) - HISTORY} more" if len(history) > HISTORY else ""
    answered = [
        _answered(facts, int(row), history, found=bool(found))
        for row, found in zip(kept.items[user][:ITEMS], kept.found[user][:ITEMS], strict=True)
        if row >= 0
    ]
    return tag(
        "div",
        tag("h3", f"A user with {len(history)} items"),
        tag("p", " · ".join(named), more, class_="history"),
        tag("ol", *answered, class_="answer"),
        class_="example",
        id=f"example-{number}",
    )


def _answered(facts: Facts, row: int, history: IntArray, *, found: bool) -> Html:
    tick: Content = tag("span", " ✓", class_="good-text", title="held out, and found") if found else None
    return tag("li", facts.name_of(row), tick, tag("span", _reason(facts, row, history), class_="why"))


def _reason(facts: Facts, row: int, history: IntArray) -> str:
    """What `service.serving.explain` says of it: the nearest items of the history by their first codes."""
    equal = facts.codes[history] == facts.codes[row]
    shared = equal.cumprod(axis=1).sum(axis=1)
    most = int(shared.max(initial=0))
    if not most:
        return "shares no code with the history"
    near = [facts.name_of(int(each)) for each in history[shared == most][:2]]
    of_all = f"{most} of {facts.codes.shape[1]} codes"
    return f"shares {of_all} with {' and '.join(near)}"
