"""What one call of `retrain` works with: what was asked for, Redis, the archive, and the record of the run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis

from offline.retraining.event_archive import EventArchive
from offline.retraining.event_streams import EventStreams
from offline.retraining.judging import Limits
from offline.retraining.plan import Choices
from offline.retraining.run_record import Result, RunRecord
from offline.retraining.snapshot import FOLDER as SNAPSHOT
from offline.run_folder import RunFolder
from service.contract.arms import CANARY_ARM
from service.contract.redis_keys import MAIN_ARM, RedisKeys
from service.contract.release_store import ReleaseStore


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the caller asked for.

    Attributes:
        choices: what decides the run.
        limits: of the gate.
        force: publish in spite of reasons that are not final.
        canary: share of the users that get the new release as a canary; None for all of them.
    """

    choices: Choices
    limits: Limits
    force: bool = False
    canary: float | None = None

    @property
    def arm(self) -> str:
        """That is to serve the new release."""
        return MAIN_ARM if self.canary is None else CANARY_ARM


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """One call of the job, with its lock held.

    Attributes:
        options: what the caller asked for.
        client: of the Redis with streams and releases.
        keys: of the namespace.
        store: its releases.
        require_lock: raises when the lock was lost.
        served: the version that the main arm serves, None when nothing is published.
        streams: of the namespace.
        archive: of the dataset folder.
        record: of the run.
    """

    options: Options
    client: redis.Redis
    keys: RedisKeys
    store: ReleaseStore
    require_lock: Callable[[], None]
    served: str | None
    streams: EventStreams
    archive: EventArchive
    record: RunRecord

    @property
    def run(self) -> RunFolder:
        """Where training leaves its files, beside those of the record."""
        return RunFolder(self.record.folder)

    @property
    def snapshot(self) -> Path:
        """The dataset folder that the run is trained on."""
        return self.record.folder / SNAPSHOT

    @property
    def previous(self) -> Path | None:
        """Folder of the run that was served when this one began, where it came from one."""
        name = self.record.plan["previous"]
        return None if name is None else self.options.choices.runs / name

    def step(
        self, name: str, work: Callable[[], Result], still_holds: Callable[[Result], bool] = lambda _: True
    ) -> Result:
        """A step of the record; see `RunRecord.step`.

        Raises:
            LockedError: the lock was lost.
        """
        self.require_lock()
        return self.record.step(name, work, still_holds=still_holds)


def never(_: Result) -> bool:
    """For steps that every call does again."""
    return False
