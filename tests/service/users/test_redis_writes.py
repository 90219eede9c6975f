"""Writes that a real Redis does not take: full, a replica, failing over, hanging, gone, odd."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
import redis

from service.contract.redis_keys import RedisKeys
from service.redis_connection import RETRY_SPREAD_SECONDS, RedisUnavailableError
from service.users.redis_writes import MOST_AT_ONCE, RedisWrites, Script
from tests.service.with_redis import beside_client

Result = TypeVar("Result")
SCRIPT = Script("return redis.call('INCR', KEYS[1])")


def using(
    server: Any, keys: RedisKeys, use: Callable[[RedisWrites, redis.Redis], Awaitable[Result]], **options: Any
) -> Result:
    timeout = options.pop("timeout", 5)
    return beside_client(server, keys, lambda connection: RedisWrites(connection, **options), use, timeout=timeout)


async def write(writes: RedisWrites, key: str = "secret-key") -> list[Any]:
    return await writes.send(lambda pipeline: pipeline.set(key, "x"))


async def refusal(writes: RedisWrites) -> str:
    with pytest.raises(RedisUnavailableError) as caught:
        await write(writes)
    assert 0 <= caught.value.retry_after_seconds <= RETRY_SPREAD_SECONDS
    assert "secret-key" not in str(caught.value)
    return str(caught.value)


def test_who_is_refused_is_not_told_to_come_back_with_all_others() -> None:
    seconds = [math.ceil(RedisUnavailableError("away").retry_after_seconds) for _ in range(200)]
    assert set(seconds) == set(range(1, int(RETRY_SPREAD_SECONDS) + 1))


def test_a_full_redis(own_redis: Any, keys: RedisKeys, caplog: pytest.LogCaptureFixture) -> None:
    own_redis.start()

    async def use(writes: RedisWrites, client: redis.Redis) -> None:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        assert "Redis is full: raise its maxmemory" in await refusal(writes)
        with pytest.raises(RedisUnavailableError, match="Redis is full"):
            await writes.run(SCRIPT, [(["secret-key"], [])])
        client.config_set("maxmemory", 0)
        assert await write(writes) == [True]
        assert writes.failures == 2

    using(own_redis, keys, use)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "writes fail",
        "Redis takes writes again",
    ]
    assert "secret-key" not in caplog.text


def test_a_replica_and_the_way_back(
    own_redis: Any, keys: RedisKeys, wait_for: Callable[[Callable[[], Any]], Any]
) -> None:
    own_redis.start()

    async def use(writes: RedisWrites, client: redis.Redis) -> None:
        await write(writes)
        connections = client.client_list()
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert "it is a replica, or it is failing over" in await refusal(writes)
        # It connects anew, for the name may lead elsewhere by now; the server notices a moment later.
        await asyncio.to_thread(wait_for, lambda: len(client.client_list()) < len(connections))
        with pytest.raises(RedisUnavailableError, match="replica"):
            await writes.run(SCRIPT, [(["secret-key"], [])])
        client.execute_command("REPLICAOF", "NO", "ONE")
        assert await write(writes) == [True]

    using(own_redis, keys, use)


def test_gone_and_back(own_redis: Any, keys: RedisKeys) -> None:
    own_redis.start()

    async def use(writes: RedisWrites, _: redis.Redis) -> None:
        await write(writes)
        own_redis.kill()
        assert "MMGREC_REDIS_URL" in await refusal(writes)
        own_redis.start()
        assert await write(writes) == [True]  # the very first one, on a dead pooled connection

    using(own_redis, keys, use)


def test_hanging_costs_one_timeout_and_not_one_for_each(own_redis: Any, keys: RedisKeys) -> None:
    own_redis.start()

    async def use(writes: RedisWrites, _: redis.Redis) -> None:
        await write(writes)
        own_redis.hang()
        assert "MMGREC_REDIS_URL" in await refusal(writes)
        told = [await refusal(writes) for _ in range(20)]
        assert all("did not answer in time a moment ago" in each for each in told)
        own_redis.go_on()

    using(own_redis, keys, use, timeout=0.2, pause_seconds=600)


def test_after_a_pause_it_is_tried_again(own_redis: Any, keys: RedisKeys) -> None:
    own_redis.start()

    async def use(writes: RedisWrites, _: redis.Redis) -> None:
        own_redis.hang()
        await refusal(writes)
        own_redis.go_on()
        deadline = asyncio.get_running_loop().time() + 15
        while True:
            try:
                assert await write(writes) == [True]
                return
            except RedisUnavailableError:
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.01)

    using(own_redis, keys, use, timeout=0.5, pause_seconds=0.05)


def test_a_refused_command_is_told_without_its_text(own_redis: Any, keys: RedisKeys) -> None:
    own_redis.start()

    async def use(writes: RedisWrites, client: redis.Redis) -> None:
        client.rpush("secret-key", "x")
        with pytest.raises(RedisUnavailableError, match="refuses to write: the service's log says why"):
            await writes.send(lambda pipeline: pipeline.incr("secret-key"))
        assert await writes.run(SCRIPT, [(["secret-key"], []), (["other"], [])]) == [None, 1]

    using(own_redis, keys, use)


def test_a_crowd_of_writes_leaves_connections_for_reads(own_redis: Any, keys: RedisKeys) -> None:
    own_redis.start()

    async def use(writes: RedisWrites, client: redis.Redis) -> int:
        await asyncio.gather(*(write(writes, f"key-{at}") for at in range(10 * MOST_AT_ONCE)))
        assert len(client.keys("key-*")) == 10 * MOST_AT_ONCE
        return len(client.client_list())

    assert using(own_redis, keys, use) <= MOST_AT_ONCE + 1
