"""What docs/operations.md says of backup and restore: a Redis that lost everything, and what it is made from again."""

from pathlib import Path

from tests.offline.conftest import item_id, user_id
from tests.offline.retraining.nights import Nights


def test_a_saved_release_and_the_newest_snapshot_make_it_again(nights: Nights, tmp_path: Path) -> None:
    where = ("--redis-url", nights.url, "--namespace", nights.keys.namespace)
    nights.happen(item_id(0), user=user_id(0))  # the one thing of their taste that they did not have
    served = nights.night().result
    assert nights.job("releases", "save", "active", tmp_path / "shop.tar", *where).code == 0
    assert nights.client.delete(*nights.client.keys(f"{nights.keys.namespace}:*")) > 3

    assert nights.job("releases", "load", tmp_path / "shop.tar", "--activate", *where).code == 0
    assert nights.job("load-histories", "--data", Path(served["run"]) / "dataset", *where).code == 0

    assert nights.active == served["version"]
    nights.store.verify(served["version"])
    history = nights.client.lrange(nights.keys.history(user_id(0)), 0, -1)
    assert sorted(map(bytes.decode, history)) == [item_id(row) for row in range(0, 60, 2)]  # what came as an event too
    assert nights.night().result["result"] == "nothing_new"
