"""Category filters beside python sets, and the bound on what is kept of them."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.category_filter import CategoryFilter, CategoryIndex, _bytes_kept
from service.contract.allowed_nodes import AllowedNodes
from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie

SPACE = RecIdSpace(codebook_sizes=(3, 3), popularity_size=3)
ALL_REC_IDS = list(product(range(3), repeat=3))
PLENTY = 10**9
NAMES = ("books", "games", "music", "tools")

name_sets = st.frozensets(st.sampled_from([*NAMES, "no item has this"]), max_size=3)
filters = st.builds(CategoryFilter, any=name_sets, all=name_sets, none=name_sets)


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[Trie, list[list[str]]]:
    """A trie, and the categories by item row: none, one, several, one named twice."""
    rec_ids = draw(st.lists(st.sampled_from(ALL_REC_IDS), min_size=1, max_size=27, unique=True))
    names = draw(st.lists(st.lists(st.sampled_from(NAMES), max_size=4), min_size=len(rec_ids), max_size=len(rec_ids)))
    return build_trie(np.array(rec_ids, np.int32), SPACE), names


def slow_matches(categories: list[list[str]], wanted: CategoryFilter) -> set[int]:
    """Item rows, one at a time."""
    return {
        row
        for row, names in enumerate(map(set, categories))
        if (not wanted.any or names & wanted.any) and names >= wanted.all and not names & wanted.none
    }


def rows_of(trie: Trie, allowed: AllowedNodes) -> set[int]:
    return set(trie.leaf_to_row[allowed.leaves].tolist())


@settings(max_examples=300, deadline=None, derandomize=True)
@given(catalogue=catalogues(), wanted=filters)
def test_exactly_the_matching_items_are_allowed(
    catalogue: tuple[Trie, list[list[str]]], wanted: CategoryFilter
) -> None:
    trie, categories = catalogue
    allowed = CategoryIndex(trie, categories, PLENTY).allowed(wanted)
    assert rows_of(trie, allowed) == slow_matches(categories, wanted)
    assert allowed.num_leaves == len(slow_matches(categories, wanted))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(catalogue=catalogues(), wanted=st.lists(filters, min_size=1, max_size=12), max_bytes=st.integers(0, 2000))
def test_what_is_kept_changes_no_answer(
    catalogue: tuple[Trie, list[list[str]]], wanted: list[CategoryFilter], max_bytes: int
) -> None:
    trie, categories = catalogue
    index = CategoryIndex(trie, categories, max_bytes)
    for each in [*wanted, *wanted]:
        allowed = index.allowed(each)
        assert rows_of(trie, allowed) == slow_matches(categories, each)
        assert index.num_bytes <= max(max_bytes, _bytes_kept(each, allowed))


# Rows 0 .. 4 in another order than their leaves.
TRIE = build_trie(np.array([[2, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 0], [1, 1, 0]], np.int32), SPACE)
CATEGORIES = [["books"], ["games", "books"], [], ["music", "games"], ["music"]]


@pytest.fixture
def index() -> CategoryIndex:
    return CategoryIndex(TRIE, CATEGORIES, PLENTY)


def asked(*, any_of: str = "", all_of: str = "", none_of: str = "") -> CategoryFilter:
    return CategoryFilter(any=frozenset(any_of.split()), all=frozenset(all_of.split()), none=frozenset(none_of.split()))


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (asked(), {0, 1, 2, 3, 4}),
        (asked(any_of="books"), {0, 1}),
        (asked(any_of="books music"), {0, 1, 3, 4}),
        (asked(all_of="books games"), {1}),
        (asked(all_of="books music"), set()),
        (asked(none_of="books"), {2, 3, 4}),
        (asked(any_of="games", none_of="music"), {1}),
        (asked(any_of="books music", all_of="games", none_of="music"), {1}),
        (asked(any_of="books", none_of="books"), set()),
        (asked(any_of="toys"), set()),  # that no item has one is no error
        (asked(any_of="toys books"), {0, 1}),
        (asked(all_of="books toys"), set()),
        (asked(none_of="toys"), {0, 1, 2, 3, 4}),
    ],
)
def test_by_eye(index: CategoryIndex, wanted: CategoryFilter, rows: set[int]) -> None:
    assert rows_of(TRIE, index.allowed(wanted)) == rows


def test_a_filter_that_asks_for_nothing_is_empty() -> None:
    assert asked().is_empty
    assert not any(each.is_empty for each in (asked(any_of="a"), asked(all_of="a"), asked(none_of="a")))


def test_made_up_names_take_no_room(index: CategoryIndex) -> None:
    """Whoever asks for names that no item has cannot fill the memory with them."""
    first = index.allowed(asked(any_of="books", none_of="toys"))
    assert index.allowed(asked(any_of="books cars", none_of="bikes")) is first
    nothing = index.allowed(asked(any_of="toys"))
    assert nothing.num_leaves == 0
    for made_up in range(50):
        assert index.allowed(asked(any_of=f"toys-{made_up}")) is nothing
        assert index.allowed(asked(all_of=f"books toys-{made_up}")) is nothing


def test_an_equal_filter_is_counted_once(index: CategoryIndex) -> None:
    first = index.allowed(asked(any_of="books music", none_of="games"))
    assert index.allowed(asked(any_of="music books", none_of="games")) is first
    assert index.allowed(asked(all_of="books music", none_of="games")) is not first


def test_the_least_recently_used_filter_goes_first() -> None:
    books, games, music = (asked(any_of=name) for name in ("books", "games", "music"))
    size = _bytes_kept(books, CategoryIndex(TRIE, CATEGORIES, PLENTY).allowed(books))
    index = CategoryIndex(TRIE, CATEGORIES, 3 * size - 1)  # two fit
    kept = {name: index.allowed(name) for name in (books, games)}
    assert index.allowed(books) is kept[books]  # used again, so `games` is the oldest now
    index.allowed(music)
    assert index.num_bytes == 2 * size
    assert index.allowed(books) is kept[books]
    assert index.allowed(games) is not kept[games]


def test_the_last_filter_is_kept_even_when_it_is_too_big() -> None:
    index = CategoryIndex(TRIE, CATEGORIES, 0)
    books, games = asked(any_of="books"), asked(any_of="games")
    kept = index.allowed(books)
    assert index.allowed(books) is kept
    assert rows_of(TRIE, index.allowed(games)) == {1, 3}
    assert index.num_bytes == _bytes_kept(games, kept)  # of one filter
    assert index.allowed(books) is not kept
