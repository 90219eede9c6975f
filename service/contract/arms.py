"""Arms: the main release, and beside it a canary that a share of the users gets.

Who is in the canary is decided by a hash alone, so every replica says the same, today and tomorrow, and nothing is
stored. The hash is keyed with the namespace: being in the canary of one catalogue says nothing about another. It does
not depend on the release: raising the share only adds users, and the next canary begins with the same ones.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from service.contract.redis_keys import MAIN_ARM

CANARY_ARM = "canary"
ARMS = (MAIN_ARM, CANARY_ARM)


class ArmPointer(NamedTuple):
    """What an arm serves, and the share of users who get it; the main arm's is what the canary leaves."""

    version: str
    share: float

    def to_json(self) -> str:
        """As it stands in the hash of active releases."""
        return json.dumps({"version": self.version, "share": self.share})

    @staticmethod
    def from_json(arm: str, text: str | bytes) -> "ArmPointer":
        """Read a pointer.

        Raises:
            ValueError: it names no version, or a share that is none.
        """
        try:
            raw = json.loads(text)
            pointer = ArmPointer(str(raw["version"]), float(raw["share"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"the pointer of arm {arm} cannot be read ({type(error).__name__}): publish or roll back again"
            ) from error
        if not (math.isfinite(pointer.share) and 0 <= pointer.share <= 1):
            raise ValueError(f"arm {arm} has the share {pointer.share}; the limit is 0..1: publish or roll back again")
        return pointer


def require_share(share: float) -> float:
    """The share of a canary.

    Raises:
        ValueError: it leaves one of the arms without users.
    """
    if not 0 < share < 1:
        raise ValueError(f"share {share:g} of a canary must be above 0 and below 1, such as 0.1")
    return share


def share_out(main: str, canary: ArmPointer | None = None) -> dict[str, ArmPointer]:
    """The pointers of all arms, whose shares make 1."""
    if canary is None:
        return {MAIN_ARM: ArmPointer(main, 1.0)}
    return {MAIN_ARM: ArmPointer(main, round(1 - canary.share, 6)), CANARY_ARM: canary}


def is_in_canary(namespace: str, share: float, user_id: str | None, history: Sequence[str] | None = None) -> bool:
    """Whether a request belongs to the canary's share.

    Args:
        namespace: of the catalogue.
        share: of the canary, 0..1.
        user_id: decides alone where there is one.
        history: decides for requests without a user, so the same request always gets the same arm; one without either
            belongs to the main arm.
    """
    if not share or (user_id is None and not history):
        return False
    who = f"u{user_id}" if user_id is not None else "h" + "\0".join(history or ())
    key = hashlib.sha256(f"mmgrec arms {namespace}".encode()).digest()
    digest = hashlib.blake2b(who.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    return int.from_bytes(digest) < share * 2**64
