"""Every Redis key that MMGRec uses (design, section 3). Nobody else spells a key."""

import re
import zlib
from dataclasses import dataclass

MAIN_ARM = "main"
HISTORY_CAP = 512
"""Item ids kept per user: larger than any model's history maximum, so that a later model may look further back."""


@dataclass(frozen=True)
class RedisKeys:
    """Keys under one namespace; two namespaces share one Redis. User ids stand in `{}`: Redis Cluster hash tags.

    Raises:
        ValueError: a namespace that is empty or holds anything but letters, digits, '.', '_' and '-'.
    """

    namespace: str = "mmgrec"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", self.namespace):
            raise ValueError(
                f"namespace {self.namespace!r} is not usable; take letters, digits, '.', '_' and '-', such as 'mmgrec'"
            )

    def history(self, user_id: str) -> str:
        """List of item ids, newest first."""
        return f"{self.namespace}:history:{_tag(user_id)}"

    def seen(self, user_id: str) -> str:
        """Sorted set, item id to time: what `exclude_seen` leaves out."""
        return f"{self.namespace}:seen:{_tag(user_id)}"

    def event(self, user_id: str, event_id: str) -> str:
        """String with a TTL: this event of the user is stored. An event id holds no '}', so no two events share it."""
        return f"{self.namespace}:event:{_tag(user_id)}:{event_id}"

    def events(self, partition: int) -> str:
        """Stream: every accepted event of the users of one partition."""
        return f"{self.namespace}:events:{partition}"

    @property
    def active(self) -> str:
        """Hash, arm to release version and share: the only pointer."""
        return f"{self.namespace}:active"

    def release(self, version: str) -> str:
        """String, the manifest as JSON."""
        return f"{self.namespace}:release:{version}"

    def blob(self, sha256: str, chunk: int | str) -> str:
        """String, one content-addressed chunk of an array; with "*" for both, the pattern of all of them."""
        return f"{self.namespace}:blob:{sha256}:{chunk}"

    @property
    def releases(self) -> str:
        """Pub/sub channel: a version was activated."""
        return f"{self.namespace}:releases"

    def lock(self, job: str) -> str:
        """String with a lease: one writer."""
        return f"{self.namespace}:lock:{job}"


def event_partition(user_id: str, partitions: int) -> int:
    """Which of the event streams a user's events stand in: the same one in every process and language."""
    return zlib.crc32(user_id.encode()) % partitions


def _tag(user_id: str) -> str:
    """The hash tag of a user. It must not be empty, as Redis reads `{}...`: that user's keys would part ways.

    So an id that begins with '}' gets a '%' in front, and one that begins with '%' too, or the two could meet.
    """
    return f"{{%{user_id}}}" if user_id[:1] in ("}", "%") else f"{{{user_id}}}"
