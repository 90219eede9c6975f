"""The generated shop keeps its promises, and the command shows every row beside the best peer."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks import generated_sequences as command
from benchmarks.scoring import peer_ratios, quality_report
from benchmarks.scoring.peer_ratios import LISTS, METRICS
from benchmarks.scoring.sequence_shop import (
    NUM_TASTES,
    TASTES_PER_USER,
    SequenceShop,
    generate_shop,
    write_shop,
)
from benchmarks.scoring.shop_size import ShopSize
from offline import train as train_module
from offline.baselines.job import run_baselines
from offline.dataset import Dataset, load_dataset
from offline.errors import BadInputError
from offline.recipe_settings import Recipe
from offline.recipes import tiny

PEERS = ("item-knn", "ease", "transitions", "popularity")
"""Those that are done in seconds."""
SIZE = ShopSize(users=200, items=600, interactions=20)


@pytest.fixture(scope="module")
def shop() -> SequenceShop:
    return generate_shop(SIZE, 0)


def test_a_seed_decides_everything(shop: SequenceShop) -> None:
    again, other = generate_shop(SIZE, 0), generate_shop(SIZE, 1)
    assert all(np.array_equal(one, two) for one, two in zip(shop, again, strict=True))
    assert not np.array_equal(shop.sequences, other.sequences)


def test_sizes_and_shares_are_as_promised(shop: SequenceShop) -> None:
    assert shop.sequences.shape == (SIZE.users, SIZE.interactions)
    assert all(len(set(items)) == SIZE.interactions for items in shop.sequences.tolist())
    assert np.bincount(shop.taste_of, minlength=NUM_TASTES).tolist() == [SIZE.items // NUM_TASTES] * NUM_TASTES
    assert all(len(set(tastes)) == TASTES_PER_USER for tastes in shop.tastes.tolist())

    of_taste = (shop.taste_of[shop.sequences][:, :, None] == shop.tastes[:, None, :]).any(axis=2).mean()
    assert 0.80 < of_taste < 0.92  # the tastes' share, and what the whole catalogue holds of them besides
    followed = (shop.successor[shop.sequences[:, :-1]] == shop.sequences[:, 1:]).mean()
    assert 0.2 < followed < 0.4
    assert (shop.taste_of[shop.successor] == shop.taste_of).all()
    assert (shop.successor != np.arange(SIZE.items)).all()


def test_within_a_taste_few_items_have_most(shop: SequenceShop) -> None:
    counts = np.bincount(shop.sequences.reshape(-1), minlength=SIZE.items)
    for taste in range(NUM_TASTES):
        mine = np.sort(counts[shop.taste_of == taste])[::-1]
        assert mine[:6].sum() > 0.3 * mine.sum()  # a fifth of the items


def test_the_folder_has_time_and_leaves_the_split_to_the_job(shop: SequenceShop, tmp_path: Path) -> None:
    write_shop(shop, tmp_path / "shop")
    assert pl.read_parquet(tmp_path / "shop" / "interactions.parquet").columns == ["user_id", "item_id", "timestamp"]
    dataset = load_dataset(tmp_path / "shop")
    assert (dataset.has_time, dataset.num_users) == (True, SIZE.users)
    assert dataset.item_ids[7] == "item-00007"
    for user, items in enumerate(shop.sequences):
        assert dataset.full_history().of(user).tolist() == items.tolist()
        assert dataset.targets("valid").of(user).tolist() == [items[-2]]
        assert dataset.targets("test").of(user).tolist() == [items[-1]]


def test_taste_and_order_can_be_learned(shop: SequenceShop, tmp_path: Path) -> None:
    write_shop(shop, tmp_path / "shop")
    report = run_baselines(load_dataset(tmp_path / "shop"), "test", PEERS)
    recall = {peer.name: peer.metrics["recall@20"] for peer in report.peers}
    assert min(recall["ease"], recall["item-knn"], recall["transitions"]) > 1.3 * recall["popularity"]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (ShopSize(0, 100, 5), "0 users of 5 interactions leave nothing to hold out"),
        (ShopSize(5, 100, 2), "take at least 1 user and 3 interactions"),
        (ShopSize(5, 39, 5), "39 items are too few .* take at least 40"),
        (ShopSize(5, 100, 51), "100 items are too few .* take at least 102"),
    ],
)
def test_a_shop_that_cannot_be(size: ShopSize, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        generate_shop(size, 0)


def test_the_smallest_shop_is_made() -> None:
    """Tastes of two items are used up soon; the rest comes from the whole catalogue."""
    assert generate_shop(ShopSize(3, 40, 20), 0).sequences.shape == (3, 20)


def short(dataset: Dataset, seed: int) -> Recipe:
    recipe = tiny(dataset, seed)
    graph = replace(recipe.graph, dim=16, member_dim=16, latent_dim=8, num_steps=20, num_quantizer_steps=20)
    generator = replace(recipe.generator, dim=16, num_heads=2, feedforward_dim=16, num_steps=10)
    rec_ids = replace(recipe.rec_ids, num_levels=2, min_code_usage=0.0)
    return replace(recipe, graph=graph, generator=generator, rec_ids=rec_ids)


def test_the_command_shows_every_row_beside_the_best_peer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way, in this process and with a recipe of a few steps."""

    def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(quality_report, "isolated", at_once)
    monkeypatch.setitem(train_module.RECIPES, "tiny", short)
    monkeypatch.setattr(peer_ratios, "PEERS", PEERS)
    asked = ["--users", "40", "--items", "60", "--interactions", "8", "--recipe", "tiny", "--seed", "3"]
    assert command.main(asked) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["shop"] == {"users": 40, "items": 60, "interactions": 8, "seed": 3}
    assert list(report["rows"]) == [*LISTS, *PEERS]
    for metric in METRICS:
        best = report["best_peer"][metric]
        values = {name: row[metric] for name, row in report["rows"].items()}
        assert values[best] == max(values[peer] for peer in PEERS) > 0
        assert report["rows"][best]["of_best_peer"][metric] == 1.0
        assert report["rows"]["served"]["of_best_peer"][metric] == pytest.approx(values["served"] / values[best])
    assert report["checks"] == {"illegal": 0, "duplicates": 0, "seen": 0}


def test_the_table_and_a_peer_that_finds_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make_run: Callable[[float], dict[str, Any]]
) -> None:
    def isolated(function: Callable[..., Any], *arguments: Any) -> Any:
        if function is quality_report.describe:
            return {"name": "generated-sequences", "key": "k"}
        if function is quality_report.measure_run:
            return make_run(0.3)
        value = {"ease": 0.2}.get(arguments[1], 0.1)
        metrics = {**make_run(value)["lists"]["served"], "ndcg@10": 0.0}
        found = {"name": arguments[1], "settings": {}, "metrics": metrics, "seconds": 1.0, "peak_bytes": 1}
        return {"result": found, "skipped": None}

    monkeypatch.setattr(quality_report, "isolated", isolated)
    assert command.main(["--users", "3", "--items", "40", "--interactions", "5", "--table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "3 users of 5 interactions, 40 items, seed 0; recipe standard" in lines[0]
    assert "| MMGRec, served | .3000 (1.50) | .3000 (-) | .3000 (1.50) | .3000 (1.50) |" in lines
    assert "| popularity | .1000 (0.50) | .0000 (-) | .1000 (0.50) | .1000 (0.50) |" in lines


def test_a_shop_that_cannot_be_ends_it_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--items", "10"]) == 2
    assert capsys.readouterr().err.startswith("error: 10 items are too few")
