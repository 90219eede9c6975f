"""The hash of active releases, arm to pointer: the only thing about releases that ever changes.

Every change is one transaction (WATCH, MULTI, HSET, HDEL, PUBLISH, EXEC): a reader sees all of it or nothing, and if
another job changed the pointers meanwhile, the change starts anew from those.
"""

from collections.abc import Callable
from typing import Any, Protocol

from service.contract.arms import ARMS, CANARY_ARM, ArmPointer, require_share, share_out
from service.contract.redis_keys import MAIN_ARM, RedisKeys

Pointers = dict[str, ArmPointer]


class RedisPointers(Protocol):
    """The Redis commands that pointers need; redis-py's `Redis` has them."""

    def hgetall(self, name: str) -> Any: ...  # noqa: D102
    def transaction(self, func: Callable[[Any], Any], *watches: Any) -> Any: ...  # noqa: D102


class ReleaseMissingError(LookupError):
    """No release is published, or the one asked for does not exist. The message says what to run."""


class ArmPointers:
    """What the arms of one namespace point at."""

    def __init__(self, client: RedisPointers, keys: RedisKeys) -> None:
        self._client = client
        self._keys = keys

    def texts(self) -> dict[str, bytes]:
        """The pointer of every arm that has one, as it stands in Redis, all of the same moment."""
        return _by_arm(self._client.hgetall(self._keys.active))

    def all(self) -> Pointers:
        """The pointers that can be read, all of the same moment."""
        return _readable(self.texts())

    def main(self) -> ArmPointer:
        """The main arm's pointer.

        Raises:
            ReleaseMissingError: there is none.
        """
        return self._main_of(self.all())

    def canary(self) -> ArmPointer:
        """The canary's pointer.

        Raises:
            ReleaseMissingError: there is no canary.
        """
        return self._canary_of(self.all())

    def set_main(self, version: str) -> str:
        """Let the main arm serve a version; a canary stays."""
        return self._flip(lambda now: share_out(version, now.get(CANARY_ARM)))[MAIN_ARM].version

    def set_canary(self, version: str, share: float) -> str:
        """Give a share of the users another version.

        Raises:
            ReleaseMissingError: there is no main release beside it.
            ValueError: the share leaves one of the arms without users.
        """
        canary = ArmPointer(version, require_share(share))
        return self._flip(lambda now: share_out(self._main_of(now).version, canary))[CANARY_ARM].version

    def change_share(self, share: float) -> str:
        """Give the canary another share of the users; gives its version.

        Raises:
            ReleaseMissingError: there is no canary.
            ValueError: the share leaves one of the arms without users.
        """
        require_share(share)
        return self._flip(
            lambda now: share_out(self._main_of(now).version, self._canary_of(now)._replace(share=share))
        )[CANARY_ARM].version

    def promote(self) -> str:
        """Make the canary the main release, for all users; gives its version.

        Raises:
            ReleaseMissingError: there is no canary.
        """
        return self._flip(lambda now: share_out(self._canary_of(now).version))[MAIN_ARM].version

    def withdraw_canary(self) -> None:
        """Give the canary's users the main release again.

        Raises:
            ReleaseMissingError: there is no main release.
        """
        self._flip(lambda now: share_out(self._main_of(now).version))

    def _flip(self, change: Callable[[Pointers], Pointers]) -> Pointers:
        result: Pointers = {}

        def run(pipe: Any) -> None:
            before = _by_arm(pipe.hgetall(self._keys.active))
            result.clear()
            result.update(change(_readable(before)))
            pipe.multi()
            pipe.hset(self._keys.active, mapping={arm: pointer.to_json() for arm, pointer in result.items()})
            if gone := before.keys() - result.keys():
                pipe.hdel(self._keys.active, *gone)
            pipe.publish(self._keys.releases, result[MAIN_ARM].version)

        self._client.transaction(run, self._keys.active)
        return result

    def _main_of(self, pointers: Pointers) -> ArmPointer:
        if MAIN_ARM not in pointers:
            raise ReleaseMissingError(
                f"namespace {self._keys.namespace} has no main release; publish one: "
                "python -m offline publish --run DIR"
            )
        return pointers[MAIN_ARM]

    def _canary_of(self, pointers: Pointers) -> ArmPointer:
        if CANARY_ARM not in pointers:
            raise ReleaseMissingError(
                f"namespace {self._keys.namespace} has no canary; publish one: "
                "python -m offline publish --run DIR --arm canary --share 0.1"
            )
        return pointers[CANARY_ARM]


def _by_arm(found: dict[bytes, bytes]) -> dict[str, bytes]:
    return {arm: found[arm.encode()] for arm in ARMS if arm.encode() in found}


def _readable(texts: dict[str, bytes]) -> Pointers:
    """What cannot be read counts as not there, so that publishing cures it."""
    pointers: Pointers = {}
    for arm, text in texts.items():
        try:
            pointers[arm] = ArmPointer.from_json(arm, text)
        except ValueError:
            continue
    return pointers
