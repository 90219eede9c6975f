"""Each peer against a slow and obvious reference, or an answer that is known by eye."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from offline.baselines import matrices
from offline.baselines.ease import Ease
from offline.baselines.item_knn import ItemKnn
from offline.baselines.lightgcn import LightGcnModule
from offline.baselines.popularity import Popularity
from offline.baselines.sasrec import SasRecModule
from offline.baselines.transitions import Transitions
from offline.dataset import Dataset

MakeDataset = Callable[..., Dataset]
LISTS = [[0, 1, 2, 3], [2, 0, 4], [1, 2], [4, 5, 0, 2, 1], [3]]
NUM_ITEMS = 7


@pytest.fixture
def small(make_dataset: MakeDataset) -> Dataset:
    return make_dataset(LISTS, [[]] * 5, [[6]] * 5, num_items=NUM_ITEMS, has_time=True)


def dense(lists: list[list[int]], recency: float = 1.0) -> np.ndarray:
    matrix = np.zeros((len(lists), NUM_ITEMS))
    for user, items in enumerate(lists):
        for steps_back, item in enumerate(reversed(items)):
            matrix[user, item] = recency**steps_back
    return matrix


@pytest.mark.parametrize("recency", [1.0, 0.5])
def test_histories_are_weighted_by_recency(small: Dataset, recency: float) -> None:
    users = np.array([3, 0, 4])
    found = matrices.history_matrix(small.histories("test"), users, NUM_ITEMS, recency).toarray()
    np.testing.assert_allclose(found, dense(LISTS, recency)[users])


def test_popularity_counts_and_adds_one(small: Dataset) -> None:
    peer = Popularity()
    peer.fit(small, seed=0)
    counts = np.array([3, 3, 4, 2, 2, 1, 0]) + 1
    np.testing.assert_allclose(np.exp(peer.scores(small.histories("test"), np.array([0]))[0]), counts / counts.sum())


@pytest.mark.parametrize("recency", [1.0, 0.7])
def test_ease_solves_its_regression(small: Dataset, recency: float) -> None:
    """Each column is the ridge regression on all other items (the paper, equation 3 with a zero diagonal)."""
    interactions = dense(LISTS)
    weights = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for item in range(NUM_ITEMS):
        others = [other for other in range(NUM_ITEMS) if other != item]
        design = interactions[:, others]
        gram = design.T @ design + 2.0 * np.eye(len(others))
        weights[others, item] = np.linalg.solve(gram, design.T @ interactions[:, item])
    peer = Ease(regularisation=2.0, recency=recency)
    peer.fit(small, seed=0)
    found = peer.scores(small.histories("test"), np.arange(5))
    np.testing.assert_allclose(found, dense(LISTS, recency) @ weights, rtol=1e-4, atol=1e-5)


def test_ease_is_fitted_in_one_matrix(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 20,000 items each is 1.6 GB. Blocks of any size give the same weights."""
    num_items = 400
    lists = [np.random.default_rng(user).permutation(num_items)[:20].tolist() for user in range(50)]
    made, peer, whole = make_dataset(lists, [[]] * 50, [[]] * 50, num_items=num_items), Ease(), Ease()
    whole.fit(made, seed=0)
    monkeypatch.setattr(matrices, "BLOCK_BYTES", 4 * num_items * 16)
    tracemalloc.start()
    try:
        peer.fit(made, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.6 * 4 * num_items**2
    np.testing.assert_array_equal(peer._weights, whole._weights)
    assert peer._weights.flags["C_CONTIGUOUS"]  # else scipy copies all of it for every batch of users


@pytest.mark.parametrize("block_bytes", [1, matrices.BLOCK_BYTES])
def test_item_knn_counts_who_had_both(small: Dataset, monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    monkeypatch.setattr(matrices, "BLOCK_BYTES", block_bytes)
    sets = [set(items) for items in LISTS]
    counts = [sum(item in had for had in sets) for item in range(NUM_ITEMS)]
    similarity = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for i in range(NUM_ITEMS):
        for j in range(NUM_ITEMS):
            votes = sum(len(had) ** -0.5 for had in sets if i in had and j in had)
            if i != j and votes:
                similarity[i, j] = votes / (counts[i] ** 0.6 * counts[j] ** 0.4 + 3.0)
    peer = ItemKnn(user_damping=0.5, asymmetry=0.4, shrinkage=3.0, recency=0.7)
    peer.fit(small, seed=0)
    found = peer.scores(small.histories("test"), np.arange(5))
    np.testing.assert_allclose(found, dense(LISTS, 0.7) @ similarity, rtol=1e-5)


def test_item_knn_keeps_the_nearest(make_dataset: MakeDataset) -> None:
    """Item 0 was had with 1 three times, with 2 twice, with 3 once."""
    lists = [[0, 1, 2], [0, 1, 2], [0, 1, 3]]
    small = make_dataset(lists, [[]] * 3, [[]] * 3, num_items=4)
    peer = ItemKnn(num_neighbours=1, user_damping=0.0, asymmetry=0.0)
    peer.fit(small, seed=0)
    only_item_0 = make_dataset([[0]], [[]], [[1]], num_items=4).histories("test")
    assert peer.scores(only_item_0, np.array([0])).tolist() == [[0.0, 1.0, 0.0, 0.0]]


def slow_transitions(peer: Transitions) -> np.ndarray:
    counts = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for items in LISTS:
        for earlier in range(len(items)):
            for later in range(earlier + 1, len(items)):
                weight = peer.order_decay ** (later - earlier - 1)
                counts[items[earlier], items[later]] += weight
                counts[items[later], items[earlier]] += peer.backward * weight
    popularity = np.maximum(dense(LISTS).sum(axis=0), 1)
    damped = counts / np.outer(popularity, popularity) ** peer.popularity_power
    sums = counts.sum(axis=1, keepdims=True)
    step = np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    total = damped.copy()
    for hops in range(2, peer.num_hops + 1):
        total += peer.hop_weight ** (hops - 1) * np.linalg.matrix_power(step, hops - 1) @ damped
    return total


@pytest.mark.parametrize("num_hops", [1, 2, 3])
def test_transitions_count_what_followed(small: Dataset, num_hops: int) -> None:
    peer = Transitions(num_hops=num_hops)
    peer.fit(small, seed=0)
    found = peer.scores(small.histories("test"), np.arange(5))
    np.testing.assert_allclose(found, dense(LISTS, 0.7) @ slow_transitions(peer), rtol=1e-4)


def test_transitions_know_before_from_after(make_dataset: MakeDataset) -> None:
    chain = make_dataset([[0, 1, 2]] * 3, [[]] * 3, [[]] * 3, num_items=4, has_time=True)
    now = make_dataset([[1]], [[]], [[2]], num_items=4, has_time=True).histories("test")
    peer = Transitions(num_hops=1)
    peer.fit(chain, seed=0)
    scores = peer.scores(now, np.array([0]))[0]
    assert scores[2] > scores[0] > scores[3] == 0.0


def test_lightgcn_smooths_along_the_graph() -> None:
    """Dense and obvious: the mean of E, ÂE, Â²E with Â = D^-½ A D^-½."""
    users, items = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])
    module = LightGcnModule(np.stack([users, items]), 3, 4, dim=5, num_layers=2)
    adjacency = np.zeros((7, 7))
    adjacency[users, items + 3] = adjacency[items + 3, users] = 1.0
    degree = np.maximum(adjacency.sum(axis=1), 1.0)
    normal = adjacency / np.sqrt(np.outer(degree, degree))
    start = module.embedding.detach().numpy()
    expected = (start + normal @ start + normal @ normal @ start) / 3
    with torch.no_grad():
        found = torch.cat(module()).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def sasrec() -> SasRecModule:
    torch.manual_seed(0)
    return SasRecModule(NUM_ITEMS, dim=8, num_layers=2, num_heads=2, length=6, dropout=0.5).eval()


@torch.no_grad()
def test_sasrec_never_looks_ahead() -> None:
    module = sasrec()
    states = module(torch.tensor([[1, 2, 3, 4], [1, 2, 5, 0]]))
    torch.testing.assert_close(states[0, :2], states[1, :2])
    assert not torch.allclose(states[0, 2:], states[1, 2:])


@torch.no_grad()
def test_sasrec_sees_order_and_no_empty_place() -> None:
    module = sasrec()
    padded = module(torch.tensor([[-1, -1, 1, 2, 3]]))[0, -3:]
    torch.testing.assert_close(padded, module(torch.tensor([[1, 2, 3]]))[0])
    assert not torch.allclose(module(torch.tensor([[2, 1, 3]]))[0, -1], padded[-1])


def test_every_parameter_of_sasrec_learns() -> None:
    module = sasrec().train()
    history = torch.tensor([[0, 1, 2, 3, 4, 5]])
    module.logits(module(history)[0]).log_softmax(dim=1)[:, 2].sum().backward()
    assert [name for name, weight in module.named_parameters() if not weight.grad.abs().sum()] == []
