"""Releases as earlier versions wrote them, on a real Redis and through the real decoder: they answer as then."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from service.constraints import ItemFilter
from service.contract.manifest import DECODER_ARRAY, FORMAT_VERSION, READ_VERSIONS
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.releases.release import BrokenReleaseError, load_release
from service.settings import Settings

FIXTURES = Path(__file__).parents[2] / "fixtures"


def format_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


FROZEN = sorted(FIXTURES.glob("release-format-*"), key=format_of)


def put(client: redis.Redis, keys: RedisKeys, folder: Path, **changes: Any) -> str:
    """Lay a frozen release into Redis and activate it; `changes` replaces parts of its manifest."""
    for path in (folder / "blobs").iterdir():
        sha256, _, chunk = path.name.rpartition("-")
        client.set(keys.blob(sha256, int(chunk)), path.read_bytes())
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name, value in changes.items():
        manifest[name] = {**manifest[name], **value} if isinstance(value, dict) else value
    client.set(keys.release(manifest["version"]), json.dumps(manifest))
    store = ReleaseStore(client, keys)
    store.arms.set_main(manifest["version"])
    return str(manifest["version"])


def test_there_is_a_release_of_every_format_that_is_read() -> None:
    assert {format_of(folder) for folder in FROZEN} >= set(READ_VERSIONS)
    assert max(READ_VERSIONS) == FORMAT_VERSION
    for folder in FROZEN:
        assert json.loads((folder / "manifest.json").read_bytes())["format_version"] == format_of(folder)


@pytest.mark.parametrize("folder", FROZEN, ids=lambda folder: folder.name)
def test_it_answers_as_on_its_day(
    folder: Path, store: ReleaseStore, settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    version = put(client_of_redis, keys, folder)
    if format_of(folder) not in READ_VERSIONS:
        with pytest.raises(BrokenReleaseError, match="publish the run again with the offline jobs"):
            load_release(store, version, settings)
        return
    store.verify(version)
    release = load_release(store, version, settings)
    assert release.manifest.format_version == format_of(folder)
    assert (release.items.item_ids[3], release.items.titles[3]) == ("item-03", "The odd thing 3")
    answers = json.loads((folder / "answers.json").read_text())
    histories = [np.array(answer["history"], np.int64) for answer in answers]
    decoded = release.decoder.decode(histories, [ItemFilter()] * len(answers), beam_width=len(answers[0]["rows"]))
    np.testing.assert_allclose(decoded.score, [answer["scores"] for answer in answers], atol=1e-3)
    rows = release.trie.leaf_to_row[decoded.leaves].tolist()
    assert rows == [answer["rows"] for answer in answers]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"vector_dim": 16}, "its parts disagree"),
        ({"codebook_sizes": [4, 4, 4]}, "expected 4 levels"),
        ({"codebook_sizes": [2, 4]}, r"trie.tokens.0 spans \d+\.\.\d+; the limit is 0\.\.1"),
        ({"beam_widths": []}, "beam_widths is empty"),
        ({"beam_widths": [-3]}, "its decoder does not run|beam_width"),
        ({"max_history": "many"}, "its decoder does not run|max_history"),
    ],
)
def test_a_manifest_that_does_not_fit_its_decoder_is_refused(
    store: ReleaseStore,
    settings: Settings,
    client_of_redis: redis.Redis,
    keys: RedisKeys,
    model: dict[str, Any],
    reason: str,
) -> None:
    version = put(client_of_redis, keys, FROZEN[-1], model=model)
    with pytest.raises(BrokenReleaseError, match=reason):
        load_release(store, version, settings)


def test_a_decoder_of_other_shapes_is_refused(
    store: ReleaseStore, settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    """The graph of another model under this manifest: every checksum is right, and it does not run."""
    folder = FROZEN[-1]
    arrays = json.loads((folder / "manifest.json").read_bytes())["arrays"]
    vectors = np.zeros((60, 16), np.float32)
    spec = store.write_arrays({"item_vectors": vectors})["item_vectors"]
    narrower = {"item_vectors": {"dtype": spec.dtype, "shape": spec.shape, "chunks": spec.chunks}}
    version = put(client_of_redis, keys, folder, arrays=narrower, model={"vector_dim": 16})
    with pytest.raises(BrokenReleaseError, match="takes item vectors of 32 columns, the release has 16; export and"):
        load_release(store, version, settings)
    version = put(client_of_redis, keys, folder, arrays={DECODER_ARRAY: arrays["items.id.bytes"]})
    with pytest.raises(BrokenReleaseError, match="onnxruntime cannot open the release's decoder"):
        load_release(store, version, settings)


def test_a_catalogue_that_the_self_test_excludes_whole(
    store: ReleaseStore, settings: Settings, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    """As with fewer items than the model looks at: nothing may come back, and that is no fault."""
    release = load_release(store, put(client_of_redis, keys, FROZEN[-1]), settings)
    everything = np.arange(len(release.items))
    decoded = release.decoder.decode([everything], [ItemFilter(excluded=everything)], beam_width=10)
    assert (decoded.leaves == -1).all()
