"""A release not fit to be served is refused with its name and the reason; the self-test finds wrong decoders."""

from typing import Any

import numpy as np
import pytest
import redis

from service.constraints import ItemFilter
from service.contract.manifest import DECODER_ARRAY, ITEM_VECTORS_ARRAY
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.decoder import Decoded
from service.releases.release import BrokenReleaseError, load_release
from service.settings import Settings


def test_a_release_holds_what_an_answer_needs(
    store: ReleaseStore, settings: Settings, publish: Any, fake_decoder: Any
) -> None:
    publish("v1")
    release = load_release(store, "v1", settings, decoder_factory=fake_decoder)
    assert (release.version, release.beam_widths, len(release.items)) == ("v1", (10, 20), 12)
    assert release.row_of["item-07"] == 7
    assert release.popular_rows.tolist() == list(range(11, -1, -1))


def test_the_decoder_gets_the_release_and_the_settings(
    store: ReleaseStore, redis_url: str, publish: Any, fake_decoder: Any
) -> None:
    publish("v1")
    given: dict[str, Any] = {}

    def factory(onnx: bytes, **named: Any) -> Any:
        given.update(named, onnx=onnx)
        return fake_decoder(onnx, **named)

    settings = Settings(redis_url=redis_url, device="cpu", inference_threads=3)
    load_release(store, "v1", settings, decoder_factory=factory)
    assert (given["onnx"], given["device"], given["threads"]) == (b"no onnx", "cpu", 3)
    assert (given["trie"].num_items, given["item_vectors"].dtype) == (12, np.float32)
    assert given["settings"].max_history == 6


def test_a_release_that_is_not_there(store: ReleaseStore, settings: Settings) -> None:
    with pytest.raises(BrokenReleaseError, match=r"release v9.*offline releases"):
        load_release(store, "v9", settings)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({ITEM_VECTORS_ARRAY: np.zeros((11, 2), np.float32)}, "its parts disagree"),
        ({ITEM_VECTORS_ARRAY: np.zeros((12, 3), np.float32)}, "its parts disagree"),
        ({"items.train_count": np.zeros(11, np.int64)}, "differ in length"),
        ({"trie.leaf_to_row": np.zeros(12, np.int32)}, "no permutation"),
    ],
)
def test_parts_that_do_not_fit(
    store: ReleaseStore, settings: Settings, publish: Any, fake_decoder: Any, arrays: dict[str, Any], reason: str
) -> None:
    publish("v1", arrays=arrays)
    with pytest.raises(BrokenReleaseError, match=f"release v1: .*{reason}"):
        load_release(store, "v1", settings, decoder_factory=fake_decoder)


def test_bytes_that_went_missing(
    store: ReleaseStore,
    settings: Settings,
    publish: Any,
    fake_decoder: Any,
    client_of_redis: redis.Redis,
    keys: RedisKeys,
) -> None:
    publish("v1")
    for key in client_of_redis.scan_iter(keys.blob("*", 0)):
        client_of_redis.delete(key)
    with pytest.raises(BrokenReleaseError, match="is missing; publish the run again"):
        load_release(store, "v1", settings, decoder_factory=fake_decoder)


def test_a_file_that_is_no_decoder(store: ReleaseStore, settings: Settings, publish: Any) -> None:
    publish("v1", arrays={DECODER_ARRAY: np.frombuffer(b"this is no ONNX file", np.uint8)})
    with pytest.raises(BrokenReleaseError, match="release v1: onnxruntime cannot open"):
        load_release(store, "v1", settings)


def test_redis_away_is_not_the_release_s_fault(settings: Settings, namespace: str) -> None:
    with redis.Redis.from_url("unix:///nowhere/redis.sock") as client, pytest.raises(redis.ConnectionError):
        load_release(ReleaseStore(client, RedisKeys(namespace)), "v1", settings)


def with_duplicate(decoded: Decoded) -> Decoded:
    decoded.leaves[:, 1] = decoded.leaves[:, 0]
    return decoded


def with_dead_slot(decoded: Decoded) -> Decoded:
    decoded.leaves[:, 0] = -1
    return decoded


def with_foreign_leaf(decoded: Decoded) -> Decoded:
    decoded.leaves[:, 0] = 12
    return decoded


def with_nan(decoded: Decoded) -> Decoded:
    decoded.score[:, 0] = np.nan
    return decoded


def too_narrow(decoded: Decoded) -> Decoded:
    return Decoded(*(array[:, :-1] for array in decoded))


def failing(decoded: Decoded) -> Decoded:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (with_duplicate, "9 distinct items in 10 beams, expected 10"),
        (with_dead_slot, "9 distinct items in 9 beams, expected 10"),
        (with_foreign_leaf, "leaf position 12 is no item"),
        (with_nan, "not finite"),
        (too_narrow, "the decoder returns"),
        (failing, "its decoder does not run .RuntimeError: out of memory"),
    ],
)
def test_the_self_test_finds(
    store: ReleaseStore, settings: Settings, publish: Any, fake_decoder: Any, spoil: Any, reason: str
) -> None:
    class Spoiled(fake_decoder):  # type: ignore[misc]
        def decode(self, histories: Any, filters: Any, *, beam_width: int) -> Decoded:
            return spoil(super().decode(histories, filters, beam_width=beam_width))  # type: ignore[no-any-return]

    publish("v1")
    with pytest.raises(BrokenReleaseError, match=reason):
        load_release(store, "v1", settings, decoder_factory=Spoiled)


def test_the_self_test_finds_an_excluded_item(
    store: ReleaseStore, settings: Settings, publish: Any, fake_decoder: Any
) -> None:
    class Deaf(fake_decoder):  # type: ignore[misc]
        def decode(self, histories: Any, filters: Any, *, beam_width: int) -> Any:
            return super().decode(histories, [ItemFilter() for _ in filters], beam_width=beam_width)

    publish("v1")
    with pytest.raises(BrokenReleaseError, match="none excluded"):
        load_release(store, "v1", settings, decoder_factory=Deaf)


def test_the_self_test_decodes_a_history_of_full_length(
    store: ReleaseStore, settings: Settings, publish: Any, fake_decoder: Any
) -> None:
    """A graph may answer to short histories and fail on long ones."""
    lengths: list[int] = []

    class Short(fake_decoder):  # type: ignore[misc]
        def decode(self, histories: Any, filters: Any, *, beam_width: int) -> Any:
            lengths.extend(map(len, histories))
            if max(map(len, histories)) > 5:
                raise RuntimeError("an axis is too long")
            return super().decode(histories, filters, beam_width=beam_width)

    publish("v1")
    with pytest.raises(BrokenReleaseError, match=r"its decoder does not run .RuntimeError: an axis is too long"):
        load_release(store, "v1", settings, decoder_factory=Short)
    assert lengths == [0, 1, 6]  # max_history is 6
