"""Hearing of releases: a message is enough, none is needed, and whatever Redis goes through, it is heard again."""

import asyncio
import random
import signal
import time
from typing import Any

import pytest
import redis

from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.redis_connection import RedisConnection
from service.releases.release_channel import ReleaseChannel
from service.releases.release_watch import ReleaseWatch
from service.serving.inference import InferenceThread
from service.settings import Settings

LIMIT_SECONDS = 15.0


def versions(watch: ReleaseWatch) -> dict[str, str | None]:
    return {name: arm.release and arm.release.version for name, arm in watch.arms.items()}


async def until(question: Any) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not await asyncio.to_thread(question):
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)


def test_a_message_is_enough_and_none_is_needed(
    redis_url: str, keys: RedisKeys, publish: Any, fake_decoder: Any, client_of_redis: redis.Redis
) -> None:
    async def watched(poll_seconds: float, silent: bool) -> None:
        settings = Settings(redis_url=redis_url, namespace=keys.namespace, release_poll_seconds=poll_seconds)
        connection, inference = RedisConnection(settings), InferenceThread()
        watch = ReleaseWatch(connection, settings, fake_decoder, inference)
        running = asyncio.create_task(watch.run())
        await until(lambda: versions(watch) == {"main": "v1"})
        await until(lambda: client_of_redis.pubsub_numsub(keys.releases)[0][1] == 1)
        if silent:
            client_of_redis.hset(keys.active, "main", '{"version": "v2", "share": 1.0}')
        else:
            await asyncio.to_thread(ReleaseStore(client_of_redis, keys).activate, "v2")
        await until(lambda: versions(watch) == {"main": "v2"})
        assert watch.problems == []
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.to_thread(watch.close)
        inference.close()
        await connection.close()

    publish("v2")
    publish("v1")
    asyncio.run(watched(3600.0, silent=False))
    ReleaseStore(client_of_redis, keys).activate("v1")
    asyncio.run(watched(0.05, silent=True))


def test_the_channel_survives_what_redis_goes_through(own_redis: Any, namespace: str) -> None:
    """Not there yet, cut off, killed and restarted, and frozen without a word."""
    settings = Settings(redis_url=own_redis.url, namespace=namespace, redis_timeout_seconds=0.1)
    keys = RedisKeys(namespace)

    def num_listening() -> int:
        with redis.Redis.from_url(own_redis.url, socket_timeout=5) as client:
            return int(client.pubsub_numsub(keys.releases)[0][1])

    async def heard(channel: ReleaseChannel) -> None:
        await until(lambda: num_listening() == 1)
        await asyncio.wait_for(channel.told.wait(), LIMIT_SECONDS)  # told when it subscribed: something may be missed
        await asyncio.sleep(0.05)
        channel.told.clear()
        with redis.Redis.from_url(own_redis.url) as client:
            client.publish(keys.releases, "v1")
        await asyncio.wait_for(channel.told.wait(), LIMIT_SECONDS)
        channel.told.clear()

    async def listen() -> None:
        connection = RedisConnection(settings)
        channel = ReleaseChannel(connection, retry_seconds=0.05, silence_seconds=0.3)
        listening = asyncio.create_task(channel.listen())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(own_redis.start)
        await asyncio.to_thread(connection.open)
        await heard(channel)
        with redis.Redis.from_url(own_redis.url) as client:
            client.client_kill_filter(_type="pubsub")
        await heard(channel)
        await asyncio.to_thread(own_redis.kill)
        await asyncio.sleep(0.1)
        await asyncio.to_thread(own_redis.start)
        await heard(channel)
        own_redis._process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.5)
        own_redis._process.send_signal(signal.SIGCONT)
        await heard(channel)
        assert not listening.done()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await connection.close()

    asyncio.run(listen())


def test_after_an_outage_it_looks_a_moment_later_and_at_the_first_time_and_when_told_at_once(
    own_redis: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn is always the longest delay, which is far beyond the test."""
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    own_redis.start()
    keys = RedisKeys(namespace)

    async def listen() -> None:
        connection = RedisConnection(Settings(redis_url=own_redis.url, namespace=namespace))
        await asyncio.to_thread(connection.open)
        channel = ReleaseChannel(connection, retry_seconds=0.05, calm_seconds=3600.0)
        listening = asyncio.create_task(channel.listen())
        with redis.Redis.from_url(own_redis.url) as client:
            await asyncio.wait_for(channel.told.wait(), LIMIT_SECONDS)
            channel.told.clear()
            client.client_kill_filter(_type="pubsub")
            await until(lambda: client.pubsub_numsub(keys.releases)[0][1] == 1)
            await asyncio.sleep(0.2)
            assert not channel.told.is_set()
            client.publish(keys.releases, "v1")
            await asyncio.wait_for(channel.told.wait(), LIMIT_SECONDS)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await connection.close()

    asyncio.run(listen())
