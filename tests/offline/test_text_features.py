"""Text vectors: similar texts are near, missing texts are NaN, and no shape of input crashes or warns."""

from dataclasses import replace

import numpy as np
import pytest

from offline import text_features
from offline.dataset import Dataset, Interactions
from offline.errors import BadInputError
from offline.text_features import dataset_text_space, item_texts, text_vectors

SHOES = ["red running shoe", "blue running shoes", "running shoe for children"]
SOAPS = ["lavender hand soap", "soap with lavender oil", "hand soap, unscented"]


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def dataset(titles: list[str], categories: list[list[str]] | None = None) -> Dataset:
    nothing = Interactions(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    return Dataset(
        name="corner-shop",
        user_ids=(),
        item_ids=tuple(f"i{row}" for row in range(len(titles))),
        titles=tuple(titles),
        categories=tuple(map(tuple, categories or [[] for _ in titles])),
        features={},
        train=nothing,
        valid=nothing,
        test=nothing,
        has_time=False,
    )


def test_texts_about_the_same_thing_are_nearer_than_others() -> None:
    near = cosines(text_vectors(SHOES + SOAPS, dim=6, seed=0))
    same = np.kron(np.eye(2, dtype=bool), np.ones((3, 3), dtype=bool))
    assert near[same].min() > near[~same].max()


def test_full_rank_vectors_keep_the_cosines_of_the_n_grams() -> None:
    """Slow and obvious: without cutting dimensions, the SVD is a rotation of the TF-IDF matrix."""
    texts = [*SHOES, *SOAPS]
    space = text_features.fit_text_space(texts, dim=1, seed=0)
    exact = text_features._weighed(text_features._counts(texts), space.idf).toarray()
    np.testing.assert_allclose(cosines(text_vectors(texts, dim=64, seed=0)), cosines(exact), atol=1e-4)


def test_the_same_seed_gives_the_same_bits() -> None:
    first, again = (text_vectors(SHOES + SOAPS, dim=4, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_equal_texts_give_equal_rows() -> None:
    vectors = text_vectors([*SHOES, *SOAPS, SHOES[0]], dim=4, seed=0)
    np.testing.assert_array_equal(vectors[0], vectors[-1])


@pytest.mark.parametrize("empty", ["", "   ", "\n\t", "\u3000"])
def test_an_empty_text_is_a_row_of_nan_and_changes_no_other(empty: str) -> None:
    vectors = text_vectors([SHOES[0], empty, SHOES[1]], dim=2, seed=0)
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False]
    np.testing.assert_array_equal(vectors[[0, 2]], text_vectors([SHOES[0], SHOES[1]], dim=2, seed=0))


@pytest.mark.parametrize("dim", [1, 3, 500])
@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(["one item"], id="one item"),
        pytest.param(["a"], id="one letter"),
        pytest.param(["same text"] * 20, id="all equal"),
        pytest.param(["same", "same", "other"], id="some equal"),
        pytest.param(["a", "b"] * 40, id="fewer n-grams than texts"),
        pytest.param(["!!", "🎉", "日本語のテキスト", "\u200b", "x" * 5000], id="odd characters"),
        pytest.param([f"item number {number}" for number in range(40)], id="fewer texts than columns"),
    ],
)
def test_any_texts_give_finite_vectors(texts: list[str], dim: int) -> None:
    vectors = text_vectors(texts, dim=dim, seed=0)
    assert vectors.dtype == np.float32
    assert len(vectors) == len(texts)
    assert 1 <= vectors.shape[1] <= min(dim, len(set(texts)))
    assert np.isfinite(vectors).all()
    assert (np.linalg.norm(vectors[:1], axis=1) > 0).all()


@pytest.mark.parametrize("texts", [[], [""], ["", "  ", ""]])
def test_all_empty_texts_are_all_missing(texts: list[str]) -> None:
    vectors = text_vectors(texts, dim=8, seed=0)
    assert vectors.shape == (len(texts), 1)
    assert np.isnan(vectors).all()


def test_more_texts_than_a_block_are_placed_and_weighed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The basis comes from a sample then: texts of the same kinds must still find each other, in their own rows."""
    kinds = [*SHOES, "", *SOAPS]
    monkeypatch.setattr(text_features, "_BLOCK_ROWS", 100)
    vectors = text_vectors(kinds * 60, dim=6, seed=0).reshape(60, len(kinds), -1)
    assert np.isnan(vectors[:, 3]).all()
    np.testing.assert_array_equal(vectors, np.broadcast_to(vectors[0], vectors.shape))
    np.testing.assert_array_equal(vectors[:1], text_vectors(kinds * 60, dim=6, seed=0).reshape(vectors.shape)[-1:])


def test_a_stored_space_gives_later_texts_the_vectors_of_the_first_day() -> None:
    texts = [*SHOES, *SOAPS]
    space = text_features.fit_text_space(texts, dim=6, seed=0)
    again = text_features.TextSpace.from_arrays(space.arrays())
    vectors = again.vectors([SHOES[0], " ", "a running shoe in blue", "wholly unknown words"])
    np.testing.assert_array_equal(vectors[0], text_vectors(texts, dim=6, seed=0)[0])
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False, False]
    assert cosines(np.stack([vectors[2], vectors[0]]))[0, 1] > 0.5  # no text of the first day, and still a shoe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": np.array([0, 1, 2], np.int32)}, r"columns \(3,\) and basis .* do not fit each other"),
        ({"columns": np.array([0, 2**17], np.int32)}, "do not fit each other"),
        ({"idf": np.ones(5, np.float32)}, r"idf \(5,\)"),
        ({"basis": np.ones(2, np.float32)}, r"basis \(2,\)"),
    ],
)
def test_a_space_that_is_none_is_refused(changes: dict[str, np.ndarray], message: str) -> None:
    sound = {
        "idf": np.ones(2**17, np.float32),
        "columns": np.array([0, 5], np.int32),
        "basis": np.ones((2, 3), np.float32),
    }
    assert text_features.TextSpace.from_arrays(sound).vectors(["x"]).shape == (1, 3)
    with pytest.raises(BadInputError, match=message):
        text_features.TextSpace.from_arrays(sound | changes)
    with pytest.raises(BadInputError, match="lacks its array 'basis'; train and publish again"):
        text_features.TextSpace.from_arrays({name: sound[name] for name in ("idf", "columns")})


def test_dim_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dim=0: ask for at least 1 column"):
        text_vectors(SHOES, dim=0, seed=0)


def test_item_texts_join_title_and_categories() -> None:
    assert item_texts(["Nail polish", "", "Comb", ""], [["Beauty", "Nails"], ["Hair"], [], []]) == [
        "Nail polish Beauty Nails",
        "Hair",
        "Comb",
        "",
    ]


def test_item_texts_refuse_different_lengths() -> None:
    with pytest.raises(ValueError, match="zip"):
        item_texts(["a"], [])


def test_dataset_vectors_use_titles_and_categories() -> None:
    shop = dataset(["Red shoe", "", "Soap", ""], [[], ["shoe"], ["bath"], []])
    texts = item_texts(shop.titles, shop.categories)
    vectors = dataset_text_space(shop, dim=8, seed=0).vectors(texts)
    assert np.isnan(vectors).all(axis=1).tolist() == [False, False, False, True]
    assert vectors[0] @ vectors[1] > vectors[2] @ vectors[1]
    np.testing.assert_array_equal(
        vectors, dataset_text_space(replace(shop, name="other"), dim=8, seed=0).vectors(texts)
    )


def test_dataset_without_any_text_is_refused_with_the_cure() -> None:
    with pytest.raises(BadInputError) as refusal:
        dataset_text_space(dataset(["", " "]), dim=8, seed=0)
    for fragment in ("'corner-shop'", "any of 2 items", "add features/<modality>.npy", "'title' or 'categories'"):
        assert fragment in str(refusal.value)
