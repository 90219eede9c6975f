"""What every peer of the registry keeps: one suite, all of them."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from offline.baselines import lightgcn, sasrec
from offline.baselines.early_stopping import Stopping
from offline.baselines.peer import Peer
from offline.baselines.ranking import rank_users
from offline.baselines.registry import REGISTRY
from offline.dataset import Dataset

SIZE = 24
TASTES_APART = [name for name in REGISTRY if name != "popularity"]
MakeDataset = Callable[..., Dataset]


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    short = Stopping(most_rounds=7, patience=2, rounds_without_validation=5, short_rounds=4)
    monkeypatch.setattr(lightgcn, "STOPPING", short)
    monkeypatch.setattr(sasrec, "STOPPING", Stopping(most_rounds=4, patience=2, rounds_without_validation=2))
    monkeypatch.setattr(sasrec, "LEAST_ROUND_USERS", 1000)


@pytest.fixture(scope="session")
def tastes(make_dataset: MakeDataset) -> Dataset:
    """Even users had all even items but two, odd users all odd ones: the test item is the user's own number."""
    own = range(SIZE)
    valid = [(user + 2) % SIZE for user in own]
    train = [[item for item in range(user % 2, SIZE, 2) if item not in (user, valid[user])] for user in own]
    train = [[*items[user % len(items) :], *items[: user % len(items)]] for user, items in enumerate(train)]
    return make_dataset(train, [[item] for item in valid], [[user] for user in own], num_items=SIZE, has_time=True)


@pytest.fixture(scope="session")
def fitted(tastes: Dataset) -> Callable[[str], Peer]:
    @functools.cache
    def fit(name: str) -> Peer:
        return fit_once(name, tastes)

    return fit


def fit_once(name: str, dataset: Dataset, seed: int = 3) -> Peer:
    peer = REGISTRY[name].peer()
    peer.fit(dataset, seed=seed)
    return peer


@pytest.mark.parametrize("name", TASTES_APART)
def test_the_withheld_item_comes_first(name: str, tastes: Dataset, fitted) -> None:
    ranked = rank_users(fitted(name), tastes, "test")
    assert ranked.users.tolist() == list(range(SIZE))
    assert ranked.items[:, 0].tolist() == list(range(SIZE))


@pytest.mark.parametrize("name", REGISTRY)
def test_lists_hold_every_other_item_once(name: str, tastes: Dataset, fitted) -> None:
    """24 items, 11 of them seen: 13 are left, the list has place for 20."""
    ranked, histories = rank_users(fitted(name), tastes, "test"), tastes.histories("test")
    for user, items, scores in zip(ranked.users, ranked.items, ranked.scores, strict=True):
        assert sorted(items[:13]) == sorted(set(range(SIZE)) - set(histories.of(int(user)).tolist()))
        assert (items[13:] == -1).all()
        assert np.isneginf(scores[13:]).all()
        assert (np.diff(scores[:13]) <= 0).all()


@pytest.mark.parametrize("name", REGISTRY)
def test_a_user_is_scored_alike_alone_and_beside_others(name: str, tastes: Dataset, fitted) -> None:
    histories, peer = tastes.histories("test"), fitted(name)
    users = np.array([7, 0, 23, 7])
    together = peer.scores(histories, users)
    assert (together.shape, together.dtype) == ((4, SIZE), np.float32)
    alone = np.concatenate([peer.scores(histories, users[[row]]) for row in range(4)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REGISTRY)
def test_the_same_seed_gives_the_same_peer(name: str, tastes: Dataset) -> None:
    histories, users = tastes.histories("test"), np.arange(SIZE)
    first, second = (fit_once(name, tastes).scores(histories, users) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["lightgcn", "sasrec"])
def test_another_seed_gives_another_peer(name: str, tastes: Dataset, fitted) -> None:
    histories, users = tastes.histories("test"), np.arange(SIZE)
    other = fit_once(name, tastes, seed=4).scores(histories, users)
    assert not np.array_equal(fitted(name).scores(histories, users), other)


@pytest.mark.parametrize("name", REGISTRY)
def test_fitting_leaves_the_random_numbers_of_others_alone(name: str, tastes: Dataset) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    fit_once(name, tastes)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("with_validation", [True, False])
def test_a_catalogue_of_ten_with_hardly_any_data(name: str, with_validation: bool, make_dataset: MakeDataset) -> None:
    """A user with everything, one with one item, one with none; items 8 and 9 without interactions, 8 held out."""
    train = [list(range(8)), [3], [], [1, 2]]
    valid = [[], [2], [], []] if with_validation else [[]] * 4
    small = make_dataset(train, valid, [[9], [8], [0], [5]], num_items=10, has_time=True)
    peer = fit_once(name, small)
    ranked = rank_users(peer, small, "test")
    lengths = (ranked.items >= 0).sum(axis=1).tolist()
    assert lengths == [2, 8 if with_validation else 9, 10, 8]
    assert ranked.items[2, 0] in (1, 2, 3)  # nothing is known of the user: the most popular, 2 and 3 with two each
    assert np.isfinite(peer.scores(small.histories("test"), np.arange(4))).all()


@pytest.mark.parametrize("name", REGISTRY)
def test_one_item_one_user(name: str, make_dataset: MakeDataset) -> None:
    least = make_dataset([[0]], [[]], [[1]], num_items=2, has_time=True)
    assert rank_users(fit_once(name, least), least, "test").items[0, :2].tolist() == [1, -1]


@pytest.mark.parametrize("name", REGISTRY)
def test_what_is_called_log_probabilities_sums_to_one(name: str, tastes: Dataset, fitted) -> None:
    peer = fitted(name)
    if not peer.gives_log_probs:
        return
    scores = peer.scores(tastes.histories("test"), np.arange(SIZE))
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1.0, rtol=1e-4)


@pytest.mark.parametrize("name", REGISTRY)
def test_settings_are_plain_and_named(name: str) -> None:
    settings = REGISTRY[name].peer().settings()
    assert all(isinstance(value, int | float) for value in settings.values())
    assert set(REGISTRY[name].grid) <= set(settings)
