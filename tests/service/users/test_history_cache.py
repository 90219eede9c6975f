import sys

from hypothesis import given
from hypothesis import strategies as st

from service.users.history_cache import HistoryCache
from service.users.user_items import UserItems


def items(*history: str) -> UserItems:
    return UserItems(history, history)


def test_what_was_put_comes_back_until_it_is_removed() -> None:
    cache = HistoryCache(10_000)
    cache.put("anna", items("x"))
    cache.put("anna", items("x", "y"))
    assert (cache.get("anna"), cache.get("bert"), len(cache)) == (items("x", "y"), None, 1)
    cache.remove("anna")
    cache.remove("anna")
    assert (cache.get("anna"), cache.size_bytes) == (None, 0)


def test_an_unknown_user_takes_no_place_and_drives_out_what_was_known() -> None:
    cache = HistoryCache(10_000)
    cache.put("anna", items("x"))
    cache.put("anna", UserItems())
    assert (cache.get("anna"), len(cache)) == (None, 0)


def test_the_least_recently_read_user_leaves_first() -> None:
    cache = HistoryCache(10_000)
    cache.put("anna", items("x"))
    one = cache.size_bytes
    cache = HistoryCache(2 * one)
    cache.put("anna", items("x"))
    cache.put("bert", items("x"))
    cache.put("anna", items("x"))  # read again
    cache.put("carl", items("x"))
    assert [cache.get(user) is not None for user in ("anna", "bert", "carl")] == [True, False, True]


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache = HistoryCache(0)
    cache.put("anna", items("x"))
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_a_user_too_large_for_the_cache_drives_nobody_out_but_themselves() -> None:
    cache = HistoryCache(2_000)
    cache.put("anna", items("x"))
    cache.put("bert", items("y"))
    cache.put("bert", items("y" * 5_000))
    assert (cache.get("anna"), cache.get("bert")) == (items("x"), None)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.lists(st.text(min_size=1, max_size=40), max_size=6), st.booleans()),
        max_size=40,
    ),
    st.integers(0, 3_000),
)
def test_the_bound_holds_and_the_bytes_are_those_of_the_strings(
    steps: list[tuple[str, list[str], bool]], limit: int
) -> None:
    cache = HistoryCache(limit)
    known: dict[str, UserItems] = {}  # slow and obvious: everything, never forgotten
    for user, history, remove in steps:
        if remove:
            cache.remove(user)
            known.pop(user, None)
        else:
            known[user] = items(*history)
            cache.put(user, known[user])
        assert cache.size_bytes <= limit
        kept = {user: found for user in "abcde" if (found := cache.get(user)) is not None}
        assert len(kept) == len(cache)
        assert all(known[user] == found for user, found in kept.items())
        strings = sum(sys.getsizeof(text) for found in kept.values() for text in (*found.history, *found.seen))
        assert strings <= cache.size_bytes <= strings + 600 * len(kept)
