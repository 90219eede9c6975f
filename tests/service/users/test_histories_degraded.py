"""Reading while Redis is slow, gone, restarted or odd: the last known items, and nobody waits twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
import redis

from service.contract.redis_keys import RedisKeys
from service.redis_connection import RedisUnavailableError
from service.users.histories import Histories
from service.users.user_items import UserItems
from tests.service.with_redis import beside_client

Result = TypeVar("Result")

ANNA = UserItems(("x", "y"), ("x",))


@pytest.fixture
def server(own_redis: Any, keys: RedisKeys) -> Any:
    """A Redis that knows anna, and may be killed, paused and bent."""
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        client.rpush(keys.history("anna"), "y", "x")
        client.zadd(keys.seen("anna"), {"x": 1})
    return own_redis


def using(
    server: Any, keys: RedisKeys, use: Callable[[Histories, redis.Redis], Awaitable[Result]], **options: Any
) -> Result:
    """Run `use` with histories, and a client of the same server that bends it."""
    timeout = options.pop("timeout", 5)
    return beside_client(server, keys, lambda connection: Histories(connection, **options), use, timeout=timeout)


async def outcome(histories: Histories, user_id: str) -> UserItems | type[Exception]:
    try:
        return await histories.read(user_id)
    except RedisUnavailableError as error:
        return type(error)


def test_a_redis_that_is_gone_leaves_the_last_known_items(server: Any, keys: RedisKeys) -> None:
    async def use(histories: Histories, _: redis.Redis) -> None:
        assert await histories.read("anna") == ANNA
        assert await histories.read("nobody") == UserItems()
        server.kill()
        assert await histories.read("anna") == ANNA._replace(stale=True)
        assert await outcome(histories, "bert") is RedisUnavailableError
        assert await outcome(histories, "nobody") is RedisUnavailableError
        assert (histories.reads, histories.failures, histories.stale_answers) == (5, 3, 1)
        assert histories.unknown_users == 1

    using(server, keys, use)


def test_the_first_read_after_a_restart_is_fresh(server: Any, keys: RedisKeys) -> None:
    async def use(histories: Histories, client: redis.Redis) -> None:
        assert await histories.read("anna") == ANNA
        server.kill()
        for _ in range(5):
            assert (await histories.read("anna")).stale
        server.start()
        client.rpush(keys.history("anna"), "older")
        assert await histories.read("anna") == UserItems(("older", "x", "y"), ("x",))

    using(server, keys, use)


def test_what_starts_late_is_found(own_redis: Any, keys: RedisKeys) -> None:
    async def use(histories: Histories, _: redis.Redis) -> None:
        assert await outcome(histories, "anna") is RedisUnavailableError
        own_redis.start()
        assert await histories.read("anna") == UserItems()

    using(own_redis, keys, use)


def test_a_redis_that_hangs_costs_one_timeout_and_not_one_for_each(server: Any, keys: RedisKeys) -> None:
    async def use(histories: Histories, client: redis.Redis) -> None:
        assert await histories.read("anna") == ANNA
        server.hang()
        together = await asyncio.gather(*(outcome(histories, user) for user in ("anna", "bert", "anna")))
        assert together == [ANNA._replace(stale=True), RedisUnavailableError, ANNA._replace(stale=True)]
        asked = histories.round_trips
        for _ in range(20):
            assert (await histories.read("anna")).stale
        assert histories.round_trips == asked  # nobody tried, so nobody waited
        server.go_on()

    using(server, keys, use, timeout=0.2, pause_seconds=600)


def test_who_waits_behind_a_read_that_times_out_does_not_wait_again(server: Any, keys: RedisKeys) -> None:
    async def use(histories: Histories, client: redis.Redis) -> None:
        server.hang()
        first = asyncio.create_task(outcome(histories, "anna"))
        while not histories.round_trips:
            await asyncio.sleep(0)
        later = asyncio.create_task(outcome(histories, "bert"))
        assert await asyncio.gather(first, later) == [RedisUnavailableError] * 2
        assert histories.round_trips == 1
        server.go_on()

    using(server, keys, use, timeout=0.2, pause_seconds=600)


def test_a_redis_that_answers_again_is_read_again(server: Any, keys: RedisKeys) -> None:
    async def use(histories: Histories, client: redis.Redis) -> None:
        assert await histories.read("anna") == ANNA
        server.hang()
        assert (await histories.read("anna")).stale
        server.go_on()
        deadline = asyncio.get_running_loop().time() + 15
        while (await histories.read("anna")).stale:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)

    using(server, keys, use, timeout=0.5, pause_seconds=0.05)


def test_a_replica_and_a_full_redis_are_read_as_ever(server: Any, keys: RedisKeys) -> None:
    async def use(histories: Histories, client: redis.Redis) -> None:
        client.config_set("maxmemory", 1)
        assert await histories.read("anna") == ANNA
        client.config_set("maxmemory", 0)
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert await histories.read("anna") == ANNA

    using(server, keys, use)


def test_a_replica_that_does_not_trust_its_data_leaves_the_last_known_items(server: Any, keys: RedisKeys) -> None:
    async def use(histories: Histories, client: redis.Redis) -> None:
        assert await histories.read("anna") == ANNA
        client.config_set("replica-serve-stale-data", "no")
        client.execute_command("REPLICAOF", "127.0.0.1", "1")  # a master that is not there: failing over
        assert await histories.read("anna") == ANNA._replace(stale=True)
        client.execute_command("REPLICAOF", "NO", "ONE")
        assert await histories.read("anna") == ANNA

    using(server, keys, use)


def test_a_key_of_another_type_concerns_its_user_alone(server: Any, keys: RedisKeys) -> None:
    async def use(histories: Histories, client: redis.Redis) -> None:
        assert await histories.read("anna") == ANNA
        client.set(keys.seen("bert"), "no set")
        assert await asyncio.gather(outcome(histories, "anna"), outcome(histories, "bert")) == [
            ANNA,
            RedisUnavailableError,
        ]
        client.delete(keys.seen("anna"))
        client.set(keys.seen("anna"), "no set")
        assert await histories.read("anna") == ANNA._replace(stale=True)

    using(server, keys, use)


def test_an_outage_is_logged_once_and_so_is_its_end(
    server: Any, keys: RedisKeys, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(histories: Histories, _: redis.Redis) -> None:
        server.kill()
        for _ in range(3):
            await outcome(histories, "secret-user")
        server.start()
        for _ in range(3):
            await outcome(histories, "secret-user")

    using(server, keys, use)
    ours = [record.message for record in caplog.records if record.name == "service.users.histories"]
    assert [message.partition(",")[0][:24] for message in ours] == ["histories cannot be read", "histories are back"]
    assert "secret-user" not in caplog.text  # who asks is nobody's business
