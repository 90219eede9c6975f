"""What is asked: a mix of everything that a request can say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.soaking.catalogues import NUM_CATEGORIES

NUM_USERS = 300
STORED_ITEMS = 10
"""Of every user when the soak begins."""
MOST_ASKED = 10

Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One call.

    Attributes:
        kind: for the report.
        path: of the route.
        body: to be sent.
        bodies: what is asked for, one for each answer; empty for events.
    """

    kind: str
    path: str
    body: Body
    bodies: tuple[Body, ...] = ()


def user_id(number: int) -> str:
    """The id of a user."""
    return f"user-{number}"


def stored_items(shared: Sequence[str]) -> dict[str, list[str]]:
    """What every user has seen when the soak begins."""
    rng = np.random.default_rng(1)
    return {
        user_id(number): rng.choice(np.array(shared), STORED_ITEMS, replace=False).tolist()
        for number in range(NUM_USERS)
    }


class Mix:
    """Draws one call after the other.

    Args:
        known: item ids of any release, and of none.
        seed: of all draws.
        events: whether events are among them.
    """

    def __init__(self, known: Sequence[str], seed: int, *, events: bool = True) -> None:
        self._known = np.array(known)
        self._rng = np.random.default_rng(seed)
        self._sent_events = 0
        kinds: Mapping[str, tuple[float, Callable[[], Body]]] = {
            "user": (0.3, self._of_user),
            "history": (0.15, self._of_history),
            "exclude_items": (0.1, lambda: self._of_user() | {"exclude_items": self._items(30)}),
            "categories": (0.1, lambda: self._of_user() | {"categories": self._categories()}),
            "candidates": (0.1, lambda: self._of_user() | {"candidates": self._items(30)}),
            "explain": (0.05, lambda: self._of_user() | {"explain": True}),
            "stranger": (0.05, lambda: {"user_id": f"stranger-{self._rng.integers(10**9)}"}),
        }
        self._bodies = {kind: make for kind, (_, make) in kinds.items()}
        shares = {kind: share for kind, (share, _) in kinds.items()} | {"batch": 0.05}
        shares |= {"event": 0.1} if events else {}
        self._kinds = list(shares)
        self._shares = np.array(list(shares.values())) / sum(shares.values())

    def draw(self) -> Ask:
        """The next call."""
        kind = str(self._rng.choice(self._kinds, p=self._shares))
        if kind == "event":
            return self._event()
        if kind == "batch":
            made = tuple(self._body(each) for each in self._rng.choice(list(self._bodies), 4).tolist())
            return Ask(kind=kind, path="/recommend/batch", body={"requests": list(made)}, bodies=made)
        body = self._body(kind)
        return Ask(kind=kind, path="/recommend", body=body, bodies=(body,))

    def chance(self, share: float) -> bool:
        """True in so many of all cases."""
        return bool(self._rng.random() < share)

    def seconds(self, mean: float) -> float:
        """A random time."""
        return float(self._rng.exponential(mean))

    def _body(self, kind: str) -> Body:
        return {"n": int(self._rng.integers(1, MOST_ASKED + 1)), **self._bodies[kind]()}

    def _event(self) -> Ask:
        self._sent_events += 1
        event = self._of_user() | {"item_id": self._items(1)[0], "event": "view", "event_id": f"e{self._sent_events}"}
        return Ask(kind="event", path="/events", body={"events": [event]})

    def _of_user(self) -> Body:
        return {"user_id": user_id(int(self._rng.integers(NUM_USERS)))}

    def _of_history(self) -> Body:
        return {"history": self._items(8)}

    def _items(self, most: int) -> list[str]:
        return self._rng.choice(self._known, int(self._rng.integers(1, most + 1))).tolist()  # type: ignore[no-any-return]

    def _categories(self) -> Body:
        drawn = [f"category-{number}" for number in self._rng.choice(NUM_CATEGORIES, 3, replace=False)]
        return {"any": drawn[:2], "none": drawn[2:]}
