"""Both graphs by eye on a few users, and by loops on any."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.graph_encoder import InteractionGraph, TransitionGraph
from offline.dataset import Dataset
from offline.graph_data import BACKWARD_WEIGHT, MAX_STEP, STEP_DECAY, build_graph, interaction_graph, transition_graph
from tests.offline.conftest import dataset_of

MakeDataset = Callable[..., Dataset]
NUM_ITEMS = 6
lists_of_items = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=6, unique=True), min_size=1, max_size=5)


def dataset(train: list[list[int]], *, has_time: bool) -> Dataset:
    return dataset_of(train, [[]] * len(train), [[]] * len(train), num_items=NUM_ITEMS, has_time=has_time)


def test_order_decides_which_graph_is_built() -> None:
    assert isinstance(build_graph(dataset([[0, 1]], has_time=True)), TransitionGraph)
    assert isinstance(build_graph(dataset([[0, 1]], has_time=False)), InteractionGraph)


def test_the_interaction_graph_by_eye() -> None:
    """User 0 has the items 0 and 1 (one of them twice), user 1 has item 1."""
    graph = interaction_graph(dataset([[0, 1, 0], [1]], has_time=False))
    expected = torch.zeros(2, NUM_ITEMS)
    expected[0, 0], expected[0, 1], expected[1, 1] = 1 / math.sqrt(2), 1 / math.sqrt(2 * 2), 1 / math.sqrt(2)
    torch.testing.assert_close(graph.to_users.to_dense(), expected)
    torch.testing.assert_close(graph.to_items.to_dense(), expected.T)
    torch.testing.assert_close(graph.item_scale.flatten(), torch.tensor([1, 1 / math.sqrt(2), 1, 1, 1, 1]))


def test_the_transition_graph_by_eye() -> None:
    """User 0 went from 0 to 1 to 2, user 1 from 0 to 1: forward 0-1 twice, 1-2 once, 0-2 at two places' distance."""
    graph = transition_graph(dataset([[0, 1, 2], [0, 1]], has_time=True))
    counts = {(0, 1): 2.0, (1, 2): 1.0, (0, 2): 0.8, (1, 0): 0.8, (2, 1): 0.4, (2, 0): 0.32}
    to_earlier = graph.to_earlier.to_dense()
    row_sums, column_sums = {0: 2.8, 1: 1.8, 2: 0.72}, {0: 1.12, 1: 2.4, 2: 1.8}
    for (item, other), weight in counts.items():
        expected = weight / math.sqrt(row_sums[item] * column_sums[other])
        assert to_earlier[item, other].item() == pytest.approx(expected, rel=1e-6), (item, other)
    assert (to_earlier > 0).sum() == len(counts)
    torch.testing.assert_close(graph.to_later.to_dense(), to_earlier.T)


def test_items_too_far_apart_are_no_transition() -> None:
    to_earlier = transition_graph(dataset([[0, 1, 2, 3, 4]], has_time=True)).to_earlier.to_dense()
    assert to_earlier[0, 3] > 0
    assert to_earlier[0, 4] == to_earlier[4, 0] == 0


def slow_transitions(train: list[list[int]]) -> Tensor:
    weights: Counter[tuple[int, int]] = Counter()
    for items in train:
        for place, item in enumerate(items):
            for step in range(1, MAX_STEP + 1):
                if place + step < len(items):
                    weights[item, items[place + step]] += STEP_DECAY ** (step - 1)
                    weights[items[place + step], item] += BACKWARD_WEIGHT * STEP_DECAY ** (step - 1)
    dense = torch.zeros(NUM_ITEMS, NUM_ITEMS, dtype=torch.double)
    for (item, other), weight in weights.items():
        row = sum(value for (one, _), value in weights.items() if one == item)
        column = sum(value for (_, one), value in weights.items() if one == other)
        dense[item, other] = weight / math.sqrt(row * column)
    return dense.float()


@settings(deadline=None, max_examples=60)
@given(train=lists_of_items)
def test_transitions_by_loops(train: list[list[int]]) -> None:
    """One user's sequence never runs on into the next one's; users of a single item, or of none, have no transition."""
    graph = transition_graph(dataset(train, has_time=True))
    torch.testing.assert_close(graph.to_earlier.to_dense(), slow_transitions(train), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(graph.to_later.to_dense(), slow_transitions(train).T, atol=1e-6, rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(train=lists_of_items)
def test_interactions_by_loops(train: list[list[int]]) -> None:
    graph = interaction_graph(dataset(train, has_time=False))
    degrees = np.bincount([item for items in train for item in items], minlength=NUM_ITEMS)
    expected = torch.zeros(len(train), NUM_ITEMS)
    for user, items in enumerate(train):
        for item in items:
            expected[user, item] = 1 / math.sqrt(len(items) * degrees[item])
    torch.testing.assert_close(graph.to_users.to_dense(), expected)
    torch.testing.assert_close(graph.to_items.to_dense(), expected.T)


@pytest.mark.parametrize("has_time", [False, True])
def test_only_training_interactions_make_a_graph(make_dataset: MakeDataset, has_time: bool) -> None:
    alone = make_dataset([[0, 1], [2, 1]], [[], []], [[], []], num_items=NUM_ITEMS, has_time=has_time)
    held_out = make_dataset([[0, 1], [2, 1]], [[3], [4]], [[5], [5]], num_items=NUM_ITEMS, has_time=has_time)
    for one, other in zip(build_graph(alone), build_graph(held_out), strict=True):
        torch.testing.assert_close(one.to_dense(), other.to_dense())
