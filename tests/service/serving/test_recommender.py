"""The three stages alone: prepare, resolve, and the choice of beam width and popular items."""

import itertools
from typing import Any

import numpy as np
import pytest
import redis

from service.category_filter import CategoryFilter
from service.contract.release_store import ReleaseStore
from service.decoder import Decoded
from service.releases.release import Release, load_release
from service.schemas.recommend import RecommendRequest
from service.serving.prepare import RequestLimitError, choose_beam_width, prepare
from service.serving.recommender import decode
from service.serving.resolve import popular, resolve
from service.settings import Settings
from service.users.histories import UserItems


@pytest.fixture(scope="module")
def release(redis_url: str, service_keys: Any, fake_decoder: Any, publish_to: Any) -> Release:
    with redis.Redis.from_url(redis_url) as client:
        store = ReleaseStore(client, service_keys)
        publish_to(store, "v1")
        return load_release(store, "v1", Settings(redis_url=redis_url), decoder_factory=fake_decoder)


def item(*rows: int) -> tuple[str, ...]:
    return tuple(f"item-{row:02d}" for row in rows)


def ask(**fields: Any) -> RecommendRequest:
    return RecommendRequest.model_validate({"user_id": "anna"} | fields)


def test_prepare_keeps_the_order_and_counts_an_item_once_where_it_occurs_first(release: Release) -> None:
    stored = UserItems(history=(*item(3, 1, 3), "gone", *item(2)))
    prepared = prepare(ask(), stored, release)
    assert prepared.history.tolist() == [3, 1, 2]
    assert prepared.unknown == 1
    assert prepared.history.dtype == prepared.excluded.dtype == np.int64


@pytest.mark.parametrize(
    ("exclude_seen", "expected"), [(True, [1, 2, 3, 4]), (False, [4])], ids=["seen left out", "seen kept"]
)
def test_seen_is_stored_and_requested_together(release: Release, exclude_seen: bool, expected: list[int]) -> None:
    request = ask(history=list(item(3)), exclude_items=[*item(4, 4), "gone"], exclude_seen=exclude_seen)
    prepared = prepare(request, UserItems(history=item(1), seen=(*item(2), "gone")), release)
    assert prepared.history.tolist() == [3]
    assert sorted(prepared.excluded.tolist()) == expected


def test_an_empty_history_in_the_request_is_as_none(release: Release) -> None:
    assert prepare(ask(history=[]), UserItems(history=item(1)), release).history.tolist() == [1]


@pytest.mark.parametrize("tied", list(itertools.permutations([7, 2, 5])))
def test_equal_scores_come_by_item_id_whatever_the_beam_said(release: Release, tied: tuple[int, ...]) -> None:
    rows = [9, *tied, 0]
    decoded = Decoded(
        np.array([*np.argsort(release.trie.leaf_to_row)[rows], -1, -1], np.int64),
        np.array([*rows, 0.0, 0.0], np.float32),
        np.array([-0.5, -1.0, -1.0, -1.0, -3.0, -9e9, -9e9], np.float32),
    )
    expected = [9, 2, 5, 7, 0]  # row 9 scores best; 2, 5 and 7 tie; dead slots never
    picks = resolve(decoded, release, 10)
    assert [(pick.row, pick.log_prob) for pick in picks] == [(row, row) for row in expected]
    for n, offset in itertools.product(range(1, 7), range(7)):
        assert [pick.row for pick in resolve(decoded, release, n, offset)] == expected[offset : offset + n]


def test_candidates_are_kept_in_order_and_unknown_ones_are_counted(release: Release) -> None:
    prepared = prepare(ask(candidates=[*item(5, 2, 5), "gone"]), UserItems(), release)
    assert prepared.candidates is not None
    assert prepared.candidates.tolist() == [5, 2, 5]
    assert prepared.unknown_candidates == 1
    nothing = prepare(ask(candidates=[]), UserItems(), release)
    assert nothing.candidates is not None
    assert len(nothing.candidates) == 0
    assert prepare(ask(), UserItems(), release).candidates is None


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, None),
        ([], None),
        ({}, None),
        (["a", "b", "a"], CategoryFilter(any=frozenset("ab"))),
        ({"all": ["a"], "none": ["b"]}, CategoryFilter(all=frozenset("a"), none=frozenset("b"))),
    ],
)
def test_categories_as_they_are_asked_for(release: Release, asked: Any, expected: CategoryFilter | None) -> None:
    assert prepare(ask(categories=asked), UserItems(), release).categories == expected


def rows_of(release: Release, fields: dict[str, Any], n: int = 12, offset: int = 0) -> list[int]:
    return [pick.row for pick in popular(release, prepare(ask(**fields), UserItems(), release), n, offset)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"exclude_items": list(item(10, 11))}, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ({"exclude_items": list(item(*range(12)))}, []),
        ({"categories": ["category-1"]}, [11, 9, 7, 5, 3, 1]),
        ({"categories": {"none": ["category-1"]}, "exclude_items": list(item(8))}, [10, 6, 4, 2, 0]),
        ({"categories": {"all": ["category-0", "category-1"]}}, []),
        ({"candidates": list(item(3, 8, 5))}, [8, 5, 3]),
        ({"candidates": list(item(3, 8, 5)), "categories": ["category-1"], "exclude_items": list(item(3))}, [5]),
        ({"candidates": []}, []),
    ],
)
def test_popular_items_come_by_count_and_only_those_allowed(
    release: Release, fields: dict[str, Any], expected: list[int]
) -> None:
    assert rows_of(release, fields) == expected
    for offset in range(4):
        assert rows_of(release, fields, 2, offset) == expected[offset : offset + 2]


def test_popular_items_have_no_scores(release: Release) -> None:
    picks = popular(release, prepare(ask(), UserItems(), release), 3)
    assert {(pick.score, pick.log_prob) for pick in picks} == {(None, None)}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [5, 6, 4]),
        ({"categories": ["category-0"]}, [6, 4, 8]),
        ({"categories": ["category-0"], "exclude_items": list(item(6))}, [4, 8, 2]),
        ({"candidates": list(item(11, 0))}, [0, 11]),
    ],
)
def test_decoding_obeys_filters(release: Release, fields: dict[str, Any], expected: list[int]) -> None:
    prepared = prepare(ask(history=list(item(5)), exclude_seen=False, **fields), UserItems(), release)
    (decoded,) = decode(release, [prepared], 10)
    rows = release.trie.leaf_to_row[decoded.leaves[decoded.alive]].tolist()
    assert rows[:3] == expected


def test_the_beam_width_is_the_one_asked_for_or_the_first(release: Release) -> None:
    assert choose_beam_width(ask(), release, 100) == 10
    assert choose_beam_width(ask(beam_width=20), release, 100) == 20
    assert choose_beam_width(ask(n=20, beam_width=20), release, 100) == 20
    assert choose_beam_width(ask(n=5, offset=5), release, 100) == 10


@pytest.mark.parametrize(
    ("fields", "max_n", "named"),
    [
        ({"n": 11}, 100, "beam_width 20"),
        ({"n": 6}, 5, "limit of this service, 5"),
        ({"beam_width": 11}, 100, "10, 20"),
        ({"n": 21, "beam_width": 20}, 100, "ask for fewer items"),
        ({"n": 5, "offset": 6}, 100, r"offset \+ n: 11 is above the beam width, 10; ask for beam_width 20"),
        ({"n": 1, "offset": 5}, 5, r"offset \+ n: 6 is above the limit of this service, 5"),
    ],
)
def test_what_is_not_offered_is_refused(release: Release, fields: dict[str, int], max_n: int, named: str) -> None:
    with pytest.raises(RequestLimitError, match=named):
        choose_beam_width(ask(**fields), release, max_n)
