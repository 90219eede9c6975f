"""Reading users: what comes out, and how many round trips it takes."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from service.contract.redis_keys import HISTORY_CAP, RedisKeys
from service.redis_connection import RedisConnection, RedisUnavailableError
from service.settings import Settings
from service.users.histories import MAX_BATCH, Histories, _texts
from service.users.user_items import UserItems
from tests.service.with_redis import connected

Result = TypeVar("Result")


def with_histories(settings: Settings, use: Callable[[Histories], Awaitable[Result]]) -> Result:
    return connected(settings, Histories, use)


def read(settings: Settings, *users: str) -> list[UserItems]:
    async def together(histories: Histories) -> list[UserItems]:
        return await asyncio.gather(*map(histories.read, users))

    return with_histories(settings, together)


def test_oldest_first_and_seen_beside_it(settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    client_of_redis.lpush(keys.history("anna"), "first", "second", "third")
    client_of_redis.zadd(keys.seen("anna"), {"first": 1, "elsewhere": 2})
    (anna,) = read(settings, "anna")
    assert anna.history == ("first", "second", "third")
    assert set(anna.seen) == {"first", "elsewhere"}


@given(
    raw=st.lists(
        st.lists(st.sampled_from([b"\n", b"a", b"\xc3", b"\xa9", b"\xff"]), max_size=3).map(b"".join), max_size=4
    )
)
@example(raw=[b"\xc3", b"\xa9"])
def test_texts_are_those_of_the_items_one_by_one(raw: list[bytes]) -> None:
    assert _texts(raw) == tuple(item.decode("utf-8", "replace") for item in raw)


def test_callers_with_patience_let_others_join(settings: Settings) -> None:
    async def one_after_the_other(histories: Histories) -> tuple[int, int]:
        first = asyncio.create_task(histories.read("anna", 0.05))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, histories.read("ben"))
        patient = histories.round_trips
        hurried = asyncio.create_task(histories.read("anna"))
        await hurried
        await histories.read("ben")
        return patient, histories.round_trips - patient

    assert with_histories(settings, one_after_the_other) == (1, 2)


def test_who_is_in_a_hurry_is_not_held_back_by_the_patience_of_others(settings: Settings) -> None:
    async def joined(histories: Histories) -> tuple[UserItems, int]:
        patient = [asyncio.create_task(histories.read(user, 600)) for user in ("anna", "carl")]
        await asyncio.sleep(0.01)
        calm = asyncio.create_task(histories.read("dora", 60))
        await asyncio.sleep(0.01)
        assert histories.round_trips == 0
        found = await asyncio.wait_for(histories.read("ben"), 30)
        await asyncio.gather(*patient, calm)
        return found, histories.round_trips

    assert with_histories(settings, joined) == (UserItems(), 1)


def test_the_least_patience_counts(settings: Settings) -> None:
    async def joined(histories: Histories) -> int:
        patiences = (600, 300, 0.3, 0.2)
        await asyncio.wait_for(asyncio.gather(*(histories.read("anna", patience) for patience in patiences)), 30)
        tasks = []
        for patience in patiences:  # and also where a wait is under way
            tasks.append(asyncio.create_task(histories.read("anna", patience)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        return histories.round_trips

    assert with_histories(settings, joined) == 2


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


def test_a_batch_of_users_is_one_round_trip_without_a_transaction(
    settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    with client_of_redis.monitor() as monitor:
        assert read(settings, "anna", "bert", "anna") == [UserItems()] * 3
        client_of_redis.echo(f"end of {keys.namespace}")
        seen: list[str] = []
        while not seen or keys.namespace not in seen[-1] or "ECHO" not in seen[-1]:
            seen.append(monitor.next_command()["command"])
    of_ours = [command.split() for command in seen if keys.namespace in command][:-1]
    assert [(words[0], words[1].rpartition(":")[2]) for words in of_ours] == [
        ("LRANGE", "{anna}"),
        ("ZRANGE", "{anna}"),
        ("LRANGE", "{bert}"),
        ("ZRANGE", "{bert}"),
    ]
    assert not any("MULTI" in command for command in seen)


def test_a_crowd_shares_round_trips(settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    client_of_redis.lpush(keys.history("anna"), "x")

    async def crowd(histories: Histories) -> tuple[list[UserItems], int, int]:
        users = ["anna", "bert", "carl"] * MAX_BATCH
        return await asyncio.gather(*map(histories.read, users)), histories.round_trips, histories.reads

    found, _, reads = with_histories(settings, crowd)
    assert found == [UserItems(("x",)), UserItems(), UserItems()] * MAX_BATCH
    assert reads == 3 * MAX_BATCH

    async def count(histories: Histories) -> tuple[int, int]:
        await crowd(histories)
        return histories.round_trips, histories.unknown_users

    assert with_histories(settings, count) == (3, 2 * MAX_BATCH)


def test_who_comes_while_a_read_is_under_way_shares_the_next(settings: Settings, wait_for: Any) -> None:
    async def late(histories: Histories) -> list[int]:
        first = asyncio.create_task(histories.read("anna"))
        while not histories.round_trips:
            await asyncio.sleep(0)
        others = [asyncio.create_task(histories.read(f"user-{at}")) for at in range(50)]
        await asyncio.sleep(0)  # they ask
        counts = [histories.round_trips]
        await asyncio.gather(first, *others)
        return [*counts, histories.round_trips]

    assert with_histories(settings, late) == [1, 2]


def test_who_gives_up_takes_nobody_along(settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    client_of_redis.lpush(keys.history("anna"), "x")

    async def giving_up(histories: Histories) -> list[UserItems]:
        tasks = [asyncio.create_task(histories.read("anna")) for _ in range(3)]
        while not histories.round_trips:
            await asyncio.sleep(0)
        tasks[0].cancel()
        found = await asyncio.gather(*tasks[1:])
        assert tasks[0].cancelled()
        return [*found, await histories.read("anna")]

    assert with_histories(settings, giving_up) == [UserItems(("x",))] * 3


def test_an_error_that_nobody_foresaw_reaches_who_waits_and_the_next_read_works(settings: Settings) -> None:
    async def failing(histories: Histories) -> UserItems:
        fetch, histories._fetch = histories._fetch, None  # type: ignore[assignment,method-assign]
        with pytest.raises(TypeError):
            await histories.read("anna")
        histories._fetch = fetch  # type: ignore[method-assign]
        return await histories.read("anna")

    assert with_histories(settings, failing) == UserItems()


def test_seen_items_are_read_up_to_their_cap_the_newest(
    settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    client_of_redis.zadd(keys.seen("anna"), {f"i{at}": at for at in range(10)})

    async def reading() -> UserItems:
        connection = RedisConnection(settings)
        connection.open()
        try:
            return await Histories(connection, seen_cap=3).read("anna")
        finally:
            await connection.close()

    assert set(asyncio.run(reading()).seen) == {"i7", "i8", "i9"}


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
