"""Keeps the active release in memory: looks for another one every few seconds and swaps it in whole.

One thread reads and loads; the event loop only ever takes the reference. A request takes it once and keeps it, so it
never sees two releases, and the old one is freed when its last request ends.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from service.contract.release_store import ReleaseMissingError, ReleaseStore
from service.inference import InferenceThread
from service.redis_connection import RedisConnection, RedisFailure, RedisUnavailableError
from service.release import BrokenReleaseError, DecoderFactory, Release, load_release
from service.settings import Settings
from service.warm_up import warm_up

logger = logging.getLogger(__name__)

BROKEN_RETRY_SECONDS = 30.0
"""A release that did not load is tried again this much later: the cause may have been the machine's, not its own."""

PUBLISH = "python -m offline publish --run DIR"
BROKEN_CURE = f"the service's log says why. Publish another ({PUBLISH}) or go back: python -m offline rollback"

Reason = Literal["starting", "no_release", "redis_unreachable", "broken_release"]


class Problem(NamedTuple):
    """Why the active release is not the one in memory; the message is for callers and holds the cure."""

    reason: Reason
    message: str


_FORESEEN = (ReleaseMissingError, RedisUnavailableError, BrokenReleaseError)
STARTING = Problem("starting", "the service is loading its release; try again shortly")


class State(NamedTuple):
    """What the watch knows, always replaced as a whole: the release in memory, and why it is not the active one."""

    release: Release | None
    problem: Problem | None


class _Broken(NamedTuple):
    version: str
    reason: str  # and not the error itself: its trace would keep the half-loaded release in memory
    retry_at: float  # time.monotonic()


class NotReadyError(RuntimeError):
    """No release is loaded, so no request can be answered."""

    def __init__(self, problem: Problem, retry_after_seconds: float) -> None:
        super().__init__(problem.message)
        self.reason = problem.reason
        self.retry_after_seconds = retry_after_seconds


class ReleaseWatch:
    """Holds the release in memory and replaces it when another version becomes active."""

    def __init__(
        self,
        connection: RedisConnection,
        settings: Settings,
        decoder_factory: DecoderFactory,
        inference: InferenceThread,
    ) -> None:
        self.state = State(None, STARTING)
        self._connection = connection
        self._settings = settings
        self._decoder_factory = decoder_factory
        self._inference = inference
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="release-loader")
        self._broken: _Broken | None = None

    def snapshot(self) -> Release:
        """The release to answer one request with, from its start to its end.

        Raises:
            NotReadyError: none is loaded; says why, and when to come back.
        """
        release, problem = self.state
        if release is None:
            raise NotReadyError(problem or STARTING, self._settings.release_poll_seconds)
        return release

    async def run(self) -> None:
        """Look, load and swap, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await loop.run_in_executor(self._loader, self.refresh)
            await asyncio.sleep(self._settings.release_poll_seconds)

    async def look_now(self) -> State:
        """Look once, at once; the state that this left."""
        await asyncio.get_running_loop().run_in_executor(self._loader, self.refresh)
        return self.state

    def close(self) -> None:
        """Wait for a load that is under way; its time limits bound it."""
        self._loader.shutdown(wait=True, cancel_futures=True)

    def refresh(self) -> None:
        """Look once. Blocks for as long as loading takes, and leaves the release in memory alone if anything fails."""
        held = self.state.release
        try:
            found = State(self._active_release(held), None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may find it cured
            problem = self._problem(error)
            self._report(problem, error)
            found = State(held, problem)
        self.state = found

    def _active_release(self, held: Release | None) -> Release:
        """The release that the pointer names: `held` itself where it is that one, else loaded."""
        store = self._connection.open()
        version = store.active_version()
        if version is None:
            raise ReleaseMissingError(f"nothing is active in namespace {self._settings.namespace}")
        if held is not None and held.version == version:
            return held
        broken = self._broken
        if broken is not None and broken.version == version and time.monotonic() < broken.retry_at:
            raise BrokenReleaseError(version, broken.reason)
        try:
            return self._load(store, version)
        except BrokenReleaseError as error:
            self._broken = _Broken(version, error.reason, time.monotonic() + BROKEN_RETRY_SECONDS)
            raise

    def _load(self, store: ReleaseStore, version: str) -> Release:
        started = time.perf_counter()
        release = load_release(store, version, self._settings, decoder_factory=self._decoder_factory)
        try:
            warm_up(release, self._inference, self._settings.max_batch)
        except Exception as error:
            raise BrokenReleaseError(version, f"its decoder cannot be warmed up ({error})") from error
        logger.info(
            "release %s: %d items on %s, loaded in %.2f s",
            version,
            len(release.items),
            release.decoder.provider,
            time.perf_counter() - started,
        )
        return release

    def _problem(self, error: Exception) -> Problem:
        if isinstance(error, ReleaseMissingError):
            where = f"no release is published in namespace {self._settings.namespace}"
            return Problem("no_release", f"{where}; publish one: {PUBLISH}")
        if isinstance(error, (RedisUnavailableError, *RedisFailure)):
            return Problem("redis_unreachable", self._connection.cure)
        which = f"release {error.version}" if isinstance(error, BrokenReleaseError) else "the active release"
        return Problem("broken_release", f"{which} cannot be loaded; {BROKEN_CURE}")

    def _report(self, problem: Problem, error: Exception) -> None:
        """Log a problem when it begins, not at every look; with its trace when nobody foresaw it."""
        if problem != self.state.problem:
            foreseen = isinstance(error, (*_FORESEEN, *RedisFailure))
            logger.warning("%s (%s)", problem.message, error, exc_info=None if foreseen else error)
