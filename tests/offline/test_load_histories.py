"""A dataset's histories in Redis, as the service will read them."""

import pytest
import redis

from offline import load_histories as module
from offline.load_histories import load_histories
from service.contract.redis_keys import HISTORY_CAP, RedisKeys


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url, decode_responses=True)


@pytest.fixture
def keys(namespace: str) -> RedisKeys:
    return RedisKeys(namespace)


def test_the_newest_item_comes_first_and_all_splits_count(client: redis.Redis, keys: RedisKeys, make_dataset) -> None:
    dataset = make_dataset([[3, 1], [2]], [[0], []], [[4], []], num_items=5, has_time=True)
    assert load_histories(dataset, client, keys) == 2
    assert client.lrange(keys.history("user-00"), 0, -1) == ["item-04", "item-00", "item-01", "item-03"]
    seen = client.zrange(keys.seen("user-00"), 0, -1, withscores=True)
    assert [tuple(pair) for pair in seen] == [("item-03", 0), ("item-01", 1), ("item-00", 2), ("item-04", 3)]
    assert client.lrange(keys.history("user-01"), 0, -1) == ["item-02"]


def test_the_history_is_capped_and_the_seen_set_is_not(client: redis.Redis, keys: RedisKeys, make_dataset) -> None:
    number = HISTORY_CAP + 5
    load_histories(make_dataset([list(range(number))], [[]], [[]], num_items=number, has_time=True), client, keys)
    kept = client.lrange(keys.history("user-00"), 0, -1)
    assert len(kept) == HISTORY_CAP
    assert (kept[0], kept[-1]) == (f"item-{number - 1:02d}", "item-05")
    assert client.zcard(keys.seen("user-00")) == number


def test_an_item_that_came_back_counts_where_it_came_first(client: redis.Redis, keys: RedisKeys, make_dataset) -> None:
    load_histories(make_dataset([[0, 1, 0]], [[]], [[]], num_items=2, has_time=True), client, keys)
    assert client.lrange(keys.history("user-00"), 0, -1) == ["item-01", "item-00"]
    assert client.zrange(keys.seen("user-00"), 0, -1) == ["item-00", "item-01"]


def test_loading_again_replaces_what_the_dataset_knows_and_nothing_else(
    client: redis.Redis, keys: RedisKeys, make_dataset
) -> None:
    client.rpush(keys.history("user-00"), "old")
    client.zadd(keys.seen("user-00"), {"old": 1})
    client.rpush(keys.history("stranger"), "kept")
    dataset = make_dataset([[1]], [[]], [[]], num_items=2)
    for _ in range(2):
        load_histories(dataset, client, keys)
    assert client.lrange(keys.history("user-00"), 0, -1) == client.zrange(keys.seen("user-00"), 0, -1) == ["item-01"]
    assert client.lrange(keys.history("stranger"), 0, -1) == ["kept"]


def test_a_user_is_never_without_history_meanwhile(client: redis.Redis, keys: RedisKeys, make_dataset) -> None:
    """Deleting and writing stand in one transaction, as the server saw it."""
    with client.monitor() as monitor:
        load_histories(make_dataset([[0], [1]], [[], []], [[], []], num_items=2), client, keys)
        client.echo("end")
        seen: list[tuple[str, str]] = []
        for command in monitor.listen():
            name = command["command"].split()[0].upper()
            if name == "ECHO":
                break
            seen.append((f"{command['client_address']}:{command['client_port']}", name))
    mine = next(address for address, name in seen if name == "RPUSH")
    names = [name for address, name in seen if address == mine]
    assert names[names.index("MULTI") :] == ["MULTI", *["DEL", "RPUSH", "ZADD"] * 2, "EXEC"]


def test_many_users_go_in_pieces(
    client: redis.Redis, keys: RedisKeys, make_dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIPELINE_USERS", 2)
    users = [[row] for row in range(5)]
    assert load_histories(make_dataset(users, [[]] * 5, [[]] * 5, num_items=5), client, keys) == 5
    assert [client.lrange(keys.history(f"user-{row:02d}"), 0, -1) for row in range(5)] == [
        [f"item-{row:02d}"] for row in range(5)
    ]


def test_a_user_without_items_has_no_keys(client: redis.Redis, keys: RedisKeys, make_dataset) -> None:
    load_histories(make_dataset([[0], []], [[], []], [[], []], num_items=1), client, keys)
    assert client.exists(keys.history("user-01"), keys.seen("user-01")) == 0
