"""The shop's promise: purchases follow tastes, and pixels and words alone tell the attributes apart."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image

from offline.dataset import load_dataset
from offline.errors import BadInputError
from offline.shop import (
    CATALOGUE,
    NUM_USERS,
    README_FILE,
    SHOWCASE_USER,
    TEXT_DIM,
    Attributes,
    build_shop,
    generate_users,
    shared_attributes,
)
from offline.shop_pictures import COLOURS, KINDS, PATTERNS, PICTURE_SIZE, draw_item
from offline.shop_pixels import PIXEL_DIM, pixel_features

ROW_OF = {item.slug: row for row, item in enumerate(CATALOGUE)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "made" / "shop"
    build_shop(folder, seed=0)
    return folder


@pytest.fixture(scope="module")
def baskets(shop: Path) -> dict[str, list[int]]:
    rows = pl.read_parquet(shop / "interactions.parquet").group_by("user_id").agg("item_id").rows()
    return {user: [ROW_OF[item] for item in items] for user, items in rows}


def nearest(queries: NDArray[np.float32], keys: NDArray[np.float32], *, leave_self_out: bool) -> NDArray[np.intp]:
    distances: NDArray[np.float32] = ((queries[:, None] - keys[None]) ** 2).sum(axis=-1)
    if leave_self_out:
        np.fill_diagonal(distances, np.inf)
    found: NDArray[np.intp] = distances.argmin(axis=1)
    return found


def agreement(neighbours: NDArray[np.intp]) -> dict[str, float]:
    """The share of items whose neighbour has the same kind, colour, pattern."""
    words = np.array(CATALOGUE)  # [num_items, 3]
    return dict(zip(Attributes._fields, (words == words[neighbours]).mean(axis=0).tolist(), strict=True))


def test_the_folder_is_a_dataset(shop: Path) -> None:
    dataset = load_dataset(shop)
    assert dataset.item_ids == tuple(item.slug for item in CATALOGUE)
    assert dataset.categories == CATALOGUE
    assert dataset.num_items == len(KINDS) * len(COLOURS) * len(PATTERNS) == 320
    assert dataset.num_users == NUM_USERS
    assert not dataset.has_time
    assert {name: values.shape for name, values in dataset.features.items()} == {
        "image": (320, PIXEL_DIM),
        "text": (320, TEXT_DIM),
    }
    assert "enerated" in (shop / README_FILE).read_text()


def test_equal_seeds_give_equal_files_and_other_seeds_others(shop: Path, tmp_path: Path) -> None:
    build_shop(tmp_path, seed=1)
    files = sorted(path.relative_to(shop) for path in shop.rglob("*") if path.is_file())
    changed = {path.suffix for path in files if (tmp_path / path).read_bytes() != (shop / path).read_bytes()}
    assert changed == {".parquet", ".npy", ".png"}
    build_shop(tmp_path, seed=0)  # over the other shop
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()) == files
    assert [path for path in files if (tmp_path / path).read_bytes() != (shop / path).read_bytes()] == []


def test_somebody_elses_dataset_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "items.parquet").write_bytes(b"precious")
    with pytest.raises(BadInputError, match=r"did not generate.*give another folder"):
        build_shop(tmp_path)
    assert (tmp_path / "items.parquet").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["items.parquet"]


def test_every_item_has_its_picture_and_the_image_features_come_from_it(shop: Path) -> None:
    paths = pl.read_parquet(shop / "items.parquet")["image_path"]
    pictures = np.stack([np.asarray(Image.open(shop / path)) for path in paths])
    assert pictures.shape == (320, PICTURE_SIZE, PICTURE_SIZE, 3)
    np.testing.assert_array_equal(pixel_features(pictures), np.load(shop / "features" / "image.npy"))


def test_titles_name_the_attributes_in_several_wordings(shop: Path) -> None:
    titles = pl.read_parquet(shop / "items.parquet")["title"].to_list()
    assert all(word in title.lower() for title, item in zip(titles, CATALOGUE, strict=True) for word in item)
    wordings = set()
    for title, item in zip(titles, CATALOGUE, strict=True):
        for word in item:
            title = title.lower().replace(word, "_")
        wordings.add(title)
    assert len(wordings) == 6


def test_nobody_buys_a_thing_twice_and_everybody_buys_enough(baskets: dict[str, list[int]]) -> None:
    assert len(baskets) == NUM_USERS
    assert all(15 <= len(items) == len(set(items)) <= 30 for items in baskets.values())


def test_popularity_is_mildly_skewed_and_no_item_is_unsold(baskets: dict[str, list[int]]) -> None:
    counts = np.bincount([item for items in baskets.values() for item in items], minlength=len(CATALOGUE))
    assert counts.min() > 0
    assert 2 < counts.max() / counts.mean() < 4


def test_users_buy_what_shares_attributes_with_their_taste(baskets: dict[str, list[int]]) -> None:
    by_chance = (shared_attributes(CATALOGUE[0]) >= 2).mean()  # 6 % of the catalogue
    of_one_taste = [user for user in generate_users(0) if len(user.tastes) == 1]
    shares = [(shared_attributes(user.tastes[0])[baskets[user.user_id]] >= 2).mean() for user in of_one_taste]
    assert np.mean(shares) > 8 * by_chance
    assert min(shares) > 3 * by_chance


def test_a_second_taste_shows_in_the_basket(baskets: dict[str, list[int]]) -> None:
    of_two_tastes = [user for user in generate_users(0) if len(user.tastes) == 2]
    assert 0.3 < len(of_two_tastes) / NUM_USERS < 0.4
    shares = [(shared_attributes(user.tastes[1])[baskets[user.user_id]] >= 2).mean() for user in of_two_tastes]
    assert np.mean(shares) > 3 * (shared_attributes(CATALOGUE[0]) >= 2).mean()


@pytest.mark.parametrize("seed", range(3))
def test_the_showcase_user_is_in_every_shop(seed: int) -> None:
    users = generate_users(seed)
    assert users[0].user_id == SHOWCASE_USER == "striped-blue-mugs-1"
    assert users[0].tastes == (Attributes("mug", "blue", "striped"),)
    assert len({user.user_id for user in users}) == NUM_USERS


def test_the_showcase_user_buys_striped_blue_things_and_leaves_some_to_recommend(baskets: dict[str, list[int]]) -> None:
    shared = shared_attributes(Attributes("mug", "blue", "striped"))
    bought = shared[baskets[SHOWCASE_USER]]
    assert (bought >= 2).mean() > 0.6
    assert (bought >= 1).mean() > 0.9
    assert (shared >= 2).sum() - (bought >= 2).sum() >= 5


@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_nearest_other_item_shares_kind_colour_and_pattern_far_above_chance(shop: Path, modality: str) -> None:
    features = np.load(shop / "features" / f"{modality}.npy")
    found = agreement(nearest(features, features, leave_self_out=True))
    chance = {"kind": 39 / 319, "colour": 39 / 319, "pattern": 63 / 319}
    # An item's equal does not exist in the catalogue, so the best neighbours share two of three.
    assert all(found[name] > 2 * chance[name] for name in chance), found
    assert sum(found.values()) > 1.8


def test_the_same_item_drawn_again_is_nearest_to_itself(shop: Path) -> None:
    again = pixel_features(
        np.stack([draw_item(*item, np.random.default_rng([9, row])) for row, item in enumerate(CATALOGUE)])
    )
    found = nearest(again, np.load(shop / "features" / "image.npy"), leave_self_out=False)
    assert (found == np.arange(len(CATALOGUE))).mean() > 0.97


def test_a_blank_picture_has_finite_features() -> None:
    blank = np.full((1, 32, 32, 3), 200, dtype=np.uint8)
    assert np.isfinite(pixel_features(blank)).all()


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((2, 16, 20, 3), dtype=np.uint8), r"shape \(2, 16, 20, 3\)"),
        (np.zeros((2, 16, 16, 3), dtype=np.float32), "float32"),
        (np.zeros((2, 8, 8, 3), dtype=np.uint8), "8 pixels"),
    ],
)
def test_other_arrays_than_pictures_are_refused(pictures: NDArray[np.uint8], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        pixel_features(pictures)
