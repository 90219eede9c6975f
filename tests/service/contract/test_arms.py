"""Arms: who gets the canary is stable, fair and the same everywhere; pointers that make no sense are refused."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.arms import ArmPointer, is_in_canary, require_share, share_out

USERS = [f"user-{number}" for number in range(4000)]


def in_canary(share: float, namespace: str = "shop") -> set[str]:
    return {user for user in USERS if is_in_canary(namespace, share, user)}


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
def test_a_canary_gets_its_share(share: float) -> None:
    """Five standard deviations of a fair draw; the users are fixed, so this passes always or never."""
    spread = 5 * (share * (1 - share) / len(USERS)) ** 0.5
    assert abs(len(in_canary(share)) / len(USERS) - share) < spread


def test_raising_the_share_only_adds_users() -> None:
    sizes = [in_canary(share) for share in (0.0, 0.01, 0.1, 0.3, 0.8, 1.0)]
    assert all(smaller < larger for smaller, larger in pairwise(sizes))
    assert sizes[0] == set()
    assert sizes[-1] == set(USERS)


def test_the_arm_of_a_user_never_changes() -> None:
    """These were computed once: another answer would move users between arms with an update of MMGRec."""
    found = [user for user in USERS[:40] if is_in_canary("mmgrec", 0.1, user)]
    assert found == ["user-1", "user-2", "user-4", "user-11", "user-21", "user-23", "user-26", "user-30"]


def test_catalogues_draw_their_canaries_independently() -> None:
    both = len(in_canary(0.3) & in_canary(0.3, "other")) / len(USERS)
    assert 0.06 < both < 0.12  # 0.09 if independent


def test_the_user_decides_alone_and_a_history_where_there_is_none() -> None:
    for user in USERS[:50]:
        assert is_in_canary("shop", 0.5, user, ["a", "b"]) == is_in_canary("shop", 0.5, user)
    anonymous = [is_in_canary("shop", 0.5, None, [f"item-{number}", "b"]) for number in range(400)]
    assert 150 < sum(anonymous) < 250
    assert anonymous == [is_in_canary("shop", 0.5, None, (f"item-{number}", "b")) for number in range(400)]
    assert not is_in_canary("shop", 1.0, None)
    assert not is_in_canary("shop", 1.0, None, [])


@given(st.text(st.characters(exclude_categories=())), st.floats(0, 1))
def test_any_id_has_an_arm(user: str, share: float) -> None:
    """Lone surrogates as well."""
    assert is_in_canary("shop", share, user) in (True, False)


@given(st.text(), st.floats(0, 1))
def test_a_pointer_survives_json(version: str, share: float) -> None:
    pointer = ArmPointer(version, share)
    assert ArmPointer.from_json("main", pointer.to_json()) == pointer


def test_shares_make_one() -> None:
    assert share_out("v1") == {"main": ("v1", 1.0)}
    assert share_out("v1", ArmPointer("v2", 0.1)) == {"main": ("v1", 0.9), "canary": ("v2", 0.1)}


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"version": "v1"}', '{"version": "v1", "share": "x"}', "[" * 99999]
)
def test_a_pointer_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"the pointer of arm canary cannot be read .*publish or roll back again"):
        ArmPointer.from_json("canary", text)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), float("inf")])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ValueError, match=r"arm main has the share .*; the limit is 0\.\.1"):
        ArmPointer.from_json("main", json.dumps({"version": "v1", "share": share}))
    with pytest.raises(ValueError, match=r"share .* of a canary must be above 0 and below 1, such as 0\.1"):
        require_share(share)


@pytest.mark.parametrize("share", [0, 1])
def test_a_canary_leaves_users_on_both_sides(share: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        require_share(share)
