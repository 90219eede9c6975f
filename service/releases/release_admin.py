"""What operators do with releases while the service runs: see them, look for another one now, go back."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from service.contract.arms import ArmPointer
from service.contract.blob_folder import BlobsUnreachableError
from service.contract.release_store import ReleaseMissingError
from service.redis_connection import RedisConnection
from service.releases.release_watch import Arm, ReleaseWatch


class RollbackRefusedError(ValueError):
    """There is nothing to go back to, or what there is cannot be served; the pointers stay as they were."""


class Published(NamedTuple):
    """What is published.

    Attributes:
        versions: all of them, oldest first.
        pointers: arm to what it is to serve.
        arms: arm to what this process serves.
    """

    versions: list[str]
    pointers: Mapping[str, ArmPointer]
    arms: Mapping[str, Arm]


class ReleaseAdmin:
    """Reads and flips the pointers of a namespace; all calls are for the event loop.

    Args:
        connection: to Redis.
        watch: loads what the pointers name.
    """

    def __init__(self, connection: RedisConnection, watch: ReleaseWatch) -> None:
        self._connection = connection
        self._watch = watch

    async def published(self) -> Published:
        """What there is, what is to be served, and what is.

        Raises:
            RedisUnavailableError: Redis cannot be reached.
        """
        return await asyncio.to_thread(self._published)

    async def reload(self) -> Mapping[str, Arm]:
        """Look at the pointers now, also at releases that did not load before; the arms after that."""
        await self._watch.reload()
        return self._watch.arms

    async def roll_back(self, arm: str) -> Mapping[str, Arm]:
        """Take the main arm back to its parent, or withdraw the canary, in every process; the arms after that.

        Raises:
            RollbackRefusedError: it cannot be done.
            RedisUnavailableError: Redis cannot be reached.
        """
        await asyncio.to_thread(self._roll_back, arm)
        return await self.reload()

    def _published(self) -> Published:
        with self._connection.reached() as store:
            return Published(store.versions(), store.arms.all(), self._watch.arms)

    def _roll_back(self, arm: str) -> None:
        try:
            with self._connection.reached() as store:
                store.rollback(arm)
        except (ReleaseMissingError, ValueError, BlobsUnreachableError) as error:
            raise RollbackRefusedError(str(error)) from error
