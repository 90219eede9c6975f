"""The keys as design section 3 writes them down: these strings stand in other people's Redis."""

import pytest

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
