"""The judge of the soak: every fault that an answer can have is seen, and what Redis explains is told from the rest."""

import asyncio
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis

from benchmarks.soaking import bars, catalogues, load, tally
from benchmarks.soaking.answers import FAULTS, faults_of
from benchmarks.soaking.disturbances import Swaps, kill_now_and_then
from benchmarks.soaking.requests import Ask, Mix
from benchmarks.soaking.servers import RECOVERY_SECONDS, DurableRedis, Outage, own_redis

RELEASES = {
    version: frozenset(catalogues.item_id(version, row) for row in range(40)) for version in catalogues.VERSIONS
}
ASKED: dict[str, Any] = {
    "user_id": "u",
    "n": 3,
    "history": ["item-2"],
    "exclude_items": ["item-4"],
    "candidates": ["item-2", "item-4", "item-6", "item-8", "red-1", "red-5", "blue-1"],
    "categories": {"any": [f"category-{number}" for number in range(7)], "none": ["category-5"]},
}


def answer(*items: str, release: str = "red", **changes: Any) -> dict[str, Any]:
    listed = [
        {"item_id": item, "rank": rank, "title": catalogues.title_of(release, item)}
        for rank, item in enumerate(items, 1)
    ]
    said = {"release": release, "items": listed, "degraded": False, "returned": len(items)}
    return said | {"exhausted": len(items) < ASKED["n"]} | changes


def faults(found: dict[str, Any], *, asked: dict[str, Any] = ASKED, seen: tuple[str, ...] = ("item-8",)) -> list[str]:
    return faults_of(asked, found, frozenset(seen), RELEASES)


def test_an_answer_without_a_fault() -> None:
    assert faults(answer("red-1", "item-6")) == []
    assert faults(answer("item-0", "item-10", "red-39"), asked={"user_id": "u", "n": 3}) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (answer("blue-1"), ["illegal"]),
        (answer("red-1", release="green"), ["illegal"]),
        (answer("red-1", "red-1"), ["duplicate"]),
        (answer("item-4"), ["excluded"]),
        (answer("item-10"), ["filtered_out"]),  # no candidate
        (answer("red-5"), ["filtered_out"]),  # a category that is not wanted
        (answer("item-2"), ["seen"]),
        (answer("item-8"), ["seen"]),
        (answer("item-8", degraded=True), []),  # what is stored was not at hand
        (answer("item-2", degraded=True), ["seen"]),  # but the request was
        (answer("red-1", returned=2), ["count"]),
        (answer("red-1", exhausted=False), ["count"]),
    ],
)
def test_every_fault_is_seen(found: dict[str, Any], expected: list[str]) -> None:
    assert faults(found) == expected


def test_titles_and_ranks_are_held_against_the_release() -> None:
    mixed = answer("item-6")
    mixed["items"][0]["title"] = catalogues.title_of("blue", "item-6")
    assert faults(mixed) == ["mixed"]
    odd = answer("item-6")
    odd["items"][0]["rank"] = 2
    assert faults(odd) == ["count"]


class Away:
    """A Redis that was away from 100 to 110, and starts again at 109."""

    def __init__(self) -> None:
        self.server = DurableRedis(Path("/nowhere"))
        self.server.outages = [Outage(100.0, 100.5, 109.0, 110.0)]


@pytest.mark.parametrize(
    ("began", "ended", "explains", "throughout"),
    [
        (98.0, 99.9, False, False),
        (99.0, 100.1, True, False),
        (100.2, 105.0, True, False),  # about to be killed, it may still have answered
        (101.0, 105.0, True, True),
        (105.0, 109.5, True, False),  # and it may be back before anybody has noticed
        (110.0 + RECOVERY_SECONDS + 0.1, 120.0, False, False),
    ],
)
def test_what_an_outage_explains(began: float, ended: float, explains: bool, throughout: bool) -> None:
    server = Away().server
    assert server.explains(began, ended) is explains
    assert server.was_away_throughout(began, ended) is throughout


@pytest.fixture
def counted() -> tally.Tally:
    return tally.Tally(Away().server, RELEASES, {"u": ["item-8"]})


def ask(**body: Any) -> Ask:
    return Ask(kind="user", path="/recommend", body=body, bodies=(body,))


def test_the_tally_counts_statuses_faults_and_degraded_answers(counted: tally.Tally, monkeypatch: Any) -> None:
    clock = type("Clock", (), {"monotonic": staticmethod(lambda: 105.0)})
    monkeypatch.setattr(tally, "time", clock)
    asked = ask(user_id="u", n=3)
    seen = [counted.seen_by(asked.body)]
    assert seen == [frozenset({"item-8"})]
    for found, began in ((answer("item-6", degraded=True), 101.0), (answer("item-8", exhausted=True), 101.0)):
        counted.answered(asked, seen, began, httpx.Response(200, json=found))
    counted.answered(asked, seen, 101.0, httpx.Response(429, json={}))
    counted.answered(asked, seen, 101.0, httpx.Response(504, json={}))
    counted.lost(asked, httpx.ReadError("gone"))
    report = counted.report()
    assert report["recommendations"]["statuses"] == {"200": 2, "429": 1, "504": 1, "ReadError": 1}
    shown = report["recommendations"]
    assert (shown["share_200"], shown["status_5xx"], shown["neither_200_nor_429"]) == (0.4, 1, 2)
    assert report["answers"]["degraded"] == report["answers"]["while_redis_away"] == 1
    assert report["answers"]["not_flagged"] == 1
    assert report["faults"] == dict.fromkeys(FAULTS, 0) | {"seen": 1}
    monkeypatch.setattr(clock, "monotonic", staticmethod(lambda: 200.0))
    counted.answered(asked, seen, 199.0, httpx.Response(200, json=answer("item-6", degraded=True)))
    assert counted.report()["answers"]["otherwise"] == 1


def test_an_event_counts_once_it_is_acknowledged(counted: tally.Tally, monkeypatch: Any) -> None:
    event = {"user_id": "u", "item_id": "item-0", "event_id": "e1"}
    sent = Ask(kind="event", path="/events", body={"events": [event]})
    monkeypatch.setattr(tally, "time", type("Clock", (), {"monotonic": staticmethod(lambda: 105.0)}))
    assert not counted.event_answered(sent, 101.0, httpx.Response(503, json={}))
    assert "item-0" not in counted.seen_by({"user_id": "u"})
    assert counted.event_answered(sent, 104.0, httpx.Response(200, json={}))
    assert "item-0" in counted.seen_by({"user_id": "u"})
    assert counted.accepted == {"e1": ("u", "item-0")}
    assert not counted.event_answered(sent, 101.0, httpx.Response(500, json={}))  # no outage excuses that
    assert counted.report()["events"]["refused"] == {"while_redis_away": 1, "otherwise": 1}


def test_a_bar_that_was_not_measured_is_neither_met_nor_missed() -> None:
    bar = bars.Bar("swaps.memory_ratio", 1.1)
    values = [bar.judge({"swaps": {"memory_ratio": value}})["met"] for value in (1.1, 1.11, None)]
    assert values == [True, False, None]
    assert bars.Bar("share", 0.999, at_least=True).judge({"share": 0.998})["met"] is False


def test_memory_is_compared_between_an_early_and_a_late_swap() -> None:
    swaps = Swaps(None, None, "")  # type: ignore[arg-type]
    swaps.held = [{"swap": number, "resident_mib": 100.0 + number} for number in range(1, 100)]
    assert swaps.report()["memory_ratio"] is None
    swaps.held.append({"swap": 100, "resident_mib": 150.0})
    assert swaps.report()["memory_ratio"] == 1.25


def test_the_mix_asks_for_everything_and_alike_with_one_seed() -> None:
    known = sorted(RELEASES["red"])
    drawn = [Mix(known, 3).draw() for _ in range(2)]
    assert drawn[0] == drawn[1]
    mix = Mix(known, 3)
    kinds = {mix.draw().kind for _ in range(500)}
    assert kinds == {
        *("user", "history", "exclude_items", "categories", "candidates", "explain", "stranger", "batch", "event")
    }


def test_the_two_releases_differ_and_share() -> None:
    red, blue = RELEASES.values()
    assert len(red & blue) == 20
    parts = catalogues.frozen_parts(Path(__file__).parents[1] / "fixtures" / "release-format-3")
    assert [each.trie.num_items for each in parts] == [60, 60]
    assert parts[0].item_vectors.dtype == np.float32


@pytest.mark.anyio
async def test_what_the_service_can_do_counts_and_judges_every_answer(counted: tally.Tally) -> None:
    statuses: list[int] = []

    async def answered(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.01)
        statuses.append(200 if len(statuses) % 2 else 429)
        count = len(json.loads(request.content).get("requests", []))
        body = {"answers": [answer()] * count} if count else answer()
        return httpx.Response(statuses[-1], json=body)

    mix = Mix(sorted(RELEASES["red"]), 0, events=False)
    async with httpx.AsyncClient(base_url="http://x", transport=httpx.MockTransport(answered)) as client:
        per_second = await load.calls_per_second(client, mix, counted, 0.5)
    assert per_second == statuses.count(200) / 0.5 > 0
    assert counted.report()["recommendations"]["statuses"] == {str(one): statuses.count(one) for one in (200, 429)}


@pytest.mark.anyio
async def test_redis_is_killed_and_there_again_with_what_it_had() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="mm", dir="/tmp") as folder,  # a socket's path must stay short
        own_redis(Path(folder)) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        client.set("kept", "1")
        before = time.monotonic()
        await asyncio.wait_for(kill_now_and_then(server, 0.2, 0.1, 0.3), 60)
        assert client.get("kept") == b"1"
        (outage,) = server.outages
        assert before < outage.began < outage.gone < outage.returns < outage.ended < math.inf
