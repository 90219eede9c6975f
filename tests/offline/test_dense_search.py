"""Exhaustive search with the dense term: by loops, by the protocol, and beside the trained run's own decoder."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from model.graph_encoder import ItemVectors
from model.history_state import HistoryState
from offline import dense_search
from offline.artefacts import load_catalogue, load_generator
from offline.dataset import Dataset
from offline.dense_search import dense_quality, dense_ranking, first_unseen
from offline.metrics import ranking_metrics
from offline.run_folder import RunFolder

NUM_ITEMS, MAX_HISTORY = 30, 4
MakeDataset = Callable[..., Dataset]
MakeHistories = Callable[..., object]


@pytest.fixture
def small(make_dataset: MakeDataset) -> Dataset:
    """Histories of 0, 1, 3 and 6 items, the last longer than the state holds; user 3 has nothing to be found."""
    train = [[], [4], [7, 1, 9], [2, 3], [5, 6, 7, 8, 9, 10]]
    return make_dataset(train, [[0], [5], [8], [], [11]], [[1], [6], [2], [], [0]], num_items=NUM_ITEMS, has_time=True)


@pytest.fixture
def vectors() -> ItemVectors:
    torch.manual_seed(0)
    return ItemVectors(torch.nn.functional.normalize(torch.randn(NUM_ITEMS, 3), dim=1), torch.randn(NUM_ITEMS, 3))


@pytest.fixture
def history_state() -> HistoryState:
    state = HistoryState(3, MAX_HISTORY)
    state.fit(torch.tensor([1.0, 0.5, 0.25]), torch.tensor([1.0, -1.0, 0.5]))
    return state


def slow_ranking(vectors: ItemVectors, history: list[int], length: int) -> list[int]:
    """Newest first with the weights 1, 1/2, 1/4, 1/4; nothing beyond four items."""
    newest_first = history[::-1][:MAX_HISTORY]
    total = torch.tensor([0.0, 0.0, 0.0]) if history else torch.tensor([1.0, -1.0, 0.5])
    for item, weight in zip(newest_first, (1.0, 0.5, 0.25, 0.25), strict=False):
        total = total + weight * vectors.contexts[item]
    cosine = {item: float(total @ vectors.keys[item] / total.norm()) for item in range(NUM_ITEMS)}
    best = sorted(set(cosine) - set(history), key=lambda item: -cosine[item])[:length]
    return best + [-1] * (length - len(best))


@pytest.mark.parametrize("length", [1, 5, NUM_ITEMS])
@pytest.mark.parametrize("batch_users", [1, 2, 256])
def test_dense_ranking_by_loops(
    small: Dataset,
    vectors: ItemVectors,
    history_state: HistoryState,
    length: int,
    batch_users: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dense_search, "BATCH_SCORES", batch_users * small.num_items)
    users = np.array([0, 1, 2, 4])
    for split in ("valid", "test"):
        found = dense_ranking(history_state, vectors, small, users, split, length)
        expected = [slow_ranking(vectors, small.histories(split).of(int(user)).tolist(), length) for user in users]
        assert found.tolist() == expected


def test_no_user_gives_no_row(small: Dataset, vectors: ItemVectors, history_state: HistoryState) -> None:
    assert dense_ranking(history_state, vectors, small, np.array([], int), "test").shape == (0, 20)


def test_the_quality_is_that_of_the_ranking(small: Dataset, vectors: ItemVectors, history_state: HistoryState) -> None:
    users = np.array([0, 1, 2, 4])
    ranking = dense_ranking(history_state, vectors, small, users, "valid")
    metrics = ranking_metrics(ranking, users, small.targets("valid"), (20,))
    quality = dense_quality(history_state, vectors, small)
    assert quality.shape == (4,)
    assert quality.mean() == pytest.approx(metrics["recall@20"] + metrics["ndcg@20"])
    assert ((quality >= 0) & (quality <= 2)).all()
    assert 0 < quality.mean() < 2


def test_keys_that_point_to_the_targets_have_the_best_quality(
    make_dataset: MakeDataset, history_state: HistoryState
) -> None:
    """Three tastes along three axes, two items each: whoever has one of a taste has the other as target."""
    axes = torch.eye(3).repeat(10, 1)
    made = make_dataset([[0], [1], [2]], [[3], [4], [5]], [[]] * 3, num_items=30)
    far = axes.clone()
    far[6:] *= -1  # the other items of each axis point away
    assert dense_quality(history_state, ItemVectors(far, axes), made) == pytest.approx(2.0)
    assert dense_quality(history_state, ItemVectors(-far, axes), made) == pytest.approx(0.0)


def test_the_first_unseen_by_eye(make_histories: MakeHistories) -> None:
    order = np.array([[3, 1, 2, 0], [3, 1, 2, 0], [0, 1, 2, 3]])
    histories = make_histories([[3, 2], [], [0, 1, 2]])
    assert first_unseen(order, histories, np.array([0, 1, 2]), 2).tolist() == [[1, 0], [3, 1], [3, -1]]


def test_the_search_sees_what_the_decoder_serves(dataset: Dataset, run: RunFolder) -> None:
    """The run's catalogue through the search, and its generator's own state and keys one item at a time."""
    generator, catalogue, users = load_generator(run), load_catalogue(run), np.array([0, 7, 31])
    found = dense_ranking(catalogue.history_state, catalogue.vectors, dataset, users, "test")
    for row, user in enumerate(users):
        history = dataset.histories("test").of(int(user))
        newest_first = torch.from_numpy(history[::-1].copy())[None]
        with torch.no_grad():
            state = generator.encode(catalogue.items[newest_first], newest_first >= 0).state[0]
            keys = generator.item_keys(catalogue.items)
            scores = {item: float(keys[item] @ state) for item in range(dataset.num_items)}
        expected = sorted(set(scores) - set(history.tolist()), key=lambda item: -scores[item])[:20]
        assert [scores[item] for item in found[row]] == pytest.approx([scores[item] for item in expected], abs=1e-5)
        assert len(set(found[row].tolist())) == 20
