"""What came of the calls, counted while they come in."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np

from benchmarks.soaking.answers import FAULTS, faults_of, reads_the_user
from benchmarks.soaking.requests import Ask, Body
from benchmarks.soaking.servers import DurableRedis

MOST_EXAMPLES = 10


class Tally:
    """Judges calls and counts.

    Args:
        server: the Redis that tells when it was away.
        releases: item ids of every version.
        seen: what every user has seen before the first call.

    Attributes:
        accepted: event ids that the service has said are stored, to their user and item.
        examples: a few of the things that should not have happened.
        disconnects: callers who hung up.
        item_ids: of any release.
    """

    def __init__(
        self, server: DurableRedis, releases: Mapping[str, frozenset[str]], seen: Mapping[str, list[str]]
    ) -> None:
        self.accepted: dict[str, tuple[str, str]] = {}
        self.examples: list[str] = []
        self.disconnects = 0
        self.item_ids = frozenset[str]().union(*releases.values())
        self._server = server
        self._releases = releases
        self._seen = defaultdict(set, {user: set(items) for user, items in seen.items()})
        self._statuses: Counter[str] = Counter()
        self._event_statuses: Counter[str] = Counter()
        self._faults: Counter[str] = Counter(dict.fromkeys(FAULTS, 0))
        self._answers: Counter[str] = Counter(all=0, degraded=0, while_redis_away=0, otherwise=0, not_flagged=0)
        self._refused_events: Counter[str] = Counter(while_redis_away=0, otherwise=0)
        self._seconds: list[float] = []

    def seen_by(self, asked: Body) -> frozenset[str]:
        """What the user of a request has seen, to be asked before it is sent."""
        return frozenset(self._seen[asked["user_id"]]) if reads_the_user(asked) else frozenset()

    def answered(self, ask: Ask, seen: list[frozenset[str]], began: float, response: httpx.Response) -> None:
        """A recommendation was answered just now."""
        ended = time.monotonic()
        self._statuses[str(response.status_code)] += 1
        if response.status_code != 200:
            self._tell(f"{ask.kind}: {response.status_code} {response.text[:300]}", response.status_code != 429)
            return
        self._seconds.append(ended - began)
        found = response.json()
        answers = found["answers"] if ask.kind == "batch" else [found]
        if len(answers) != len(ask.bodies):
            self._faults["count"] += 1
        for asked, answer, had in zip(ask.bodies, answers, seen, strict=False):
            self._judge(asked, answer, had, began, ended)

    def lost(self, ask: Ask, error: Exception) -> None:
        """A call ended without an answer, and it was not the caller who left."""
        (self._event_statuses if ask.kind == "event" else self._statuses)[type(error).__name__] += 1
        self._tell(f"{ask.kind}: {error!r}")

    def event_answered(self, ask: Ask, began: float, response: httpx.Response) -> bool:
        """The service answered to an event; gives whether it is stored."""
        self._event_statuses[str(response.status_code)] += 1
        if response.status_code == 200:
            event = ask.body["events"][0]
            self.accepted[event["event_id"]] = (event["user_id"], event["item_id"])
            self._seen[event["user_id"]].add(event["item_id"])
            return True
        explained = response.status_code == 503 and self._server.explains(began, time.monotonic())
        self._refused_events["while_redis_away" if explained else "otherwise"] += 1
        self._tell(f"event: {response.status_code} {response.text[:300]}", not explained)
        return False

    def report(self) -> dict[str, Any]:
        """All counts."""
        calls = sum(self._statuses.values())
        p50, p99 = np.percentile(self._seconds, [50, 99]) * 1000 if self._seconds else (None, None)
        return {
            "recommendations": {
                "calls": calls,
                "statuses": dict(self._statuses),
                "share_200": round(self._statuses["200"] / max(1, calls), 6),
                "status_5xx": sum(count for status, count in self._statuses.items() if status[0] == "5"),
                "neither_200_nor_429": calls - self._statuses["200"] - self._statuses["429"],
                "disconnects": self.disconnects,
                "p50_ms": None if p50 is None else round(float(p50), 1),
                "p99_ms": None if p99 is None else round(float(p99), 1),
            },
            "answers": dict(self._answers) | {"degraded_share": self._degraded_share()},
            "faults": dict(self._faults),
            "events": {
                "accepted": len(self.accepted),
                "statuses": dict(self._event_statuses),
                "refused": dict(self._refused_events),
            },
            "examples": self.examples,
        }

    def _degraded_share(self) -> float:
        return round(self._answers["degraded"] / max(1, self._answers["all"]), 6)

    def _judge(self, asked: Body, answer: Any, seen: frozenset[str], began: float, ended: float) -> None:
        self._answers["all"] += 1
        if answer["degraded"]:
            explained = self._server.explains(began, ended)
            self._answers["degraded"] += 1
            self._answers["while_redis_away" if explained else "otherwise"] += 1
            self._tell(f"degraded although Redis is there: {asked}", not explained)
        elif reads_the_user(asked) and self._server.was_away_throughout(began, ended):
            self._answers["not_flagged"] += 1
            self._tell(f"not degraded although there is no Redis: {asked}")
        faults = faults_of(asked, answer, seen, self._releases)
        self._faults.update(faults)
        self._tell(f"{faults}: {asked} was answered with {answer}", bool(faults))

    def _tell(self, what: str, worth_it: bool = True) -> None:
        if worth_it and len(self.examples) < MOST_EXAMPLES:
            self.examples.append(what[:1000])
