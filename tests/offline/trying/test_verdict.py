"""Every verdict, on qualities that are made by hand."""

import numpy as np
import pytest

from offline.trying.contenders import BY_SIMPLICITY, MMGREC, Contender
from offline.trying.verdict import judge


def contender(name: str, hits: list[int], copies: int = 1) -> Contender:
    """Whose 20 recommendations hold the one hidden item of user u (hits[u] = 1), at the top, or not."""
    values = np.tile(np.array(hits, float), copies)
    return Contender(name=name, recall=values, ndcg=values, seconds=1.0)


def share(name: str, found: int, of: int = 1000) -> Contender:
    """The first `found` of users are the ones it finds."""
    return contender(name, [1] * found + [0] * (of - found))


def test_mmgrec_is_clearly_the_best() -> None:
    verdict = judge([share("popularity", 50), share("item-kNN", 200), share(MMGREC, 300)])
    assert (verdict.kind, verdict.enough, verdict.best) == ("mmgrec", MMGREC, MMGREC)
    assert "MMGRec is clearly the best here" in verdict.words
    assert "finds 30.0 % of what was held out of the histories of 1,000 users; the next best, item-kNN, 20.0 %" in (
        verdict.words
    )


def test_a_peer_is_clearly_the_best_and_named() -> None:
    verdict = judge([share("popularity", 50), share("transitions", 300), share(MMGREC, 200)])
    assert (verdict.kind, verdict.enough, verdict.best) == ("peer", "transitions", "transitions")
    assert verdict.words.startswith("transitions is clearly the best here: MMGRec is clearly worse.")


def test_of_two_good_peers_the_simpler_is_enough() -> None:
    """SASRec finds three more than item-kNN and misses as many others but one: nothing clear between these two."""
    sasrec = contender("SASRec", [0] * 10 + [1] * 302 + [0] * 688)
    verdict = judge([share("popularity", 50), share("item-kNN", 301), sasrec, share(MMGREC, 200)])
    assert (verdict.kind, verdict.enough, verdict.best) == ("peer", "item-kNN", "SASRec")
    assert "item-kNN is enough for you: MMGRec is clearly worse" in verdict.words
    assert "item-kNN (30.1 %) is not clearly behind it and is simpler" in verdict.words


@pytest.mark.parametrize("mmgrec", [400, 401, 399])
def test_without_a_clear_difference_the_simplest_is_enough(mmgrec: int) -> None:
    verdict = judge([share("popularity", 50), share("item-kNN", 400), share("SASRec", 400), share(MMGREC, mmgrec)])
    assert (verdict.kind, verdict.enough) == ("no difference", "item-kNN")
    assert verdict.words.startswith("item-kNN is enough for you: nothing here is better by as much as 5 %.")
    assert verdict.users_needed is None


def test_too_few_users_says_how_many_it_takes() -> None:
    """Of thirty users MMGRec finds two more items than item-kNN, and misses one of the others."""
    knn = contender("item-kNN", [1, 1, 1, 0, 0, 0] * 5)
    mmgrec = contender(MMGREC, [1, 1, 0, 1, 0, 0] * 4 + [1, 1, 1, 1, 1, 0])
    verdict = judge([knn, mmgrec])
    assert (verdict.kind, verdict.enough, verdict.best) == ("too few users", "item-kNN", MMGREC)
    assert verdict.users_needed is not None
    assert verdict.users_needed > 30
    assert f"{verdict.users_needed:,} users with held-out items" in verdict.words
    assert "Until you have them item-kNN is enough for you" in verdict.words


def test_as_many_users_as_it_takes_are_enough() -> None:
    """The same pattern with as many users as the verdict asks for (to whole patterns) is no longer undecided."""
    knn, mmgrec = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0, 0, 0, 0, 0]
    few = judge([contender("item-kNN", knn, 3), contender(MMGREC, mmgrec, 3)])
    assert few.kind == "too few users"
    assert few.users_needed is not None
    copies = -(-few.users_needed // 10)
    assert judge([contender("item-kNN", knn, copies), contender(MMGREC, mmgrec, copies)]).kind == "mmgrec"
    half = [contender("item-kNN", knn, copies // 8), contender(MMGREC, mmgrec, copies // 8)]
    assert judge(half).kind == "too few users"


def test_whoever_is_clearly_worse_than_anybody_is_not_enough() -> None:
    verdict = judge([share("popularity", 390), share("item-kNN", 410), share(MMGREC, 411)])
    assert (verdict.kind, verdict.enough) == ("no difference", "item-kNN")


def test_one_user_is_too_few() -> None:
    verdict = judge([contender("popularity", [0]), contender(MMGREC, [1])])
    assert verdict.kind == "too few users"
    assert "one user" in verdict.words


def test_nobody_found_anything() -> None:
    verdict = judge([share("popularity", 0), share(MMGREC, 0)])
    assert (verdict.kind, verdict.enough, verdict.best) == ("nothing found", None, None)
    assert "of 1,000 users" in verdict.words


def test_nothing_is_held_out() -> None:
    verdict = judge([])
    assert (verdict.kind, verdict.enough) == ("nothing held out", None)
    assert "no user has three different items" in verdict.words


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_in_which_they_come_does_not_matter(order: int) -> None:
    assert judge([share(name, 400) for name in BY_SIMPLICITY][::order]).enough == "popularity"
