"""Reads when the name of Redis leads to another server: the connection that is kept for them must follow."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from service.contract.redis_keys import RedisKeys
from service.redis_connection import RedisConnection, RedisUnavailableError
from service.settings import Settings
from service.users.histories import Histories
from service.users.redis_writes import RedisWrites
from service.users.round_trips import RoundTrips
from service.users.user_items import UserItems
from tests.service.with_redis import connected

BEFORE, AFTER = UserItems(("before",)), UserItems(("after",))


@pytest.fixture
def first(own_redis: Any, keys: RedisKeys) -> Iterator[redis.Redis]:
    """A client of the server that the name leads to in the beginning."""
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        client.rpush(keys.history("anna"), *BEFORE.history)
        yield client


@pytest.fixture
def second(client_of_redis: redis.Redis, keys: RedisKeys) -> redis.Redis:
    """A client of the other one, which got further events."""
    client_of_redis.rpush(keys.history("anna"), *AFTER.history)
    return client_of_redis


def number_of_connections(client: redis.Redis) -> int:
    return len(client.client_list()) - 1


def test_a_refused_write_leads_reads_away_from_the_demoted_server(
    own_redis: Any, redis_url: str, keys: RedisKeys, first: redis.Redis, second: redis.Redis
) -> None:
    old, new = (Path(url.removeprefix("unix://")) for url in (own_redis.url, redis_url))
    name = old.with_name("name.sock")
    name.symlink_to(old)

    async def use(connection: RedisConnection) -> None:
        histories, writes = Histories(connection), RedisWrites(connection)
        assert await histories.read("anna") == BEFORE
        await writes.send(lambda pipeline: pipeline.set("key", "x"))  # over a second connection
        await asyncio.to_thread(connection.open().active_version)  # over a third one
        first.execute_command("REPLICAOF", "127.0.0.1", "1")
        name.unlink()
        name.symlink_to(new)
        assert await histories.read("anna") == BEFORE  # it answers as ever, so a reader cannot tell
        with pytest.raises(RedisUnavailableError, match="failing over"):
            await writes.send(lambda pipeline: pipeline.set("key", "x"))
        assert await histories.read("anna") == AFTER
        assert number_of_connections(first) == 0

    settings = Settings(redis_url=f"unix://{name}", namespace=keys.namespace)
    connected(settings, lambda connection: connection, use)


def test_a_server_that_moved_is_followed_and_the_old_connection_ended(
    own_redis: Any, redis_url: str, keys: RedisKeys, first: redis.Redis, second: redis.Redis
) -> None:
    """As the private server does when its socket is lost."""

    async def use(connection: RedisConnection) -> None:
        histories = Histories(connection)
        assert await histories.read("anna") == BEFORE
        assert number_of_connections(first) == 1
        connection._connect(redis_url)
        assert await histories.read("anna") == AFTER
        assert number_of_connections(first) == 0

    settings = Settings(redis_url=own_redis.url, namespace=keys.namespace)
    connected(settings, lambda connection: connection, use)


def test_reads_keep_their_connection_while_all_is_well(
    own_redis: Any, keys: RedisKeys, first: redis.Redis, second: redis.Redis
) -> None:
    async def use(connection: RedisConnection) -> None:
        histories = Histories(connection)
        ids = set()
        for again in range(6):
            if again == 3:
                await connection.reconnect()
            assert await histories.read("anna") == BEFORE
            ids.add(tuple(each["id"] for each in first.client_list() if each["cmd"] != "client|list"))
        assert len(ids) == 2

    settings = Settings(redis_url=own_redis.url, namespace=keys.namespace)
    connected(settings, lambda connection: connection, use)


def test_without_any_write_the_name_is_looked_up_now_and_then(own_redis: Any, keys: RedisKeys) -> None:
    own_redis.start()

    async def use(connection: RedisConnection) -> None:
        kept, renewed = RoundTrips(connection), RoundTrips(connection, most_age_seconds=0)
        for round_trips, connections in ((kept, 1), (renewed, 5)):
            ids = {(await round_trips.send([("CLIENT", "ID")]))[0] for _ in range(5)}
            assert len(ids) == connections

    settings = Settings(redis_url=own_redis.url, namespace=keys.namespace)
    connected(settings, lambda connection: connection, use)
