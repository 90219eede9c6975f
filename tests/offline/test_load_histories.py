"""A dataset's histories in Redis, as the service will read them, and never over something newer."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from offline import load_histories as module
from offline.history_commands import HistoryCommands
from offline.load_histories import Loaded, load_histories
from offline.user_histories import UserHistories
from service.contract.history_scripts import FIRST_TIME, HistoryLimits
from service.contract.redis_keys import HISTORY_CAP, RedisKeys

NOW = 1_763_740_800_000
NUM_ITEMS = 6


def of(*users: Iterable[int], times: list[int] | None = None, num_items: int = NUM_ITEMS) -> UserHistories:
    """Histories of user-0, user-1, ... from lists of item rows; `times` one after the other."""
    rows = [list(user) for user in users]
    return UserHistories(
        tuple(f"user-{row}" for row in range(len(rows))),
        tuple(f"item-{row}" for row in range(num_items)),
        np.cumsum([0, *map(len, rows)]),
        np.array([item for user in rows for item in user], np.int64),
        None if times is None else np.array(times, np.int64),
    )


@pytest.fixture
def client(redis_url: str) -> Any:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def keys(namespace: str) -> RedisKeys:
    return RedisKeys(namespace)


def stored(client: redis.Redis, keys: RedisKeys, user: str = "user-0") -> tuple[list[str], dict[str, float]]:
    """History, oldest first, and seen items with their times."""
    seen = client.zrange(keys.seen(user), 0, -1, withscores=True)
    return client.lrange(keys.history(user), 0, -1)[::-1], dict(map(tuple, seen))


def counts(loaded: Loaded) -> tuple[int, int, int]:
    return loaded.users, loaded.written, loaded.left_alone


def test_the_newest_item_comes_first(client: redis.Redis, keys: RedisKeys) -> None:
    assert counts(load_histories(of([3, 1, 0], [2]), client, keys)) == (2, 2, 0)
    assert client.lrange(keys.history("user-0"), 0, -1) == ["item-0", "item-1", "item-3"]
    assert stored(client, keys)[1] == {"item-3": 0, "item-1": 1, "item-0": 2}
    assert stored(client, keys, "user-1") == (["item-2"], {"item-2": 0})


def test_times_are_kept_where_the_dataset_has_them(client: redis.Redis, keys: RedisKeys) -> None:
    load_histories(of([3, 1], [2], times=[NOW, NOW + 5, NOW + 7]), client, keys)
    assert stored(client, keys) == (["item-3", "item-1"], {"item-3": NOW, "item-1": NOW + 5})
    assert stored(client, keys, "user-1")[1] == {"item-2": NOW + 7}


def test_times_of_different_lengths_are_kept_too(client: redis.Redis, keys: RedisKeys) -> None:
    long_ago = FIRST_TIME + 3  # in 1973, of one digit less
    load_histories(of([3, 1], [2, 4], times=[long_ago, NOW, NOW, NOW + 1]), client, keys)
    assert stored(client, keys) == (["item-3", "item-1"], {"item-3": long_ago, "item-1": NOW})
    assert stored(client, keys, "user-1")[1] == {"item-2": NOW, "item-4": NOW + 1}


def test_both_caps_keep_the_newest(client: redis.Redis, keys: RedisKeys) -> None:
    number = HISTORY_CAP + 50
    limits = HistoryLimits(seen_cap=HISTORY_CAP + 20, history_ttl_seconds=100, seen_ttl_seconds=1000)
    load_histories(of(range(number), num_items=number), client, keys, limits)
    history, seen = stored(client, keys)
    assert history == [f"item-{row}" for row in range(50, number)]
    assert seen == {f"item-{row}": row for row in range(30, number)}
    assert 90 < client.ttl(keys.history("user-0")) <= 100
    assert 990 < client.ttl(keys.seen("user-0")) <= 1000


def test_loading_again_replaces_what_was_loaded_and_nothing_else(client: redis.Redis, keys: RedisKeys) -> None:
    client.rpush(keys.history("stranger"), "kept")
    load_histories(of([5, 4, 3], [0]), client, keys)
    for _ in range(2):
        assert counts(load_histories(of([1], [2]), client, keys)) == (2, 2, 0)
    assert stored(client, keys) == (["item-1"], {"item-1": 0})
    assert client.lrange(keys.history("stranger"), 0, -1) == ["kept"]


def event(client: redis.Redis, keys: RedisKeys, user: str, item: str, time: int) -> None:
    """As the service leaves it behind."""
    client.lpush(keys.history(user), item)
    client.zadd(keys.seen(user), {item: time})


@pytest.mark.parametrize("times", [None, [NOW, NOW + 1, NOW, NOW + 1]])
def test_a_user_with_events_since_is_left_alone(client: redis.Redis, keys: RedisKeys, times: list[int] | None) -> None:
    load_histories(of([0, 1], [0, 1], times=times), client, keys)
    event(client, keys, "user-0", "mug", NOW + 2)
    before = stored(client, keys)
    assert counts(load_histories(of([4, 5], [4, 5], times=times), client, keys)) == (2, 1, 1)
    assert stored(client, keys) == before
    assert stored(client, keys, "user-1")[0] == ["item-4", "item-5"]


def test_a_dataset_that_knows_the_events_replaces_them(client: redis.Redis, keys: RedisKeys) -> None:
    event(client, keys, "user-0", "mug", NOW)
    assert counts(load_histories(of([0, 1], times=[NOW - 5, NOW]), client, keys)) == (1, 1, 0)
    assert stored(client, keys)[0] == ["item-0", "item-1"]


def test_an_older_dataset_does_no_harm(client: redis.Redis, keys: RedisKeys) -> None:
    new, old = of([2, 3], times=[NOW, NOW + 10]), of([0, 1], times=[NOW, NOW + 5])
    for later in (old, of([0, 1])):
        load_histories(new, client, keys)
        assert counts(load_histories(later, client, keys)) == (1, 0, 1)
        assert stored(client, keys)[0] == ["item-2", "item-3"]


def test_a_history_of_unknown_age_is_left_alone(client: redis.Redis, keys: RedisKeys) -> None:
    client.rpush(keys.history("user-0"), "mug")
    assert counts(load_histories(of([0], times=[NOW]), client, keys)) == (1, 0, 1)
    assert stored(client, keys) == (["mug"], {})


def test_a_user_without_items_has_no_keys(client: redis.Redis, keys: RedisKeys) -> None:
    assert counts(load_histories(of([0], [], [1], []), client, keys)) == (4, 2, 0)
    assert client.exists(keys.history("user-1"), keys.seen("user-1")) == 0
    assert counts(load_histories(of([], []), client, keys)) == (2, 0, 0)


def commands_of(client: redis.Redis, histories: UserHistories, keys: RedisKeys) -> list[str]:
    """Names of what a load sends, without what scripts do."""
    with client.monitor() as monitor:
        load_histories(histories, client, keys)
        client.echo("end")
        names: list[str] = []
        while not names or names[-1] != "ECHO":
            command = monitor.next_command()
            if command["client_type"] != "lua":
                names.append(command["command"].split()[0].upper())
    return [name for name in names if name not in {"CLIENT", "SCRIPT", "MEMORY", "ECHO", "HELLO", "SELECT"}]


def test_new_users_are_written_by_a_transaction_and_others_by_a_script_each(
    client: redis.Redis, keys: RedisKeys
) -> None:
    histories = of([0], [1])
    assert commands_of(client, histories, keys) == [
        "WATCH",
        "EXISTS",
        "MULTI",
        "RPUSH",
        "ZADD",
        "RPUSH",
        "ZADD",
        "EXEC",
    ]
    assert commands_of(client, histories, keys) == ["WATCH", "EXISTS", "UNWATCH", "EVALSHA", "EVALSHA"]


def test_an_event_that_comes_in_between_is_kept(
    client: redis.Redis, keys: RedisKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    creating = HistoryCommands.creating

    def interrupted(*arguments: Any) -> list[bytes]:
        event(client, keys, "user-1", "mug", NOW)
        return creating(*arguments)

    monkeypatch.setattr(HistoryCommands, "creating", interrupted)
    assert counts(load_histories(of([0], [1], [2]), client, keys)) == (3, 2, 1)
    histories = [stored(client, keys, f"user-{row}")[0] for row in range(3)]
    assert histories == [["item-0"], ["mug"], ["item-2"]]


def test_what_fails_within_a_transaction_is_told(client: redis.Redis, keys: RedisKeys) -> None:
    with pytest.raises(redis.ResponseError, match="invalid expire"):
        load_histories(of([0]), client, keys, HistoryLimits(history_ttl_seconds=10**17))


@pytest.mark.parametrize("most", [1, 2, 3])
def test_fewer_connections_are_enough(redis_url: str, keys: RedisKeys, most: int) -> None:
    with redis.Redis.from_url(redis_url, max_connections=most) as client:
        assert counts(load_histories(of([0], [1]), client, keys)) == (2, 2, 0)


def test_no_connection_is_an_error_of_redis(keys: RedisKeys) -> None:
    with redis.Redis(port=1, retry=None) as client, pytest.raises(redis.ConnectionError):
        load_histories(of([0]), client, keys)


def test_a_server_that_has_forgotten_the_script_learns_it_again(
    client: redis.Redis, keys: RedisKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacing = HistoryCommands.replacing
    forgot = []

    def forgotten(*arguments: Any) -> list[bytes]:
        if not forgot:
            forgot.append(client.script_flush())
        return replacing(*arguments)

    load_histories(of([0], [1]), client, keys)
    monkeypatch.setattr(HistoryCommands, "replacing", forgotten)
    assert counts(load_histories(of([2], [3]), client, keys)) == (2, 2, 0)
    assert (forgot, stored(client, keys)[0]) == ([True], ["item-2"])


def test_ids_may_hold_anything(client: redis.Redis, keys: RedisKeys) -> None:
    named = of([0, 1])._replace(user_ids=("100%d %b \r\n é",), item_ids=("%s", "a\r\nb"))
    for _ in range(2):
        load_histories(named, client, keys)
        assert stored(client, keys, named.user_ids[0]) == (["%s", "a\r\nb"], {"%s": 0, "a\r\nb": 1})


def test_a_load_that_was_killed_goes_on_when_it_is_run_again(
    client: redis.Redis, keys: RedisKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_USERS", 2)
    monkeypatch.setattr(module, "BATCHES_PER_LOCK", 1)
    histories, asked = of(*([row % NUM_ITEMS] for row in range(9))), []

    def killed() -> None:
        asked.append(True)
        if len(asked) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_histories(histories, client, keys, require_lock=killed)
    assert client.exists(keys.history("user-0")) == 1
    assert client.exists(keys.history("user-8")) == 0
    event(client, keys, "user-1", "mug", NOW)
    assert counts(load_histories(histories, client, keys)) == (9, 8, 1)
    assert [stored(client, keys, f"user-{row}")[0] for row in (0, 8)] == [["item-0"], ["item-2"]]
    assert "mug" in stored(client, keys, "user-1")[0]


def test_a_key_of_another_type_ends_the_load_and_leaves_the_connection_usable(
    client: redis.Redis, keys: RedisKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_USERS", 2)
    client.set(keys.seen("user-0"), "text")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        load_histories(of(*([0] for _ in range(9))), client, keys)
    assert client.get(keys.seen("user-0")) == "text"
    assert client.ping()


def test_memory_is_told(client: redis.Redis, keys: RedisKeys) -> None:
    loaded = load_histories(of([0, 1, 2]), client, keys)
    expected = sum(client.memory_usage(key) for key in (keys.history("user-0"), keys.seen("user-0")))
    assert loaded.bytes_per_user == expected
    assert loaded.users_per_second > 0
    assert load_histories(of([]), client, keys).bytes_per_user is None


users = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), unique=True, max_size=NUM_ITEMS), max_size=8)


@settings(deadline=None, max_examples=40)
@given(
    users=users, timed=st.booleans(), seen_cap=st.integers(1, NUM_ITEMS), batch=st.integers(1, 4), again=st.booleans()
)
def test_as_if_written_slowly_one_by_one(
    redis_url: str, users: list[list[int]], timed: bool, seen_cap: int, batch: int, again: bool
) -> None:
    keys = RedisKeys("test-load-slowly")
    with pytest.MonkeyPatch.context() as patch, redis.Redis.from_url(redis_url, decode_responses=True) as client:
        patch.setattr(module, "BATCH_USERS", batch)
        for key in client.scan_iter(f"{keys.namespace}:*"):
            client.delete(key)
        number = sum(map(len, users))
        times = [FIRST_TIME + at for at in range(number)] if timed else None
        for _ in range(1 + again):
            load_histories(of(*users, times=times), client, keys, HistoryLimits(seen_cap=seen_cap))
        at = 0
        for row, user in enumerate(users):
            scored = [(f"item-{item}", FIRST_TIME + at + place if timed else place) for place, item in enumerate(user)]
            at += len(user)
            kept = scored[-seen_cap:]
            assert stored(client, keys, f"user-{row}") == ([item for item, _ in kept], dict(kept))
