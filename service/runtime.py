"""The parts of a running service, put together once per process and taken apart in order."""

import asyncio
from importlib import metadata
from typing import Self

from service.heap import look_for_cycles_less_often, return_large_blocks
from service.redis_connection import RedisConnection
from service.releases.release import DecoderFactory, Release
from service.releases.release_admin import ReleaseAdmin
from service.releases.release_watch import ReleaseWatch
from service.schemas.status import InfoResponse, Limits, ReadyResponse, RedisInfo, ReleaseInfo
from service.serving.drain import Drain
from service.serving.inference import InferenceThread
from service.serving.recommender import Recommender
from service.settings import Settings
from service.task_end import end_task
from service.telemetry.metrics import Metrics
from service.users.event_streams import StreamSizes
from service.users.events import Events
from service.users.histories import Histories
from service.users.history_edits import HistoryEdits
from service.users.redis_writes import RedisWrites

VERSION = metadata.version("mmgrec")
DEAD_WORKER_SECONDS = 60.0
"""A run of the decoder that lasts longer will not end: no release is served whose runs take a hundredth of it."""


class Runtime:
    """Connection, release watch, inference thread and recommender; entering it starts the watch and returns at once."""

    def __init__(self, settings: Settings, decoder_factory: DecoderFactory, drain: Drain, metrics: Metrics) -> None:
        self._settings = settings
        self.metrics = metrics
        self._drain = drain
        self._connection = RedisConnection(settings)
        self._inference = InferenceThread()
        self._watching: asyncio.Task[None] | None = None
        self.watch = ReleaseWatch(self._connection, settings, decoder_factory, self._inference)
        self.releases = ReleaseAdmin(self._connection, self.watch)
        self.histories = Histories(
            self._connection, seen_cap=settings.seen_cap, cache_bytes=settings.history_cache_bytes
        )
        self.writes = RedisWrites(self._connection)
        limits, duplicates = settings.history_limits, settings.history_duplicates
        self.events = Events(
            self._connection,
            self.writes,
            limits=limits,
            duplicates=duplicates,
            event_id_ttl_seconds=settings.event_id_ttl_seconds,
            partitions=settings.event_stream_partitions,
            max_length=settings.event_stream_max_length,
        )
        streams = self.events.streams
        self.edits = HistoryEdits(
            self._connection, self.histories, self.writes, streams, limits=limits, duplicates=duplicates
        )
        self.stream_sizes = StreamSizes(self._connection, streams)
        self.recommender = Recommender(
            self.histories,
            self._inference,
            max_n=settings.max_n,
            max_batch=settings.max_batch,
            deadline_seconds=settings.deadline_seconds,
            metrics=metrics,
        )
        self.admission = self.recommender.admission

    async def __aenter__(self) -> Self:
        return_large_blocks()
        look_for_cycles_less_often()
        self.stream_sizes.use_loop(asyncio.get_running_loop())
        self._watching = asyncio.create_task(self.watch.run(), name="release-watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watching is not None:
            await end_task(self._watching)
        await asyncio.to_thread(self.watch.close)
        await asyncio.to_thread(self._inference.close)
        await self._connection.close()

    async def ready(self) -> ReadyResponse:
        """Whether requests are answered. Redis away only degrades: else one outage would take every replica out."""
        release, problems = self.watch.state.release, self.watch.problems
        reasons: list[str] = [problem.reason for problem in problems]
        message = problems[0].message if problems else None
        if release is not None and "redis_unreachable" not in reasons and not await self._connection.is_up():
            reasons.append("redis_unreachable")
            message = message or self._connection.cure
        not_answering = self._not_answering()
        for reason, said in not_answering:
            reasons.append(reason)
            message = said
        return ReadyResponse(
            ready=release is not None and not not_answering,
            degraded=release is not None and bool(reasons),
            reasons=reasons,
            message=message,
            release=None if release is None else release.version,
        )

    def _not_answering(self) -> list[tuple[str, str]]:
        """Reasons of the process itself, with what to do."""
        found = []
        if self._drain.draining:
            found.append(("draining", "this process is about to end; send requests to another one"))
        if self.recommender.batcher.run_age_seconds > DEAD_WORKER_SECONDS:
            found.append(("worker_dead", "the decoder does not come back from a run; restart the process"))
        return found

    def info(self) -> InfoResponse:
        """What this process is and does."""
        settings, release = self._settings, self.watch.state.release
        return InfoResponse(
            version=VERSION,
            release=None if release is None else _release_info(release),
            device=settings.device,
            provider=None if release is None else release.decoder.provider,
            limits=Limits(max_n=settings.max_n, max_body_bytes=settings.max_body_bytes),
            redis=RedisInfo(kind=settings.redis_kind, namespace=settings.namespace),
        )


def _release_info(release: Release) -> ReleaseInfo:
    manifest = release.manifest
    return ReleaseInfo(
        version=manifest.version,
        created=manifest.created,
        dataset=manifest.dataset,
        num_items=len(release.items),
        beam_widths=list(release.beam_widths),
        max_history=manifest.model.max_history,
        metrics=manifest.metrics,
    )
