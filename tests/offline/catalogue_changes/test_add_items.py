"""New items into the served release: the old ones stay as they are, the new ones go to whoever likes their like."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import redis
import torch

from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from model.item_encoder import ItemEncoder, ItemEncoderConfig
from offline.artefacts import load_catalogue
from offline.catalogue_changes.add_items import add_items
from offline.catalogue_changes.base_release import BaseRelease, halves, open_base
from offline.catalogue_changes.successor import Target
from offline.checkpoint import load_checkpoint, save_checkpoint
from offline.errors import BadInputError
from offline.publish import publish
from offline.run_folder import RunFolder
from offline.text_features import fit_text_space
from offline.train_graph_encoder import smoothed_contexts
from service.constraints import ItemFilter
from service.contract.manifest import DECODER_ARRAY, FORMAT_VERSION, ITEM_ENCODER_ARRAY
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.decoder import BeamDecoder

SIZE = 60


def decoder_of(release: BaseRelease) -> BeamDecoder:
    onnx = release.unchanged[DECODER_ARRAY].tobytes()
    return BeamDecoder(onnx, trie=release.trie, item_vectors=release.vectors, settings=release.manifest.model)


def ranking(release: BaseRelease, user: int) -> list[str]:
    """What user 0 or 1 of the checkerboard is recommended, best first."""
    history = np.array([row for row in range(user, SIZE, 2) if row != user])
    leaves = decoder_of(release).decode([history], [ItemFilter(excluded=history)], beam_width=50).leaves[0]
    return [release.items.item_ids[row] for row in release.trie.leaf_to_row[leaves[leaves >= 0]]]


def test_new_items_go_to_those_who_like_their_like(
    base: BaseRelease, target: Target, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    result = add_items(new_items(tmp_path / "new", "even", "odd"), target)
    release = open_base(target.store)
    assert release.version == result["version"]
    assert (result["added"], result["items"], result["base"]) == (2, SIZE + 2, base.version)
    for user, mine in ((0, "new-0"), (1, "new-1")):
        # The user has all others of their taste but the one that the checkerboard withholds.
        assert set(ranking(release, user)[:2]) == {mine, f"item-{user:02d}"}
    assert release.items.titles[SIZE:] == ("A new even thing", "A new odd thing")
    assert release.items.categories[SIZE:] == (("even", "new"), ("odd", "new"))
    assert release.items.train_counts[SIZE:].tolist() == [0, 0]


def test_what_was_there_stays_as_it_was(
    base: BaseRelease, target: Target, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    add_items(new_items(tmp_path / "new", "even", "odd", "odd"), target)
    release = open_base(target.store)
    assert release.items.item_ids[:SIZE] == base.items.item_ids
    np.testing.assert_array_equal(release.rec_ids()[:SIZE], base.rec_ids())
    np.testing.assert_array_equal(release.vectors[:SIZE], base.vectors)
    manifest, before = release.manifest, base.manifest
    assert (manifest.parent, manifest.format_version, manifest.model) == (base.version, FORMAT_VERSION, before.model)
    assert manifest.gate == {**before.gate, "items": SIZE + 3, "base": base.version, "added": 3, "moved": 0}
    assert (manifest.metrics, manifest.encoders) == (before.metrics, before.encoders)
    assert manifest.item_encoder_config == before.item_encoder_config
    for name in (DECODER_ARRAY, ITEM_ENCODER_ARRAY):
        assert manifest.arrays[name] == before.arrays[name]
    target.store.rollback()
    assert target.store.active_version() == base.version


def test_its_key_is_that_of_its_like_and_its_context_that_of_its_neighbours(
    base: BaseRelease, run: RunFolder, target: Target, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    """The key as the run's own encoder has it; the context by the smoothing of the training."""
    add_items(new_items(tmp_path / "new", "even"), target)
    key, context = (half[SIZE] for half in halves(open_base(target.store).vectors))
    encoder = load_checkpoint(ItemEncoder, ItemEncoderConfig, run.item_encoder)
    expected = encoder.content_keys({"image": torch.ones(1, 6), "text": torch.ones(1, 4)})[0]
    torch.testing.assert_close(key, expected)
    keys, contexts = load_catalogue(run).vectors
    assert ((keys @ key).topk(10).indices % 2 == 0).all()
    known = torch.arange(SIZE + 1) < SIZE
    joined = torch.cat([keys, expected[None]]), torch.cat([contexts, torch.zeros(1, contexts.shape[1])])
    torch.testing.assert_close(context, smoothed_contexts(*joined, known, 0.0)[SIZE])


def test_the_whole_catalogue_as_folder_gives_the_same_as_the_new_items_alone(
    base: BaseRelease, checkerboard: Path, target: Target, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    new, whole = new_items(tmp_path / "new", "even", "odd"), tmp_path / "whole"
    shutil.copytree(checkerboard, whole)
    pl.concat([pl.read_parquet(folder / "items.parquet") for folder in (new, whole)]).write_parquet(
        whole / "items.parquet"
    )
    for path in (whole / "features").iterdir():
        np.save(path, np.concatenate([np.load(new / "features" / path.name), np.load(path)]))
    releases = []
    for folder in (new, whole):
        add_items(folder, target, version=base.version)
        releases.append(open_base(target.store))
    np.testing.assert_array_equal(releases[0].rec_ids(), releases[1].rec_ids())
    np.testing.assert_allclose(releases[0].vectors, releases[1].vectors, atol=1e-6)
    assert releases[0].items.item_ids == releases[1].items.item_ids


def test_nothing_to_add_publishes_nothing(
    served: str, checkerboard: Path, target: Target, everything: Callable[[], dict[bytes, Any]]
) -> None:
    before = everything()
    result = add_items(checkerboard, target)
    assert result == {"version": None, "base": served, "added": 0, "items": SIZE}
    assert everything() == before


def test_additions_follow_each_other(
    served: str, target: Target, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    """A release from a release from a release; buckets fill up, and everything stays unique."""
    parents = [served]
    for number in range(3):
        folder = new_items(tmp_path / str(number), *["even"] * 20, first=20 * number)
        parents.append(add_items(folder, target)["version"])
    release = open_base(target.store)
    assert len(release.items) == SIZE + 60
    assert len(np.unique(release.rec_ids(), axis=0)) == SIZE + 60
    for version, parent in zip(reversed(parents), [*reversed(parents[:-1]), None], strict=True):
        assert target.store.read_manifest(version).parent == parent


def test_only_what_changed_is_written(
    base: BaseRelease, target: Target, client: redis.Redis, keys: RedisKeys, new_items: Any, tmp_path: Path
) -> None:
    blobs = f"{keys.namespace}:blob:*"
    before = {key: client.strlen(key) for key in client.scan_iter(match=blobs)}
    result = add_items(new_items(tmp_path / "new", "odd"), target)
    after = {key: client.strlen(key) for key in client.scan_iter(match=blobs)}
    assert result["bytes_written"] == sum(size for key, size in after.items() if key not in before)
    in_release = [address for spec in open_base(target.store).manifest.arrays.values() for address in spec.addresses]
    shared = {keys.blob(*address).encode() for address in in_release} & before.keys()
    assert result["bytes_shared"] == sum(before[key] for key in shared)


def test_blobs_in_another_place_are_written_whole(
    base: BaseRelease, client: redis.Redis, keys: RedisKeys, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    elsewhere = ReleaseStore(client, keys, blobs_url=str(tmp_path / "blobs"))
    result = add_items(new_items(tmp_path / "new", "odd"), Target(store=elsewhere))
    assert result["bytes_shared"] == 0
    elsewhere.verify(result["version"])
    assert len(open_base(elsewhere).items) == SIZE + 1


def test_a_canary_gets_the_new_items_alone(
    served: str, target: Target, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    result = add_items(new_items(tmp_path / "new", "odd"), replace(target, arm="canary", share=0.1))
    pointers = target.store.arms.all()
    assert pointers["main"].version == served
    assert (pointers["canary"].version, pointers["canary"].share) == (result["version"], 0.1)


def test_titles_and_categories_make_the_vectors_where_they_did_so_in_training(
    own_run: RunFolder, target: Target, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    texts = [f"The {'odd' if row % 2 else 'even'} thing {row}" for row in range(SIZE)]
    space = fit_text_space(texts, dim=2, seed=0)  # what they have in common, and which of the two words
    own_run.save_arrays("text_space", space.arrays())
    trained = load_checkpoint(GraphRQVAE, GraphRQVAEConfig, own_run.graph_rqvae)
    model = GraphRQVAE(replace(trained.config, feature_dims={"text": space.basis.shape[1]}))
    keys, counts = load_catalogue(own_run).vectors.keys, torch.full((SIZE,), 29)
    values = {"text": torch.from_numpy(space.vectors(texts))}
    model.fit(values, counts)
    encoder = ItemEncoder.of(model, values, keys, counts)
    save_checkpoint(encoder, encoder.config, own_run.item_encoder)
    publish(own_run, target.store)
    folder = new_items(tmp_path / "new", "even", "odd")
    shutil.rmtree(folder / "features")
    titles = ["The even thing 70", "The odd thing 71"]
    columns = {"item_id": ["new-0", "new-1"], "title": titles, "categories": [[], []]}
    pl.DataFrame(columns).write_parquet(folder / "items.parquet")
    add_items(folder, target)
    found = halves(open_base(target.store).vectors)[0]
    vectors = {"text": torch.from_numpy(space.vectors(titles))}
    torch.testing.assert_close(found[SIZE:], encoder.content_keys(vectors))
    assert ((found[SIZE:] @ found[:SIZE].T).topk(5).indices % 2).tolist() == [[0] * 5, [1] * 5]
    columns = {"item_id": ["new-2", "new-3"], "title": ["The odd thing 72", "zzz qqq"], "categories": [[], ["zz"]]}
    pl.DataFrame(columns).write_parquet(folder / "items.parquet")
    with pytest.raises(BadInputError, match=r"1 of 2 new items, the first is 'new-3', have no content .*in words"):
        add_items(folder, target)
