"""The generated shop of sets keeps its promises, and the command shows the peers that need no order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import generated_sets as command
from benchmarks.scoring import quality_report
from benchmarks.scoring.set_shop import NUM_TASTES, SetShop, generate_set_shop, write_set_shop
from benchmarks.scoring.shop_size import ShopSize
from offline.baselines.job import run_baselines
from offline.dataset import load_dataset
from offline.errors import BadInputError

SIZE = ShopSize(users=120, items=240, interactions=40)


@pytest.fixture(scope="module")
def shop() -> SetShop:
    return generate_set_shop(SIZE, 0)


def test_a_seed_decides_everything(shop: SetShop) -> None:
    again, other = generate_set_shop(SIZE, 0), generate_set_shop(SIZE, 1)
    assert all(np.array_equal(one, two) for one, two in zip(shop, again, strict=True))
    assert not np.array_equal(shop.sets, other.sets)


def test_sets_hold_what_their_users_like(shop: SetShop) -> None:
    assert shop.sets.shape == (SIZE.users, SIZE.interactions)
    assert (np.diff(shop.sets, axis=1) > 0).all()
    assert np.bincount(shop.taste_of, minlength=NUM_TASTES).tolist() == [SIZE.items // NUM_TASTES] * NUM_TASTES
    np.testing.assert_allclose(shop.interest.sum(1), 1.0)
    liked = np.take_along_axis(shop.interest, shop.taste_of[shop.sets], axis=1)
    assert liked.mean() > 2 / NUM_TASTES  # what is taken is liked far more than items are on the whole


def test_the_folder_has_no_time_and_its_order_says_nothing(shop: SetShop, tmp_path: Path) -> None:
    write_set_shop(shop, tmp_path / "shop")
    dataset = load_dataset(tmp_path / "shop")
    assert (dataset.has_time, dataset.num_users, dataset.num_items) == (False, SIZE.users, SIZE.items)
    for user, items in enumerate(shop.sets):
        parts = (dataset.histories("valid"), dataset.targets("valid"), dataset.targets("test"))
        found = np.concatenate([part.of(user) for part in parts])
        assert sorted(found.tolist()) == items.tolist()


def test_tastes_can_be_learned(shop: SetShop, tmp_path: Path) -> None:
    write_set_shop(shop, tmp_path / "shop")
    report = run_baselines(load_dataset(tmp_path / "shop"), "test", ("ease", "popularity"))
    recall = {peer.name: peer.metrics["recall@20"] for peer in report.peers}
    assert recall["ease"] > 1.3 * recall["popularity"]


@pytest.mark.parametrize("size", [ShopSize(0, 100, 5), ShopSize(5, 100, 2), ShopSize(5, 20, 5), ShopSize(5, 100, 51)])
def test_a_shop_that_cannot_be(size: ShopSize) -> None:
    with pytest.raises(BadInputError, match=r"make no shop; take at least 1 user, 3 interactions and, .* items"):
        generate_set_shop(size, 0)


def test_peers_that_need_order_are_named_as_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make_run: Callable[[float], dict[str, Any]]
) -> None:
    def isolated(function: Callable[..., Any], *arguments: Any) -> Any:
        if function is quality_report.describe:
            return {"name": "generated-sets", "key": "k"}
        if function is quality_report.measure_run:
            return make_run(0.3)
        if arguments[1] in ("transitions", "sasrec"):
            return {"result": None, "skipped": "needs time"}
        metrics = make_run(0.2)["lists"]["served"]
        found = {"name": arguments[1], "settings": {}, "metrics": metrics, "seconds": 1.0, "peak_bytes": 1}
        return {"result": found, "skipped": None}

    monkeypatch.setattr(quality_report, "isolated", isolated)
    assert command.main(["--users", "3", "--items", "40", "--interactions", "5"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["benchmark"] == "generated_sets"
    assert report["skipped"] == {"transitions": "needs time", "sasrec": "needs time"}
    assert report["rows"]["served"]["of_best_peer"]["recall@20"] == pytest.approx(1.5)
