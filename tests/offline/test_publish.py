"""Publishing: a finished run becomes the active release, whole; whatever is wrong leaves the served one alone."""

from pathlib import Path

import numpy as np
import pytest
import redis

from model.item_encoder import ItemEncoder, ItemEncoderConfig
from offline.artefacts import load_catalogue
from offline.checkpoint import load_checkpoint, module_from_bytes
from offline.dataset import Dataset
from offline.errors import BadInputError, GateRefusedError
from offline.export import set_dense_weight
from offline.publish import check_gate, publish, release_arrays
from offline.run_folder import METRICS_FILES, RunFolder
from service.contract.item_table import ItemTable
from service.contract.manifest import DECODER_ARRAY, ITEM_ENCODER_ARRAY, ITEM_VECTORS_ARRAY
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.contract.trie import Trie


def all_keys(client: redis.Redis, keys: RedisKeys) -> set[bytes]:
    return set(client.scan_iter(match=f"{keys.namespace}:*"))


def test_a_finished_run_becomes_the_active_release(run: RunFolder, store: ReleaseStore, dataset: Dataset) -> None:
    version = publish(run, store)
    manifest = store.read_manifest(version)
    assert store.active_version() == version
    assert (manifest.dataset, manifest.parent, manifest.gate["passed"]) == ("checkerboard", None, True)
    assert manifest.metrics == run.read_json("metrics.json")
    trie = Trie.from_arrays(store.read_arrays(manifest, "trie."), manifest.model.space)
    np.testing.assert_array_equal(trie.rec_ids(), load_catalogue(run).trie.rec_ids())
    items = ItemTable.from_arrays(store.read_arrays(manifest, "items."))
    assert (items.item_ids, items.titles, items.categories) == (dataset.item_ids, dataset.titles, dataset.categories)
    np.testing.assert_array_equal(items.train_counts, dataset.train_counts())
    assert store.read_array(manifest, DECODER_ARRAY).tobytes() == run.decoder.read_bytes()
    assert store.read_array(manifest, ITEM_VECTORS_ARRAY).shape == (60, manifest.model.vector_dim)


def test_the_frozen_item_encoder_comes_along(run: RunFolder, store: ReleaseStore) -> None:
    manifest = store.read_manifest(publish(run, store))
    weights = store.read_array(manifest, ITEM_ENCODER_ARRAY).tobytes()
    module = module_from_bytes(ItemEncoder, ItemEncoderConfig, manifest.item_encoder_config, weights)
    assert module.config.feature_dims == {"image": 6, "text": 4}
    assert not any("embedding" in name for name in module.state_dict())


def test_the_encoders_of_the_features_are_written_down(own_run: RunFolder, store: ReleaseStore) -> None:
    """Those of modalities that the model knows; a run that does not say has none."""
    trained = own_run.read_json("run.json")
    assert store.read_manifest(publish(own_run, store)).encoders == trained["encoders"] == {}
    own_run.write_json("run.json", trained | {"encoders": {"image": "a1", "audio": "b2"}})
    assert store.read_manifest(publish(own_run, store)).encoders == {"image": "a1"}
    del trained["encoders"]
    own_run.write_json("run.json", trained)
    assert store.read_manifest(publish(own_run, store)).encoders == {}


def test_every_array_reads_back(run: RunFolder, store: ReleaseStore) -> None:
    encoder = load_checkpoint(ItemEncoder, ItemEncoderConfig, run.item_encoder)
    manifest, written = store.read_manifest(publish(run, store)), release_arrays(run, encoder)
    assert set(manifest.arrays) == set(written)
    for name, array in written.items():
        np.testing.assert_array_equal(store.read_array(manifest, name), array)


def test_publishing_twice_gives_two_versions_that_share_every_blob(
    run: RunFolder, store: ReleaseStore, client: redis.Redis, keys: RedisKeys
) -> None:
    first = publish(run, store)
    before = all_keys(client, keys)
    second = publish(run, store)
    assert store.versions() == [first, second]
    assert store.active_version() == second
    assert store.read_manifest(second).parent == store.parent_of_active() == first
    assert all_keys(client, keys) - before == {keys.release(second).encode()}


def test_services_are_told(run: RunFolder, store: ReleaseStore, client: redis.Redis, keys: RedisKeys) -> None:
    with client.pubsub() as listener:
        listener.subscribe(keys.releases)
        assert listener.get_message(timeout=5)["type"] == "subscribe"
        version = publish(run, store)
        assert listener.get_message(timeout=5)["data"] == version.encode()


@pytest.mark.parametrize("count", ["illegal", "duplicates", "seen"])
def test_the_gate_refuses_a_bad_count_and_writes_nothing(
    own_run: RunFolder, store: ReleaseStore, client: redis.Redis, keys: RedisKeys, count: str
) -> None:
    own_run.write_json("metrics.json", own_run.read_json("metrics.json") | {count: 2.0})
    own_run.record("metrics", METRICS_FILES, 0.0)
    with pytest.raises(GateRefusedError, match=rf"the gate refused .*: {count} = 2, must be 0.*served release stays"):
        publish(own_run, store)
    assert all_keys(client, keys) == set()


def test_the_gate_says_all_its_reasons_at_once(own_run: RunFolder) -> None:
    own_run.write_json("metrics.json", own_run.read_json("metrics.json") | {"illegal": 1.0, "seen": 3.0})
    with pytest.raises(GateRefusedError, match="illegal = 1, must be 0; seen = 3, must be 0"):
        check_gate(own_run)


def test_the_gate_asks_the_decoder_itself(own_run: RunFolder) -> None:
    own_run.decoder.write_bytes(set_dense_weight(own_run.decoder.read_bytes(), float("nan")))
    with pytest.raises(GateRefusedError, match=r"refused .*scores are not finite.*The served release stays"):
        check_gate(own_run)


@pytest.mark.parametrize("name", ["keys", "contexts"])
def test_vectors_that_are_not_finite_are_named(own_run: RunFolder, name: str) -> None:
    arrays = own_run.load_arrays("vectors")
    arrays[name][3:5] = np.nan
    own_run.save_arrays("vectors", arrays)
    with pytest.raises(BadInputError, match="NaN or infinity in 2 of 60 rows, the first is row 3"):
        check_gate(own_run)


FILES = (
    "vectors.npz",
    "rec_ids.npz",
    "item_table.npz",
    "decoder.onnx",
    "item_encoder.safetensors",
    "item_encoder.json",
)
FILES += ("settings.json", "metrics.json", "parity.json", "rec_ids.json", "run.json", "text_space.npz")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_run_is_refused_and_the_served_release_stays(
    own_run: RunFolder, store: ReleaseStore, client: redis.Redis, keys: RedisKeys, name: str, damage: str
) -> None:
    served = publish(own_run, store)
    before = all_keys(client, keys)
    path: Path = own_run.folder / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInputError, match=f"{path.stem}.*train the run again"):
        publish(own_run, store)
    assert store.active_version() == served
    assert all_keys(client, keys) == before


def test_rec_ids_that_are_not_unique_are_refused(own_run: RunFolder, store: ReleaseStore) -> None:
    arrays = own_run.load_arrays("rec_ids")
    arrays["rec_ids"][7] = arrays["rec_ids"][3]
    own_run.save_arrays("rec_ids", arrays)
    with pytest.raises(BadInputError, match=r"item rows 3 and 7 share the Rec-ID .* must be unique.*train the run"):
        publish(own_run, store)
    assert store.active_version() is None


def test_an_unfinished_run_is_refused(own_run: RunFolder, store: ReleaseStore) -> None:
    stages = own_run.stage_seconds()
    own_run.write_json("stages.json", {name: stages[name] for name in stages if name != "metrics"})
    with pytest.raises(BadInputError, match="stage 'metrics' is missing; run: python -m offline train"):
        publish(own_run, store)


def test_a_bad_count_ends_the_job_with_3(job, own_run: RunFolder, redis_url: str, namespace: str) -> None:
    own_run.write_json("metrics.json", own_run.read_json("metrics.json") | {"illegal": 1.0})
    own_run.record("metrics", METRICS_FILES, 0.0)
    ended = job("publish", "--run", own_run.folder, "--redis-url", redis_url, "--namespace", namespace)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("error: the gate refused ")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("stage", ["decoder", "metrics"])
def test_files_that_a_stage_did_not_leave_are_not_published(
    own_run: RunFolder, store: ReleaseStore, stage: str
) -> None:
    """A decoder must never go out with the metrics of another."""
    own_run.write_json("parity.json" if stage == "decoder" else "metrics.json", {"precision": "fp32"})
    with pytest.raises(BadInputError, match=f"are not what stage '{stage}' left; train the run again"):
        publish(own_run, store)
    assert store.active_version() is None


def test_a_held_lock_ends_the_job_with_4(
    job, run: RunFolder, client: redis.Redis, redis_url: str, keys: RedisKeys
) -> None:
    client.set(keys.lock("publish"), "another process", ex=60)
    ended = job("publish", "--run", run.folder, "--redis-url", redis_url, "--namespace", keys.namespace)
    assert (ended.code, ended.out) == (4, "")
    assert ended.err.startswith(f"error: another publish runs in namespace {keys.namespace}; wait for it")
    assert all_keys(client, keys) == {keys.lock("publish").encode()}
