import asyncio
import socket
import time

import pytest
import redis

from service.contract.redis_keys import HISTORY_CAP, RedisKeys
from service.histories import Histories, UserItems
from service.redis_connection import RedisConnection, RedisUnavailableError
from service.settings import Settings


def read(settings: Settings, *users: str) -> list[UserItems]:
    async def reading() -> list[UserItems]:
        connection = RedisConnection(settings)
        connection.open()
        try:
            return [await Histories(connection).read(user) for user in users]
        finally:
            await connection.close()

    return asyncio.run(reading())


def test_oldest_first_and_seen_beside_it(settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    client_of_redis.lpush(keys.history("anna"), "first", "second", "third")
    client_of_redis.zadd(keys.seen("anna"), {"first": 1, "elsewhere": 2})
    (anna,) = read(settings, "anna")
    assert anna.history == ("first", "second", "third")
    assert set(anna.seen) == {"first", "elsewhere"}


def test_an_unknown_user_is_empty(settings: Settings) -> None:
    assert read(settings, "nobody") == [UserItems()]


def test_a_longer_list_than_agreed_is_cut_at_its_old_end(
    settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    client_of_redis.lpush(keys.history("anna"), *(f"i{at}" for at in range(HISTORY_CAP + 5)))
    (anna,) = read(settings, "anna")
    assert (len(anna.history), anna.history[-1]) == (HISTORY_CAP, f"i{HISTORY_CAP + 4}")


def test_ids_that_are_no_utf8_and_users_with_odd_names_do_no_harm(
    settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    odd = "a}{b\n\x00 ü"
    client_of_redis.lpush(keys.history(odd), b"\xff", "fine")
    (user,) = read(settings, odd)
    assert user.history == ("�", "fine")


def test_namespaces_do_not_see_each_other(settings: Settings, client_of_redis: redis.Redis) -> None:
    client_of_redis.lpush(RedisKeys("another").history("anna"), "x")
    assert read(settings, "anna") == [UserItems()]


def test_one_round_trip_per_user(settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    with client_of_redis.monitor() as monitor:
        read(settings, "anna")
        seen = []
        while not seen or "ZRANGE" not in seen[-1]:
            seen.append(monitor.next_command()["command"])
    assert [command.split()[0] for command in seen][-2:] == ["LRANGE", "ZRANGE"]
    assert not any("MULTI" in command for command in seen)


def test_a_crowd_waits_for_its_turn(settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    client_of_redis.lpush(keys.history("anna"), "x")

    async def crowd() -> list[UserItems]:
        connection = RedisConnection(settings)
        connection.open()
        histories = Histories(connection)
        try:
            return await asyncio.gather(*(histories.read("anna") for _ in range(300)))
        finally:
            await connection.close()

    assert asyncio.run(crowd()) == [UserItems(history=("x",))] * 300


def test_redis_away_is_a_typed_error(namespace: str) -> None:
    settings = Settings(redis_url="unix:///nowhere/redis.sock", namespace=namespace)
    with pytest.raises(RedisUnavailableError):
        read(settings, "anna")


def test_a_redis_that_hangs_is_given_up_in_time(namespace: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings(redis_url=url, namespace=namespace, redis_timeout_seconds=0.05)
        started = time.perf_counter()
        with pytest.raises(RedisUnavailableError):
            read(settings, "anna")
        assert time.perf_counter() - started < 2


def test_before_any_server_is_found_it_is_the_same_error(settings: Settings) -> None:
    with pytest.raises(RedisUnavailableError):
        asyncio.run(Histories(RedisConnection(settings)).read("anna"))


def test_one_user_that_cannot_be_read_is_no_outage(
    settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys, caplog: pytest.LogCaptureFixture
) -> None:
    client_of_redis.set(keys.history("odd"), "no list")
    client_of_redis.lpush(keys.history("anna"), "x")

    async def reading(histories: Histories) -> list[Any]:
        return await asyncio.gather(*(histories.read(user) for user in ("odd", "anna", "odd")), return_exceptions=True)

    first, anna, last = with_histories(settings, reading)
    assert (type(first), anna, type(last)) == (RedisUnavailableError, UserItems(("x",)), RedisUnavailableError)
    assert len(caplog.records) == 1  # and not one for every request
    assert "a key of another type" in caplog.text
    assert "odd" not in caplog.text  # who asks is nobody's business
