"""Two releases on the same held-out interactions, and recent histories through one: the trained checkerboard."""

from dataclasses import replace

import numpy as np
import pytest
import redis

from offline.artefacts import load_catalogue, open_run_decoder
from offline.dataset import Dataset
from offline.publish import publish
from offline.retraining.comparison import TOP, compare
from offline.retraining.latency import median_milliseconds
from offline.retraining.replay import replay
from offline.retraining.served_release import OpenDecoder, UnusableReleaseError, item_ids_of, open_release
from offline.run_folder import RunFolder
from service.constraints import ItemFilter
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from tests.offline.conftest import SIZE, item_id, user_id


@pytest.fixture(scope="module")
def candidate(run: RunFolder, dataset: Dataset) -> OpenDecoder:
    catalogue = load_catalogue(run)
    return OpenDecoder(decoder=open_run_decoder(run, catalogue), trie=catalogue.trie, item_ids=dataset.item_ids)


def test_a_release_beside_itself(
    run: RunFolder, candidate: OpenDecoder, dataset: Dataset, client: redis.Redis, namespace: str
) -> None:
    store = ReleaseStore(client, RedisKeys(namespace))
    version = publish(run, store)
    served = open_release(store, version)
    assert served.item_ids == item_ids_of(store, version) == dataset.item_ids
    found = compare(candidate, served, dataset)
    metrics = run.read_json("metrics.json")
    for name in ("recall@20", "ndcg@20", "coverage@20"):
        assert found["new"][name] == found["served"][name] == pytest.approx(metrics[name])
    assert found["difference"] == found["standard_error"] == {"recall@20": 0.0, "ndcg@20": 0.0}
    assert (found["users"], found["common_items"]) == (metrics["users"], SIZE)


def test_items_are_known_by_their_names(candidate: OpenDecoder, dataset: Dataset) -> None:
    """Neighbours have different tastes. A release in which some of them have changed names mixes the two up."""
    names = np.array(candidate.item_ids)
    names[:30] = names[:30].reshape(15, 2)[:, ::-1].ravel()
    wrong = replace(candidate, item_ids=tuple(names.tolist()))
    found = compare(candidate, wrong, dataset)
    assert found["difference"]["recall@20"] > 5 * found["standard_error"]["recall@20"] > 0
    assert found["new"]["recall@20"] > found["served"]["recall@20"]


def test_items_that_only_one_knows_count_for_nobody(candidate: OpenDecoder, dataset: Dataset) -> None:
    """Items 0 to 9 are new; the served release has ten others in their place, which have gone since."""
    names = tuple(f"gone-{row}" if row < 10 else name for row, name in enumerate(candidate.item_ids))
    found = compare(candidate, replace(candidate, item_ids=names), dataset)
    assert found["common_items"] == SIZE - 10
    hits, users = _slow_recall(candidate, dataset, set(range(10)))
    assert (found["users"], found["new"]["recall@20"]) == (users, pytest.approx(hits))
    assert found["served"]["coverage@20"] <= 1


def _slow_recall(candidate: OpenDecoder, dataset: Dataset, new: set[int]) -> tuple[float, int]:
    """User by user, the new items left out one by one."""
    recalls = []
    for user in range(dataset.num_users):
        targets = set(dataset.targets("test").of(user).tolist()) - new
        history = dataset.histories("test").of(user)
        if targets and set(history.tolist()) - new:
            excluded = np.array(sorted({*history.tolist(), *new}))
            leaves = candidate.decoder.decode([history], [ItemFilter(excluded=excluded)], beam_width=50).leaves[0, :TOP]
            answer = candidate.trie.leaf_to_row[leaves[leaves >= 0]]
            recalls.append(len(targets & set(answer.tolist())) / len(targets))
    return float(np.mean(recalls)), len(recalls)


def test_nothing_in_common_is_nothing_to_compare(candidate: OpenDecoder, dataset: Dataset) -> None:
    other = replace(candidate, item_ids=tuple(f"other-{row}" for row in range(SIZE)))
    assert compare(candidate, other, dataset) == {"users": 0, "common_items": 0}


def test_a_release_that_lost_bytes_is_named(run: RunFolder, client: redis.Redis, namespace: str) -> None:
    keys = RedisKeys(namespace)
    store = ReleaseStore(client, keys)
    version = publish(run, store)
    (address, *_) = store.read_manifest(version).arrays["item_vectors"].addresses
    client.delete(keys.blob(*address))
    with pytest.raises(UnusableReleaseError, match=rf"release {version}: array item_vectors: chunk 0"):
        open_release(store, version)
    client.set(keys.release(version), "{}")
    for ask in (open_release, item_ids_of):
        with pytest.raises(UnusableReleaseError, match="format_version None"):
            ask(store, version)


def test_recent_histories_are_answered(candidate: OpenDecoder, client: redis.Redis, namespace: str) -> None:
    keys = RedisKeys(namespace)
    client.rpush(keys.history(user_id(0)), item_id(4), item_id(2), "unknown")
    client.zadd(keys.seen(user_id(0)), {item_id(row): row for row in range(50)})
    client.set(keys.history(user_id(1)), "another type")
    counts = replay(candidate, client, keys, [user_id(row) for row in range(3)])
    assert counts == {"histories": 1, "illegal": 0, "duplicates": 0, "seen": 0, "missing": 0}
    assert replay(candidate, client, keys, []) == dict.fromkeys(counts, 0)


def test_answers_that_break_a_promise_are_counted(
    candidate: OpenDecoder, client: redis.Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = RedisKeys(namespace)
    client.rpush(keys.history(user_id(0)), item_id(4))
    leaf = int(candidate.decoder.row_to_leaf[4])
    answer = np.array([[leaf, 1 - min(leaf, 1), 1 - min(leaf, 1), SIZE, *[-1] * 46]])
    decoded = candidate.decoder.decode([np.array([4])], [ItemFilter()], beam_width=50)._replace(leaves=answer)
    monkeypatch.setattr(candidate.decoder, "decode", lambda *_, **__: decoded)
    counts = replay(candidate, client, keys, [user_id(0)])
    assert counts == {"histories": 1, "illegal": 1, "duplicates": 1, "seen": 1, "missing": 17}


def test_latencies_are_of_each_decoder(candidate: OpenDecoder) -> None:
    histories = [[np.array([1, 2]), np.zeros(0, np.int64)]]
    (one,) = median_milliseconds([candidate.decoder], histories)
    both = median_milliseconds([candidate.decoder] * 2, histories * 2)
    assert one > 0
    assert len(both) == 2
    assert min(both) > 0
