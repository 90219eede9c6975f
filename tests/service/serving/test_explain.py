"""Why an item is in an answer: shared levels known by eye, ancestors against whole Rec-IDs, and the API."""

from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie
from service.releases.release import Release
from service.serving.explain import MAX_SHARED_WITH, explain
from service.serving.prepare import Prepared

SPACE = RecIdSpace(codebook_sizes=(4, 4), popularity_size=8)
REC_IDS = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 2], [3, 3, 0], [0, 0, 3]], np.int32)


def release_of(trie: Trie, max_history: int = 6) -> Release:
    item_ids = tuple(f"item-{row}" for row in range(trie.num_items))
    parts = {
        "trie": trie,
        "items": SimpleNamespace(item_ids=item_ids),
        "manifest": SimpleNamespace(model=SimpleNamespace(max_history=max_history)),
    }
    return cast(Release, SimpleNamespace(**parts))


def prepared(*history: int) -> Prepared:
    nothing = np.empty(0, np.int64)
    return Prepared(np.array(history, np.int64), nothing, None, None, 0, 0)


@pytest.mark.parametrize(
    ("row", "history", "levels", "near"),
    [
        (0, [3, 2, 1], 2, ["item-1"]),
        (0, [3, 2], 1, ["item-2"]),
        (0, [3, 5], 0, []),
        (0, [], 0, []),
        (0, [1, 4, 2, 6], 2, ["item-6", "item-4", "item-1"]),
        (0, [0, 2], 1, ["item-2"]),  # that it is itself explains nothing
        (0, [0], 0, []),
        (0, [1, 5, 5, 5, 5, 5, 3], 0, []),  # item 1 is longer ago than the model looks
    ],
)
def test_the_longest_shared_beginning_and_who_has_it(
    row: int, history: list[int], levels: int, near: list[str]
) -> None:
    release = release_of(build_trie(REC_IDS, SPACE))
    weights = np.array([[-1.0, -2.0, -0.5]], np.float32)
    (found,) = explain(np.array([row]), prepared(*history), release, weights)
    assert found.rec_id == REC_IDS[row].tolist()
    assert (found.shared_levels, found.shared_with) == (levels, near)
    assert found.level_log_probs == [-1.0, -2.0, -0.5]
    assert len(near) <= MAX_SHARED_WITH


def test_nothing_to_explain_and_nothing_known_of_levels() -> None:
    release = release_of(build_trie(REC_IDS, SPACE))
    assert explain(np.empty(0, np.int64), prepared(1), release, None) == []
    assert explain(np.array([2]), prepared(1), release, None)[0].level_log_probs is None


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 7)), min_size=1))
def test_rec_ids_of_a_few_leaves_are_those_of_all(rec_ids: set[tuple[int, int, int]]) -> None:
    trie = build_trie(np.array(sorted(rec_ids, key=hash), np.int32), SPACE)
    leaves = np.arange(trie.num_items)[::-1]
    assert np.array_equal(trie.rec_ids_at(leaves), trie.rec_ids()[leaves])
    assert trie.rec_ids_at(leaves[:0]).shape == (0, 3)
    assert np.array_equal(trie.ancestors(leaves)[-1], leaves)


def test_explanations_over_http(service: httpx.Client) -> None:
    ask = {"history": ["item-01", "gone", "item-05"], "n": 3, "explain": True}
    items: list[dict[str, Any]] = service.post("/recommend", json=ask).json()["items"]
    by_id = {item["item_id"]: item["explanation"] for item in items}
    # Rec-IDs are (row % 3, row // 3 % 2, row // 6): item-04 is (1, 1, 0), item-01 (1, 0, 0).
    assert by_id["item-04"]["rec_id"] == [1, 1, 0]
    assert (by_id["item-04"]["shared_levels"], by_id["item-04"]["shared_with"]) == (1, ["item-01"])
    for item in items:
        assert sum(item["explanation"]["level_log_probs"]) == pytest.approx(item["log_prob"])
    popular = service.post("/recommend", json={"history": [], "n": 1, "explain": True}).json()["items"][0]
    assert popular["explanation"] == {
        "rec_id": [2, 1, 1],
        "shared_levels": 0,
        "shared_with": [],
        "level_log_probs": None,
    }
    nothing = service.post("/recommend", json=ask | {"candidates": []}).json()
    assert (nothing["items"], nothing["exhausted"]) == ([], True)
