"""Whatever is wrong with a folder or a release: it is named, nothing is written, and the served release stays."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import redis

from offline.catalogue_changes.add_items import add_items
from offline.catalogue_changes.base_release import open_base
from offline.catalogue_changes.successor import Target
from offline.errors import BadInputError, GateRefusedError, LockedError
from offline.export import set_dense_weight
from offline.file_digest import sha256_of_file
from offline.publish import publish
from offline.run_folder import RunFolder
from service.contract.manifest import DECODER_ARRAY
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore

FROZEN = Path(__file__).parents[2] / "fixtures"

Everything = Callable[[], dict[bytes, Any]]


@pytest.fixture
def folder(new_items: Callable[..., Path], tmp_path: Path) -> Path:
    """Two new items, sound as they are."""
    return new_items(tmp_path / "new", "even", "odd")


def spoil_array(folder: Path, name: str, values: np.ndarray) -> None:
    np.save(folder / "features" / f"{name}.npy", values)


def spoil_items(folder: Path, **columns: Any) -> None:
    table = pl.read_parquet(folder / "items.parquet")
    table.with_columns(**{name: pl.Series(values) for name, values in columns.items()}).write_parquet(
        folder / "items.parquet"
    )


ONES = np.ones((2, 6), np.float32)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "items.parquet").unlink(), "items.parquet: no such file; write it"),
        (lambda folder: (folder / "items.parquet").write_bytes(b"x"), "items.parquet: cannot be read as parquet"),
        (lambda folder: spoil_items(folder, item_id=["new-0", "new-0"]), "row 1: 'new-0' repeats row 0"),
        (lambda folder: spoil_items(folder, item_id=["new-0", ""]), "column 'item_id', row 1: '' is an empty string"),
        (lambda folder: spoil_items(folder, item_id=["new-0", None]), "column 'item_id', row 1: None is null"),
        (lambda folder: spoil_items(folder, item_id=[1, 2]), "column 'item_id' has type Int64"),
        (lambda folder: spoil_items(folder, item_id=["new-0", "x" * 300]), "over 256 characters"),
        (
            lambda folder: spoil_array(folder, "image", np.ones((2, 5), np.float32)),
            r"image.npy has 5 columns, release .* was trained with 6: make the features with the encoder",
        ),
        (lambda folder: spoil_array(folder, "image", ONES[:1]), "has 1 rows, but items.parquet has 2 items"),
        (lambda folder: spoil_array(folder, "image", ONES * np.inf), "row 0, column 0: infinite"),
        (lambda folder: spoil_array(folder, "image", np.where(np.eye(2, 6), np.nan, 1)), "row 0, .*NaN in part"),
        (lambda folder: spoil_array(folder, "image", ONES.astype(int)), "holds int64, not floats"),
        (lambda folder: (folder / "features" / "image.npy").write_bytes(b"x"), "cannot be read as an array"),
        (
            lambda folder: [(folder / "features" / f"{name}.npy").unlink() for name in ("image", "text")],
            r"2 of 2 new items, the first is 'new-0', have no content .*\(image, text\).*add --interactions if users",
        ),
    ],
)
def test_a_folder_that_cannot_be_used(
    served: str, folder: Path, target: Target, everything: Everything, spoil: Callable[[Path], Any], message: str
) -> None:
    spoil(folder)
    before = everything()
    with pytest.raises(BadInputError, match=message):
        add_items(folder, target)
    assert everything() == before
    assert target.store.active_version() == served


def test_no_folder(served: str, target: Target, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nowhere: no such folder; give the folder that holds"):
        add_items(tmp_path / "nowhere", target)


def test_an_item_without_content_is_named(
    served: str, target: Target, new_items: Callable[..., Path], everything: Everything, tmp_path: Path
) -> None:
    before = everything()
    with pytest.raises(BadInputError, match="1 of 3 new items, the first is 'new-1', have no content"):
        add_items(new_items(tmp_path / "new", "even", "", "odd"), target)
    assert everything() == before


def test_a_modality_that_is_not_there_is_missing_in_all(
    served: str, target: Target, new_items: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one that the release does not know is left out."""
    folder = new_items(tmp_path / "new", "even", image=None)
    spoil_array(folder, "smell", np.ones((1, 3), np.float32))
    assert add_items(folder, target)["added"] == 1
    said = capsys.readouterr().err
    assert "none of the new items has image, which the release was trained with" in said
    assert "was not trained with smell: left out" in said


CLIP_1, CLIP_2 = "1" * 64, "2" * 64


def describe(folder: Path, fingerprint: object) -> None:
    """As `encode` does."""
    features = folder / "features"
    said = {"fingerprint": fingerprint, "sha256": sha256_of_file(features / "image.npy")}
    (features / "image.json").write_text(json.dumps(said))


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (CLIP_2, f"is made by encoder {CLIP_2}, release .* was trained with {CLIP_1}: encode the new"),
        (None, rf"is of an unknown encoder \(no image.json\), release .* was trained with {CLIP_1}"),
        (5, "image.json: does not describe an encoder"),
    ],
)
def test_features_of_another_encoder(
    own_run: RunFolder, folder: Path, target: Target, everything: Everything, theirs: Any, message: str
) -> None:
    own_run.write_json("run.json", own_run.read_json("run.json") | {"encoders": {"image": CLIP_1}})
    served = publish(own_run, target.store)
    if theirs is not None:
        describe(folder, theirs)
    before = everything()
    with pytest.raises(BadInputError, match=message):
        add_items(folder, target)
    assert everything() == before
    assert target.store.active_version() == served
    describe(folder, CLIP_1)
    assert open_base(target.store, str(add_items(folder, target)["version"])).manifest.encoders == {"image": CLIP_1}


def test_nothing_is_published(target: Target, folder: Path, everything: Everything) -> None:
    with pytest.raises(BadInputError, match=r"nothing is published in this namespace.*publish one first"):
        add_items(folder, target)
    assert everything() == {}


def test_a_release_without_an_item_encoder(
    target: Target, folder: Path, client: redis.Redis, keys: RedisKeys, everything: Everything
) -> None:
    """A release as the previous format had it."""
    frozen = FROZEN / "release-format-3"
    for path in (frozen / "blobs").iterdir():
        sha256, _, chunk = path.name.rpartition("-")
        client.set(keys.blob(sha256, int(chunk)), path.read_bytes())
    text = (frozen / "manifest.json").read_bytes()
    version = json.loads(text)["version"]
    client.set(keys.release(version), text)
    target.store.arms.set_main(version)
    before = everything()
    with pytest.raises(BadInputError, match=r"\(format_version 3\) holds no item encoder.*publish its run again"):
        add_items(folder, target)
    assert everything() == before


@pytest.mark.parametrize("name", ["decoder.onnx", "item_vectors", "item_encoder.safetensors", "items.id.bytes"])
def test_a_release_that_lost_bytes(
    served: str, target: Target, folder: Path, client: redis.Redis, keys: RedisKeys, everything: Everything, name: str
) -> None:
    address = next(iter(target.store.read_manifest(served).arrays[name].addresses))
    client.delete(keys.blob(*address))
    before = everything()
    with pytest.raises(ValueError, match=f"array {name}: chunk 0 .* is missing"):
        add_items(folder, target)
    assert everything() == before


def test_an_unsigned_release_gets_no_signature(
    served: str, folder: Path, client: redis.Redis, keys: RedisKeys, everything: Everything
) -> None:
    before = everything()
    key = b"a key of this test"
    with pytest.raises(ValueError, match="sign"):
        add_items(folder, Target(store=ReleaseStore(client, keys, signing_key=key, verification_keys=(key,))))
    assert everything() == before


def test_a_signed_release_is_signed_again(run: RunFolder, folder: Path, client: redis.Redis, keys: RedisKeys) -> None:
    key = b"a key of this test"
    store = ReleaseStore(client, keys, signing_key=key, verification_keys=(key,))
    first = publish(run, store)
    second = add_items(folder, Target(store=store))["version"]
    signatures = {store.read_manifest(version).signature for version in (first, second)}
    assert None not in signatures
    assert len(signatures) == 2


def test_a_lock_that_was_lost_before_the_flip(served: str, folder: Path, target: Target) -> None:
    def lost() -> None:
        raise LockedError("lost")

    with pytest.raises(LockedError, match="lost"):
        add_items(folder, replace(target, before_flip=lost))
    assert target.store.active_version() == served


def test_a_decoder_that_does_not_run_is_refused_by_the_gate(
    served: str, folder: Path, target: Target, everything: Everything
) -> None:
    manifest = target.store.read_manifest(served)
    onnx = set_dense_weight(target.store.read_array(manifest, DECODER_ARRAY).tobytes(), float("nan"))
    spoilt = target.store.write_arrays({DECODER_ARRAY: np.frombuffer(onnx, np.uint8)})
    target.store.write_manifest(replace(manifest, version="20990101", arrays={**manifest.arrays, **spoilt}))
    target.store.activate("20990101")
    before = everything()
    with pytest.raises(GateRefusedError, match=r"the gate refused a change of release 20990101: .*not finite"):
        add_items(folder, target)
    assert everything() == before
