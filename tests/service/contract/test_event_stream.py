import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.event_stream import Forgotten, StoredEvent, read_entry
from service.contract.redis_keys import event_partition

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(
    st.builds(
        StoredEvent,
        user_id=text,
        item_id=text,
        time_ms=st.integers(0, 2**53),
        event=st.none() | text,
        weight=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        event_id=st.none() | text,
    )
)
def test_what_is_written_is_what_is_read(event: StoredEvent) -> None:
    as_redis_gives_it = {name.encode(): value.encode() for name, value in event.fields().items()}
    assert StoredEvent.from_fields(as_redis_gives_it) == read_entry(as_redis_gives_it) == event


def test_the_fields_by_eye() -> None:
    event = StoredEvent("u", "i", 5, weight=0.5)
    assert event.fields() == {"user": "u", "item": "i", "time": "5", "weight": "0.5"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({b"user": b"u", b"time": b"1"}, "without item"),
        ({}, "without user, item, time"),
        ({b"user": b"u", b"item": b"i", b"time": b"soon"}, "'soon'"),
        ({b"user": b"u", b"item": b"i", b"time": b"1", b"weight": b"much"}, "'much'"),
    ],
)
def test_an_entry_that_is_no_event_is_named(fields: dict[bytes, bytes], named: str) -> None:
    with pytest.raises(ValueError, match="skip it") as caught:
        StoredEvent.from_fields(fields)
    assert named in str(caught.value)


@given(st.builds(Forgotten, user_id=text, time_ms=st.integers(0, 2**53)))
def test_a_tombstone_is_read_as_one_and_skipped_by_who_knows_events_alone(tombstone: Forgotten) -> None:
    as_redis_gives_it = {name.encode(): value.encode() for name, value in tombstone.fields().items()}
    assert read_entry(as_redis_gives_it) == tombstone
    with pytest.raises(ValueError, match="without item; skip it"):
        StoredEvent.from_fields(as_redis_gives_it)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({b"user": b"u", b"kind": b"merge"}, "kind 'merge'"),
        ({b"kind": b"forget", b"time": b"1"}, "'user'"),
        ({b"kind": b"forget", b"user": b"u", b"time": b"soon"}, "'soon'"),
    ],
)
def test_an_entry_of_another_kind_is_named(fields: dict[bytes, bytes], named: str) -> None:
    with pytest.raises(ValueError, match="skip it") as caught:
        read_entry(fields)
    assert named in str(caught.value)


def test_partitions_by_eye_and_even() -> None:
    """The numbers stand in other people's Redis: another hash would scatter a user's events."""
    assert [event_partition(user, 4) for user in ("anna", "bert", "ü")] == [3, 2, 1]
    counts = [0] * 4
    for at in range(4_000):
        counts[event_partition(f"user-{at}", 4)] += 1
    assert min(counts) > 900
