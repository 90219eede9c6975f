"""Keeps the active releases in memory and swaps them in whole: the main one, and a canary beside it.

It looks when a job says that a release was activated (pub/sub), and every few seconds anyway, because such a message
may be lost. One thread reads and loads; the event loop only ever takes a reference. A request takes it once and keeps
it, so it never sees two releases, and the old one is freed when its last request ends. While one is loaded, memory
holds one release more than there are arms.

The main arm comes first in everything: a canary that cannot be read or loaded leaves its users with what they have, the
canary of before or the main release.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from service.contract.arms import CANARY_ARM, ArmPointer, is_in_canary
from service.contract.blob_folder import BlobsUnreachableError
from service.contract.redis_keys import MAIN_ARM
from service.contract.release_store import ReleaseMissingError, ReleaseStore
from service.redis_connection import RedisConnection, RedisFailure, RedisUnavailableError
from service.releases.release import BrokenReleaseError, DecoderFactory, Release, load_release
from service.releases.release_channel import ReleaseChannel
from service.releases.warm_up import warm_up
from service.serving.inference import InferenceThread
from service.settings import Settings
from service.task_end import end_task

logger = logging.getLogger(__name__)

BROKEN_RETRY_SECONDS = 30.0
"""A release that did not load is tried again this much later: the cause may have been the machine's, not its own."""

PUBLISH = "python -m offline publish --run DIR"
BROKEN_CURE = f"the service's log says why. Publish another ({PUBLISH}) or go back: python -m offline rollback"

Reason = Literal["starting", "no_release", "redis_unreachable", "blobs_unreachable", "broken_release", "broken_canary"]


class Problem(NamedTuple):
    """Why an arm's active release is not the one in memory; the message is for callers and holds the cure."""

    reason: Reason
    message: str


_FORESEEN = (ReleaseMissingError, RedisUnavailableError, BrokenReleaseError, BlobsUnreachableError, *RedisFailure)
STARTING = Problem("starting", "the service is loading its release; try again shortly")


class State(NamedTuple):
    """What the watch knows of the main arm: the release in memory, and why it is not the active one."""

    release: Release | None
    problem: Problem | None


class Arm(NamedTuple):
    """What the watch knows of one arm, always replaced as a whole.

    Attributes:
        release: in memory, loaded and warm.
        problem: why it is not the active one.
        share: of the users who get it, 0..1.
        loaded_at: when it came into memory, seconds since 1970.
    """

    release: Release | None
    problem: Problem | None
    share: float = 1.0
    loaded_at: float | None = None


class _Broken(NamedTuple):
    reason: str  # and not the error itself: its trace would keep the half-loaded release in memory
    retry_at: float  # time.monotonic()


class NotReadyError(RuntimeError):
    """No release is loaded, so no request can be answered."""

    def __init__(self, problem: Problem, retry_after_seconds: float) -> None:
        super().__init__(problem.message)
        self.reason = problem.reason
        self.retry_after_seconds = retry_after_seconds


class ReleaseWatch:
    """Holds the releases in memory and replaces one when another version becomes active.

    Attributes:
        arms: arm to what is known of it; "main" always, "canary" while there is one. The mapping is replaced as a
            whole and never changed: take it once, and read version (`release.version`), problem, share, loaded_at.
        reloads: how often a release was "loaded", and how often one was "refused", since the start.
    """

    def __init__(
        self,
        connection: RedisConnection,
        settings: Settings,
        decoder_factory: DecoderFactory,
        inference: InferenceThread,
    ) -> None:
        self.arms: Mapping[str, Arm] = {MAIN_ARM: Arm(None, STARTING)}
        self.reloads: Counter[str] = Counter(loaded=0, refused=0)
        self._connection = connection
        self._settings = settings
        self._decoder_factory = decoder_factory
        self._inference = inference
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="release-loader")
        self._channel = ReleaseChannel(connection)
        self._broken: dict[str, _Broken] = {}

    @property
    def state(self) -> State:
        """The main arm: its release, and its problem."""
        main = self.arms[MAIN_ARM]
        return State(main.release, main.problem)

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with any arm, the main one first."""
        return [arm.problem for arm in self.arms.values() if arm.problem is not None]

    def snapshot(self, user_id: str | None = None, history: Sequence[str] | None = None) -> Release:
        """The release to answer one request with, from its start to its end.

        Args:
            user_id: always gets the same arm (service.contract.arms).
            history: of the request; decides where there is no user.

        Raises:
            NotReadyError: no main release is loaded; says why, and when to come back.
        """
        arms = self.arms
        main, canary = arms[MAIN_ARM], arms.get(CANARY_ARM)
        if main.release is None:
            raise NotReadyError(main.problem or STARTING, self._settings.release_poll_seconds)
        if canary is None or canary.release is None:
            return main.release
        chosen = is_in_canary(self._settings.namespace, canary.share, user_id, history)
        return canary.release if chosen else main.release

    async def run(self) -> None:
        """Look, load and swap, until cancelled."""
        loop = asyncio.get_running_loop()
        listening = asyncio.create_task(self._channel.listen(), name="release-channel")
        try:
            while True:
                self._channel.told.clear()
                await loop.run_in_executor(self._loader, self.refresh)
                await self._channel.wait(self._settings.release_poll_seconds)
        finally:
            await end_task(listening)

    async def reload(self) -> None:
        """Look at once, also at releases that did not load before, and wait for what comes of it."""
        self._broken = {}
        await asyncio.get_running_loop().run_in_executor(self._loader, self.refresh)

    def close(self) -> None:
        """Wait for a load that is under way; its time limits bound it."""
        self._loader.shutdown(wait=True, cancel_futures=True)

    def refresh(self) -> None:
        """Look once. Blocks for as long as loading takes, and leaves the releases in memory alone if anything fails."""
        try:
            store = self._connection.open()
            pointers = store.arms.texts()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may find it cured
            main = self.arms[MAIN_ARM]
            self.arms = {**self.arms, MAIN_ARM: main._replace(problem=self._problem(MAIN_ARM, error, main))}
            return
        self._refresh_arm(store, MAIN_ARM, pointers.get(MAIN_ARM))
        if CANARY_ARM in pointers:
            self._refresh_arm(store, CANARY_ARM, pointers[CANARY_ARM])
        else:
            self.arms = {MAIN_ARM: self.arms[MAIN_ARM]}
        self._broken = {
            version: broken for version, broken in self._broken.items() if self._is_named(version, pointers)
        }

    @staticmethod
    def _is_named(version: str, pointers: Mapping[str, bytes]) -> bool:
        return any(version.encode() in text for text in pointers.values())

    def _refresh_arm(self, store: ReleaseStore, name: str, text: bytes | None) -> None:
        held = self.arms.get(name, Arm(None, None, 0.0))
        try:
            if text is None:
                raise ReleaseMissingError(f"nothing is active in namespace {self._settings.namespace}")
            pointer = ArmPointer.from_json(name, text)
            found = self._arm_of(store, pointer, held)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may find it cured
            found = held._replace(problem=self._problem(name, error, held))
        self.arms = {**self.arms, name: found}

    def _arm_of(self, store: ReleaseStore, pointer: ArmPointer, held: Arm) -> Arm:
        """An arm with the release that its pointer names: one that is in memory already, else loaded."""
        if held.release is not None and held.release.version == pointer.version:
            return held._replace(problem=None, share=pointer.share)
        for other in self.arms.values():  # a canary that was promoted
            if other.release is not None and other.release.version == pointer.version:
                return other._replace(problem=None, share=pointer.share)
        broken = self._broken.get(pointer.version)
        if broken is not None and time.monotonic() < broken.retry_at:
            raise BrokenReleaseError(pointer.version, broken.reason)
        try:
            release = self._load(store, pointer.version)
        except BrokenReleaseError as error:
            self.reloads["refused"] += 1
            self._broken[pointer.version] = _Broken(error.reason, time.monotonic() + BROKEN_RETRY_SECONDS)
            raise
        self.reloads["loaded"] += 1
        return Arm(release, None, pointer.share, time.time())

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

    def _problem(self, name: str, error: Exception, held: Arm) -> Problem:
        """What callers are told; logged when it begins, not at every look, with its trace when nobody foresaw it."""
        problem = self._in_words(name, error)
        if problem != held.problem:
            logger.warning("%s (%s)", problem.message, error, exc_info=None if isinstance(error, _FORESEEN) else error)
        return problem

    def _in_words(self, name: str, error: Exception) -> Problem:
        if isinstance(error, ReleaseMissingError):
            where = f"no release is published in namespace {self._settings.namespace}"
            return Problem("no_release", f"{where}; publish one: {PUBLISH}")
        if isinstance(error, (RedisUnavailableError, *RedisFailure)):
            return Problem("redis_unreachable", self._connection.cure_of(error))
        if isinstance(error, BlobsUnreachableError):
            cure = "check MMGREC_BLOBS_URL, and the credentials for it; the service's log says more"
            return Problem("blobs_unreachable", f"the place of the releases' blobs cannot be read: {cure}")
        if name == CANARY_ARM:
            which = f"canary {error.version}" if isinstance(error, BrokenReleaseError) else "the canary"
            return Problem("broken_canary", f"{which} cannot be loaded; {BROKEN_CURE} --arm canary")
        which = f"release {error.version}" if isinstance(error, BrokenReleaseError) else "the active release"
        return Problem("broken_release", f"{which} cannot be loaded; {BROKEN_CURE}")
