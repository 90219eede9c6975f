"""The made-up release of `benchmarks.add_items` takes new items as a real one does."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import redis

from benchmarks import add_items as module
from benchmarks.add_items import made_up_encoder, write_new_items
from benchmarks.decoding.catalogue import make_catalogue
from benchmarks.decoding.subject import SETTINGS
from benchmarks.running.made_up_release import release_arrays, write_release
from benchmarks.start import item_table
from offline.catalogue_changes.add_items import extended
from offline.catalogue_changes.base_release import open_base
from offline.catalogue_changes.new_items import read_new_items
from offline.checkpoint import module_bytes
from service.contract.manifest import ITEM_ENCODER_ARRAY
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore


def test_new_items_find_a_place_in_it(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_LANDMARKS", 500)
    catalogue = make_catalogue(2000, 0)
    encoder = made_up_encoder(catalogue, 0)
    no_decoder = np.frombuffer(b"no onnx", np.uint8)
    arrays = release_arrays(no_decoder, catalogue.trie, catalogue.item_vectors, item_table(catalogue, 0))
    arrays[ITEM_ENCODER_ARRAY] = np.frombuffer(module_bytes(encoder), np.uint8)
    with redis.Redis.from_url(redis_url) as client:
        store = ReleaseStore(client, RedisKeys(namespace))
        write_release(store, "v1", arrays, SETTINGS, asdict(encoder.config))
        base = open_base(store, "v1")
    folder = write_new_items(tmp_path / "new", 300, 0)
    new = read_new_items(folder, base, base.item_encoder().config.feature_dims)
    changed, facts = extended(base, base.item_encoder(), new, None)
    assert facts["added"] == 300
    assert (len(changed.items), changed.trie.num_items) == (2300, 2300)
    rec_ids = changed.trie.rec_ids()[changed.trie.row_to_leaf()]
    np.testing.assert_array_equal(rec_ids[:2000], catalogue.rec_ids)
    assert len(np.unique(rec_ids[2000:, 0])) > 30  # not all in one place
