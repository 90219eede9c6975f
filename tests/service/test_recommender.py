"""The three stages alone: prepare, resolve, and the choice of beam width and popular items."""

import itertools
from typing import Any

import numpy as np
import pytest
import redis

from service.contract.release_store import ReleaseStore
from service.decoder import Decoded
from service.histories import UserItems
from service.recommender import RequestLimitError, choose_beam_width, popular, prepare, resolve
from service.release import Release, load_release
from service.schemas import RecommendRequest
from service.settings import Settings


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
    assert prepared.excluded.tolist() == expected


def test_an_empty_history_in_the_request_is_as_none(release: Release) -> None:
    assert prepare(ask(history=[]), UserItems(history=item(1)), release).history.tolist() == [1]


@pytest.mark.parametrize("leaf_order", list(itertools.permutations(range(3))))
def test_equal_scores_come_by_item_id_whatever_the_beam_said(release: Release, leaf_order: tuple[int, ...]) -> None:
    leaves = np.argsort(release.trie.leaf_to_row)[[7, 2, 9]]
    order = list(leaf_order)
    decoded = Decoded(
        np.array([*leaves[order], -1, -1], np.int64),
        np.array([-4.0, -5.0, -6.0, 0.0, 0.0], np.float32)[[*order, 3, 4]],
        np.array([-1.0, -1.0, -0.5, 99.0, 99.0], np.float32)[[*order, 3, 4]],
    )
    picks = resolve(decoded, release, 10)
    assert [pick.row for pick in picks] == [9, 2, 7]  # row 9 scores best; 2 and 7 tie; dead slots never
    assert [pick.log_prob for pick in picks] == [-6.0, -5.0, -4.0]
    assert [pick.row for pick in resolve(decoded, release, 2)] == [9, 2]


def test_popular_items_come_by_count_without_the_excluded(release: Release) -> None:
    picks = popular(release, np.array([10, 11]), 3)
    assert [pick.row for pick in picks] == [9, 8, 7]
    assert {(pick.score, pick.log_prob) for pick in picks} == {(None, None)}
    assert popular(release, np.arange(12), 3) == []


def test_the_beam_width_is_the_one_asked_for_or_the_first(release: Release) -> None:
    assert choose_beam_width(ask(), release, 100) == 10
    assert choose_beam_width(ask(beam_width=20), release, 100) == 20
    assert choose_beam_width(ask(n=20, beam_width=20), release, 100) == 20


@pytest.mark.parametrize(
    ("fields", "max_n", "named"),
    [
        ({"n": 11}, 100, "beam_width 20"),
        ({"n": 6}, 5, "limit of this service, 5"),
        ({"beam_width": 11}, 100, "10, 20"),
        ({"n": 21, "beam_width": 20}, 100, "ask for fewer items"),
    ],
)
def test_what_is_not_offered_is_refused(release: Release, fields: dict[str, int], max_n: int, named: str) -> None:
    with pytest.raises(RequestLimitError, match=named):
        choose_beam_width(ask(**fields), release, max_n)
