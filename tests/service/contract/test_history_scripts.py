"""The two scripts in a real Redis, beside orders that are known by eye or sorted out slowly in Python."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract.history_scripts import (
    APPLY_EVENT,
    FIRST_TIME,
    REPLACE,
    Duplicates,
    HistoryLimits,
    event_arguments,
    replace_arguments,
)
from service.contract.redis_keys import HISTORY_CAP, RedisKeys
from service.users.history_edits import without_repeats

NOW = 1_763_740_800_000
MODES: list[Duplicates] = ["keep_first", "move_to_end", "keep_all"]


class User:
    """One user in Redis, and the scripts on their keys."""

    def __init__(self, client: redis.Redis, **limits: int) -> None:
        keys, user_id = RedisKeys("test-scripts"), uuid.uuid4().hex
        self.client, self.limits = client, HistoryLimits(**limits)
        self.history_key, self.seen_key = keys.history(user_id), keys.seen(user_id)
        self._event_key = lambda event_id: keys.event(user_id, event_id)

    def apply(self, item: str, time: int, mode: Duplicates = "keep_first", event_id: str | None = None) -> int:
        keys = [self.history_key, self.seen_key, *([self._event_key(event_id)] if event_id else [])]
        arguments = event_arguments(item, time, duplicates=mode, limits=self.limits, event_id_ttl_seconds=60)
        return int(self.client.eval(APPLY_EVENT, len(keys), *keys, *arguments))  # type: ignore[arg-type]

    def replace(self, newest_first: list[str], times: list[int], newest: int | str = "always") -> int:
        arguments = replace_arguments(newest_first, times, limits=self.limits)
        return int(self.client.eval(REPLACE, 2, self.history_key, self.seen_key, newest, *arguments[1:]))  # type: ignore[arg-type]

    @property
    def history(self) -> list[str]:
        """Oldest first."""
        return [item.decode() for item in self.client.lrange(self.history_key, 0, -1)][::-1]

    @property
    def seen(self) -> dict[str, float]:
        return {item.decode(): time for item, time in self.client.zrange(self.seen_key, 0, -1, withscores=True)}


@pytest.fixture(scope="module")
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


events = st.lists(
    st.tuples(st.sampled_from("abcdefg"), st.integers(NOW, NOW + 10**6)), max_size=25, unique_by=lambda e: e[1]
)


@settings(deadline=None, max_examples=60)
@given(events=events, random=st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(client: redis.Redis, events: list[Any], random: Any) -> None:
    shuffled = random.sample(events, len(events))
    for mode, which in (("keep_first", min), ("move_to_end", max)):
        user = User(client)
        for item, time in shuffled:
            user.apply(item, time, mode)  # type: ignore[arg-type]
        decisive = {item: which(time for other, time in events if other == item) for item, _ in events}
        assert user.history == sorted(decisive, key=lambda item: decisive[item])
        assert user.seen == decisive


@settings(deadline=None, max_examples=60)
@given(items=st.lists(st.sampled_from("abcde"), max_size=20), rising=st.booleans(), mode=st.sampled_from(MODES))
def test_events_in_order_or_of_one_moment_stand_as_they_came(
    client: redis.Redis, items: list[str], rising: bool, mode: Duplicates
) -> None:
    user = User(client)
    for at, item in enumerate(items):
        user.apply(item, NOW + (at if rising else 0), mode)
    assert user.history == without_repeats(items, mode)


def test_an_event_of_yesterday_stands_before_those_of_today(client: redis.Redis) -> None:
    user = User(client)
    for item, time in (("monday", 1), ("wednesday", 3), ("tuesday", 2), ("sunday", 0)):
        user.apply(item, NOW + time)
    assert user.history == ["sunday", "monday", "tuesday", "wednesday"]


def test_what_has_no_time_is_older_than_every_event(client: redis.Redis) -> None:
    user = User(client)
    user.replace(["b", "a"], [1, 0])
    user.apply("c", FIRST_TIME)
    user.client.rpush(user.history_key, "unknown to seen")
    user.apply("d", FIRST_TIME - 1)
    assert user.history == ["unknown to seen", "a", "b", "d", "c"]


def test_both_caps_keep_the_newest(client: redis.Redis) -> None:
    user = User(client, seen_cap=HISTORY_CAP + 10)
    for at in range(HISTORY_CAP + 20):
        user.apply(f"i{at}", NOW + at)
    assert (user.history[0], user.history[-1], len(user.history)) == ("i20", f"i{HISTORY_CAP + 19}", HISTORY_CAP)
    assert set(user.seen) == {f"i{at}" for at in range(10, HISTORY_CAP + 20)}
    user.apply("late", NOW - 1)  # older than everything that is kept
    assert len(user.history) == HISTORY_CAP
    assert "late" not in (*user.history, *user.seen)


def test_times_to_live_slide_with_every_event_and_end_when_switched_off(client: redis.Redis) -> None:
    user = User(client, history_ttl_seconds=100, seen_ttl_seconds=1000)
    user.apply("a", NOW)
    assert 90 < user.client.ttl(user.history_key) <= 100
    assert 990 < user.client.ttl(user.seen_key) <= 1000
    user.client.expire(user.history_key, 5)
    user.apply("a", NOW + 1)  # changes nothing but this
    assert 90 < user.client.ttl(user.history_key) <= 100
    user.limits = HistoryLimits()
    user.apply("b", NOW + 2)
    assert (user.client.ttl(user.history_key), user.client.ttl(user.seen_key)) == (-1, -1)


def test_an_event_id_counts_once(client: redis.Redis) -> None:
    user = User(client)
    assert [user.apply("a", NOW, "keep_all", "e1") for _ in range(3)] == [1, 0, 0]
    assert user.apply("a", NOW, "keep_all", "e2") == 1
    assert user.history == ["a", "a"]
    assert 50 < user.client.ttl(user._event_key("e1")) <= 60


@pytest.mark.parametrize("which", ["history_key", "seen_key"])
def test_on_a_key_of_another_type_nothing_is_changed(client: redis.Redis, which: str) -> None:
    user = User(client)
    user.client.set(getattr(user, which), "text")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        user.apply("a", NOW, event_id="e1")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        user.replace(["a"], [0])
    assert user.client.get(getattr(user, which)) == b"text"
    assert user.client.exists(user.history_key, user.seen_key, user._event_key("e1")) == 1


@pytest.mark.parametrize(
    ("held", "newest", "replaced"),
    [
        ([], NOW, True),  # an unknown user
        ([NOW], NOW, True),  # the same data once more
        ([NOW + 1], NOW, False),  # an event since
        ([NOW], FIRST_TIME, False),  # an event, and data that has no time
        ([40], FIRST_TIME, True),  # loaded before, both without time
        ([40], NOW, True),
    ],
)
def test_only_what_is_not_newer_is_replaced(client: redis.Redis, held: list[int], newest: int, replaced: bool) -> None:
    user = User(client)
    for time in held:
        user.apply("held", time)
    assert user.replace(["b", "a"], [NOW, NOW - 1], newest) == int(replaced)
    assert user.history == (["a", "b"] if replaced else ["held"])


def test_a_history_of_unknown_age_is_left_alone_unless_asked(client: redis.Redis) -> None:
    user = User(client)
    user.client.rpush(user.history_key, "held")
    assert user.replace(["a"], [NOW], NOW) == 0
    assert user.replace(["a"], [NOW]) == 1
    assert user.history == ["a"]


def test_a_long_history_is_replaced_whole(client: redis.Redis) -> None:
    user = User(client, seen_cap=3_000, history_ttl_seconds=100)
    newest_first = [f"i{at}" for at in range(4_000)]
    user.replace(newest_first, [NOW - at for at in range(4_000)])
    assert user.history == newest_first[:HISTORY_CAP][::-1]
    assert user.seen == {f"i{at}": NOW - at for at in range(3_000)}
    assert 90 < user.client.ttl(user.history_key) <= 100
    user.replace([], [])
    assert user.client.exists(user.history_key, user.seen_key) == 0


def test_a_repeated_item_is_seen_at_its_latest_time(client: redis.Redis) -> None:
    user = User(client)
    user.replace(["a", "b", "a"], [NOW, NOW - 1, NOW - 2])
    assert user.history == ["a", "b", "a"]
    assert user.seen == {"a": NOW, "b": NOW - 1}
