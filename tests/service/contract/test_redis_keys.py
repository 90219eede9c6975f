"""The keys as design section 3 writes them down: these strings stand in other people's Redis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.redis_keys import HISTORY_CAP, RedisKeys


def test_every_key_by_eye() -> None:
    keys = RedisKeys()
    assert keys.history("u 1") == "mmgrec:history:{u 1}"
    assert keys.seen("u 1") == "mmgrec:seen:{u 1}"
    assert keys.active == "mmgrec:active"
    assert keys.release("20261121") == "mmgrec:release:20261121"
    assert keys.blob("ab12", 3) == "mmgrec:blob:ab12:3"
    assert keys.releases == "mmgrec:releases"
    assert keys.lock("retrain") == "mmgrec:lock:retrain"


def test_two_namespaces_share_no_key() -> None:
    def all_keys(keys: RedisKeys) -> set[str]:
        fixed = {keys.active, keys.releases, keys.lock("a"), keys.release("a"), keys.blob("a", 0)}
        return fixed | {keys.history("a"), keys.seen("a")}

    first, second = all_keys(RedisKeys("shop")), all_keys(RedisKeys("shop-2"))
    assert len(first) == 7
    assert not first & second


def test_the_cap_of_a_history() -> None:
    assert HISTORY_CAP >= 256


@pytest.mark.parametrize("namespace", ["mmgrec", "a.b_c-D9"])
def test_usable_namespaces(namespace: str) -> None:
    assert RedisKeys(namespace).active == f"{namespace}:active"


@pytest.mark.parametrize("namespace", ["", "a:b", "a b", "{a}", "a*", "shop\n", "größe"])
def test_other_namespaces_are_refused(namespace: str) -> None:
    with pytest.raises(ValueError, match=r"is not usable; take letters, digits, .* such as 'mmgrec'"):
        RedisKeys(namespace)


def test_keys_of_events() -> None:
    keys = RedisKeys()
    assert keys.event("u 1", "e-1") == "mmgrec:event:{u 1}:e-1"
    assert keys.events(3) == "mmgrec:events:3"


def hash_tag(key: str) -> str:
    """As the Redis Cluster specification has it: between the first brace and the next closing one, unless empty."""
    start = key.find("{")
    end = key.find("}", start + 1)
    return key if start < 0 or end < 0 or end == start + 1 else key[start + 1 : end]


@given(st.text(min_size=1), st.text(min_size=1))
def test_all_keys_of_a_user_live_on_one_server_and_no_two_users_share_one(user: str, other: str) -> None:
    keys = RedisKeys()
    mine = [keys.history(user), keys.seen(user), keys.event(user, "e")]
    assert len({hash_tag(key) for key in mine}) == 1
    if user != other:
        assert not {*mine} & {keys.history(other), keys.seen(other), keys.event(other, "e")}


@pytest.mark.parametrize(("first", "second"), [("}a", "%}a"), ("%", "%%"), ("}", "%}")])
def test_users_that_begin_with_a_brace_are_told_from_those_that_look_like_it(first: str, second: str) -> None:
    assert RedisKeys().history(first) != RedisKeys().history(second)
