"""Storing events: the order of the writes, and what a death in between leaves behind."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
import redis

from service.contract.event_stream import StoredEvent
from service.contract.history_scripts import HistoryLimits
from service.contract.redis_keys import RedisKeys, event_partition
from service.redis_connection import RedisConnection, RedisUnavailableError
from service.settings import Settings
from service.users.events import CHUNK, Events, Recorded
from service.users.redis_writes import RedisWrites

Result = TypeVar("Result")
NOW = 1_763_740_800_000
PARTITIONS = 2


def event(item: str, *, user: str = "anna", time: int = NOW, event_id: str | None = None) -> StoredEvent:
    return StoredEvent(user, item, time, event_id=event_id)


def with_events(url: str, keys: RedisKeys, use: Callable[[Events], Awaitable[Result]], **options: Any) -> Result:
    async def using() -> Result:
        connection = RedisConnection(
            Settings(redis_url=url, namespace=keys.namespace, redis_timeout_seconds=options.pop("timeout", 5))
        )
        connection.open()
        writes = RedisWrites(connection, pause_seconds=options.pop("pause_seconds", 1))
        chosen = {"duplicates": "keep_first", "event_id_ttl_seconds": 60, "partitions": PARTITIONS, "max_length": 1000}
        try:
            return await use(Events(connection, writes, limits=HistoryLimits(), **{**chosen, **options}))
        finally:
            await connection.close()

    return asyncio.run(using())


def record(url: str, keys: RedisKeys, *events: StoredEvent, **options: Any) -> Recorded:
    return with_events(url, keys, lambda service: service.record(events), **options)


def streamed(client: redis.Redis, keys: RedisKeys, user: str = "anna") -> list[StoredEvent]:
    entries: list[Any] = client.xrange(keys.events(event_partition(user, PARTITIONS)))
    return [StoredEvent.from_fields(fields) for _, fields in entries]


def history(client: redis.Redis, keys: RedisKeys, user: str = "anna") -> list[str]:
    return [item.decode() for item in client.lrange(keys.history(user), 0, -1)][::-1]


def test_an_event_is_in_its_stream_in_the_history_and_seen(
    redis_url: str, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    full = StoredEvent("anna", "mug", NOW, "buy", 2.5, "e-1")
    assert record(redis_url, keys, full, event("lamp", user="bert")) == Recorded(2, 0, 0)
    assert streamed(client_of_redis, keys) == [full]
    assert streamed(client_of_redis, keys, "bert") == [event("lamp", user="bert")]
    assert history(client_of_redis, keys) == ["mug"]
    assert client_of_redis.zscore(keys.seen("anna"), "mug") == NOW


def test_the_stream_comes_before_the_history(redis_url: str, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    record(redis_url, keys, event("warm up"))
    with client_of_redis.monitor() as monitor:
        record(redis_url, keys, event("mug", event_id="e-1"))
        client_of_redis.echo(f"end of {keys.namespace}")
        seen: list[str] = []
        while not seen or not seen[-1].startswith("ECHO"):
            seen.append(monitor.next_command()["command"])
    ours = [command.split()[0] for command in seen if keys.namespace in command]
    order = [name for name in ours if name in {"EXISTS", "XADD", "EVALSHA", "LPUSH"}]
    assert order[:3] == ["EXISTS", "XADD", "EVALSHA"]
    assert not {"MULTI", "EVAL"} & {command.split()[0] for command in seen}


def test_a_repeated_event_is_a_duplicate_and_another_user_may_use_its_id(
    redis_url: str, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    first = event("mug", event_id="e-1")
    assert record(redis_url, keys, first, first) == Recorded(1, 1, 0)  # within a call
    assert record(redis_url, keys, first, event("lamp", event_id="e-2")) == Recorded(1, 1, 0)  # and between calls
    assert record(redis_url, keys, event("mug", user="bert", event_id="e-1")) == Recorded(1, 0, 0)
    assert [each.item_id for each in streamed(client_of_redis, keys)] == ["mug", "lamp"]
    assert history(client_of_redis, keys) == ["mug", "lamp"]


def test_without_an_event_id_the_stream_has_both_and_the_history_one(
    redis_url: str, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    assert record(redis_url, keys, event("mug"), event("mug")) == Recorded(2, 0, 0)
    assert len(streamed(client_of_redis, keys)) == 2
    assert history(client_of_redis, keys) == ["mug"]


def test_more_than_a_chunk_stays_in_order(redis_url: str, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    events = [event(f"i{at}", event_id=f"e{at}") for at in range(2 * CHUNK + 1)]
    assert record(redis_url, keys, *events, events[0]) == Recorded(len(events), 1, 0)
    assert history(client_of_redis, keys) == [each.item_id for each in events]
    assert streamed(client_of_redis, keys) == events


def test_the_same_event_in_two_processes_at_once_is_applied_once(
    redis_url: str, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    same = [event("mug", event_id=f"e-{at}") for at in range(20)]

    async def twice(service: Events) -> list[Recorded]:
        return await asyncio.gather(*(service.record([each]) for each in same for _ in range(2)))

    answers = with_events(redis_url, keys, twice, duplicates="keep_all")
    assert sum(answer.accepted for answer in answers) == sum(answer.duplicates for answer in answers) == 20
    assert history(client_of_redis, keys) == ["mug"] * 20
    assert {each.event_id for each in streamed(client_of_redis, keys)} == {each.event_id for each in same}


def test_a_death_between_stream_and_history_is_mended_by_a_repetition(own_redis: Any, keys: RedisKeys) -> None:
    """Scripts are forbidden, so that the writes end exactly there."""
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "half", "on", ">pw", "~*", "&*", "+@all", "-evalsha", "-eval")
        half = own_redis.url.replace("unix://", "unix://half:pw@")
        lost = event("mug", time=NOW, event_id="e-1")
        with pytest.raises(RedisUnavailableError, match="send it again"):
            record(half, keys, lost)
        assert (streamed(client, keys), history(client, keys)) == ([lost], [])
        record(own_redis.url, keys, event("lamp", time=NOW + 1))
        assert record(own_redis.url, keys, lost) == Recorded(1, 0, 0)
        assert history(client, keys) == ["mug", "lamp"]  # by time: it happened first
        assert [each for each in streamed(client, keys) if each.event_id == "e-1"] == [lost, lost]
        assert record(own_redis.url, keys, lost) == Recorded(0, 1, 0)
        assert history(client, keys) == ["mug", "lamp"]


def test_what_was_accepted_survives_a_kill(own_redis: Any, keys: RedisKeys) -> None:
    own_redis.start()

    async def around_a_kill(service: Events) -> list[Recorded]:
        first = await service.record([event("mug", event_id="e-1")])
        own_redis.kill()
        with pytest.raises(RedisUnavailableError):
            await service.record([event("lamp", event_id="e-2")])
        own_redis.start()
        again = await service.record([event("mug", event_id="e-1"), event("lamp", event_id="e-2", time=NOW + 1)])
        return [first, again]

    assert with_events(own_redis.url, keys, around_a_kill) == [Recorded(1, 0, 0), Recorded(1, 1, 0)]
    with redis.Redis.from_url(own_redis.url) as client:
        assert history(client, keys) == ["mug", "lamp"]
        assert len(streamed(client, keys)) == 2


def test_scripts_that_redis_forgot_are_sent_again(
    redis_url: str, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    async def around_a_flush(service: Events) -> list[Recorded]:
        first = await service.record([event("a")])
        client_of_redis.script_flush()
        return [first, await service.record([event("b"), event("c")])]

    assert with_events(redis_url, keys, around_a_flush) == [Recorded(1, 0, 0), Recorded(2, 0, 0)]
    assert history(client_of_redis, keys) == ["a", "b", "c"]


def test_streams_are_kept_short(redis_url: str, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    record(redis_url, keys, *(event(f"i{at}") for at in range(1_000)), max_length=100)
    kept = [each.item_id for each in streamed(client_of_redis, keys)]
    assert 100 <= len(kept) < 500  # about: Redis drops whole nodes
    assert kept[-1] == "i999"


def test_an_event_id_is_forgotten_after_its_time(redis_url: str, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    record(redis_url, keys, event("mug", event_id="e-1"), event_id_ttl_seconds=60)
    assert 50 < client_of_redis.ttl(keys.event("anna", "e-1")) <= 60


@pytest.mark.parametrize("part", ["history", "seen"])
def test_a_user_whose_key_is_something_else_keeps_no_one_from_being_stored(
    redis_url: str, client_of_redis: redis.Redis, keys: RedisKeys, part: str
) -> None:
    client_of_redis.set(getattr(keys, part)("anna"), "text")
    answer = record(redis_url, keys, event("mug", event_id="e-1"), event("mug", user="bert"))
    assert answer == Recorded(2, 0, 1)
    assert history(client_of_redis, keys, "bert") == ["mug"]
    assert len(streamed(client_of_redis, keys)) == 1
    client_of_redis.delete(getattr(keys, part)("anna"))
    assert record(redis_url, keys, event("mug", event_id="e-1")) == Recorded(1, 0, 0)  # its id was not used up
    assert history(client_of_redis, keys) == ["mug"]


def test_counts_add_up(redis_url: str, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    client_of_redis.set(keys.seen("odd"), "text")

    async def some(service: Events) -> tuple[int, int, int]:
        await service.record([event("a", event_id="1"), event("a", event_id="1"), event("b", user="odd")])
        await service.record([event("a", event_id="1"), event("c")])
        return service.accepted, service.duplicates, service.not_applied

    assert with_events(redis_url, keys, some) == (3, 2, 1)
