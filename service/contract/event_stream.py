"""What stands in the event streams, for whoever reads them (`RedisKeys.events`): events, and who is to be forgotten.

At least once: an event may stand in its stream twice, with the same event id (`service.users.events`). All entries of a
user stand in one stream as long as the number of partitions stays.
"""

from collections.abc import Mapping
from typing import NamedTuple

MOST_PARTITIONS = 1024
"""Streams of a namespace: a reader finds them all by asking for so many keys."""


class StoredEvent(NamedTuple):
    """One interaction of a user with an item.

    Attributes:
        user_id: who.
        item_id: with what; no release needs to know it.
        time_ms: when, milliseconds since 1970 UTC.
        event: the type, such as "click"; None when none was given.
        weight: as in a dataset; None when none was given.
        event_id: what makes a repetition known; None when none was given.
    """

    user_id: str
    item_id: str
    time_ms: int
    event: str | None = None
    weight: float | None = None
    event_id: str | None = None

    def fields(self) -> dict[str, str]:
        """What XADD writes; absent values have no field. `from_fields` is the inverse."""
        values = (self.user_id, self.item_id, self.time_ms, self.event, self.weight, self.event_id)
        return {name: str(value) for name, value in zip(_FIELDS, values, strict=True) if value is not None}

    @classmethod
    def from_fields(cls, fields: Mapping[bytes, bytes]) -> "StoredEvent":
        """Read an entry as Redis gives it.

        Raises:
            ValueError: a field is missing or cannot be read; the message names it.
        """
        texts = {name: fields[name.encode()].decode() for name in _FIELDS if name.encode() in fields}
        missing = [name for name in _FIELDS[:3] if name not in texts]
        if missing:
            raise ValueError(f"an event without {', '.join(missing)}; skip it, or see who else writes to the stream")
        try:
            time_ms, weight = int(texts["time"]), float(texts["weight"]) if "weight" in texts else None
        except ValueError as error:
            raise ValueError(f"an event whose time or weight is no number ({error}); skip it") from error
        return cls(texts["user"], texts["item"], time_ms, texts.get("event"), weight, texts.get("id"))


_FIELDS = ("user", "item", "time", "event", "weight", "id")
_KIND, _FORGET = "kind", "forget"


class Forgotten(NamedTuple):
    """A tombstone: whatever stands before it of this user, in the streams and in what was read from them, is to go.

    It has no item, so a reader that knows events alone skips it.

    Attributes:
        user_id: who.
        time_ms: when it was asked for, milliseconds since 1970 UTC.
    """

    user_id: str
    time_ms: int

    def fields(self) -> dict[str, str]:
        """What XADD writes; `read_entry` is the inverse."""
        return {"user": self.user_id, "time": str(self.time_ms), _KIND: _FORGET}


def read_entry(fields: Mapping[bytes, bytes]) -> StoredEvent | Forgotten:
    """Read an entry as Redis gives it, whatever kind it is.

    Raises:
        ValueError: a field is missing or cannot be read, or the kind is not known; the message names it.
    """
    kind = fields.get(_KIND.encode(), b"").decode(errors="replace")
    if not kind:
        return StoredEvent.from_fields(fields)
    if kind != _FORGET:
        raise ValueError(f"an entry of kind {kind!r}, which this version does not know; skip it")
    try:
        return Forgotten(fields[b"user"].decode(), int(fields[b"time"]))
    except (KeyError, ValueError) as error:
        raise ValueError(f"a tombstone whose user or time cannot be read ({error}); skip it") from error
