"""Sampled neighbours: with enough of them exactly the whole graph, with few of them right on average."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model import sampled_graph as module
from model.graph_encoder import InteractionGraph, ItemVectors, TransitionGraph
from model.sampled_graph import GraphInColumns, SampledGraph, sample, uniform
from tests.model.graphs import interactions, sparse, transitions

NUM_ITEMS = 5
ROWS = torch.tensor([3, 0, 2, 4, 1])  # nobody has item 4
GRAPHS = pytest.mark.parametrize("make_graph", [interactions, transitions])
MakeGraph = Callable[[], InteractionGraph | TransitionGraph]


def start(seed: int = 0) -> ItemVectors:
    random = torch.Generator().manual_seed(seed)
    return ItemVectors(*(torch.randn(NUM_ITEMS, 3, generator=random, requires_grad=True) for _ in range(2)))


@GRAPHS
@pytest.mark.parametrize("num_layers", [0, 1, 2, 3, 4])
def test_all_neighbours_are_the_whole_graph(make_graph: MakeGraph, num_layers: int) -> None:
    """Vectors and gradients, at the rows that are asked for."""
    graph, whole, seen = make_graph(), start(), start()
    expected = graph.propagate(whole, num_layers)
    found = SampledGraph(graph, ROWS, 4, seed=7).propagate(seen, num_layers)
    weights = torch.randn(len(ROWS), 3)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs[ROWS])
        (mine * weights).sum().backward(retain_graph=True)
        (theirs[ROWS] * weights).sum().backward(retain_graph=True)
    for mine, theirs in zip(seen, whole, strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad)


@GRAPHS
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_few_neighbours_are_right_on_average(make_graph: MakeGraph, num_layers: int) -> None:
    graph, given, num_draws = make_graph(), start(), 400
    with torch.no_grad():
        drawn = [SampledGraph(graph, ROWS, 1, seed).propagate(given, num_layers) for seed in range(num_draws)]
        expected = graph.propagate(given, num_layers)
    for name in ("keys", "contexts"):
        each = torch.stack([getattr(vectors, name) for vectors in drawn])
        error = (each.mean(0) - getattr(expected, name)[ROWS]).abs()
        assert (error <= 5 * each.std(0) / num_draws**0.5 + 1e-5).all()  # five deviations of a mean
    assert torch.stack([vectors.keys for vectors in drawn]).std(0).max() > 0.1


MATRIX = sparse(torch.tensor([[0, 2, 0, 3, 4, 5, 6], [0] * 7, [7, 0, 0, 0, 0, 0, 0]]).float())


@pytest.mark.parametrize("fan_out", [1, 2, 3, 4, 5, 9])
def test_every_neighbour_is_as_likely_as_the_others(fan_out: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over an even grid of starts: row 0 has five neighbours, row 1 none, row 2 one."""
    counts, grid = torch.zeros(7), (torch.arange(1000).double() + 0.5) / 1000
    for place in grid:
        monkeypatch.setattr(module, "uniform", lambda rows, _seed, at=place: torch.full(rows.shape, float(at)).double())
        drawn = sample(MATRIX, torch.tensor([2, 0, 1]), fan_out, seed=0)
        assert drawn.starts.tolist() == [0, 1, 1 + min(fan_out, 5)]
        assert drawn.columns[0] == 0
        assert drawn.weights[0] == 7
        columns = drawn.columns[1:]
        assert len(columns.unique()) == len(columns) == min(fan_out, 5)
        torch.testing.assert_close(drawn.weights[1:], MATRIX.to_dense()[0, columns] * max(1, 5 / fan_out))
        counts[columns] += 1
    torch.testing.assert_close(
        counts / 1000, torch.tensor([0.0, 1, 0, 1, 1, 1, 1]) * min(1, fan_out / 5), atol=2e-3, rtol=0
    )


def test_sums_by_hand() -> None:
    vectors = torch.arange(14.0).view(7, 2)
    drawn = sample(MATRIX, torch.tensor([1, 2, 0]), 9, seed=0)
    torch.testing.assert_close(drawn.sums(vectors), MATRIX.to_dense()[[1, 2, 0]] @ vectors)
    nobody = sample(MATRIX, torch.tensor([1, 1]), 3, seed=0)
    assert nobody.sums(vectors[:0]).tolist() == [[0.0, 0.0]] * 2


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**40), rows=st.lists(st.integers(0, 10**9), min_size=1, max_size=9, unique=True))
def test_a_row_is_drawn_for_by_itself(seed: int, rows: list[int]) -> None:
    """In whatever company, so that the parts of a batch see one sample."""
    together = uniform(torch.tensor(rows), seed)
    assert ((together >= 0) & (together < 1)).all()
    assert together.tolist() == [uniform(torch.tensor([row]), seed).item() for row in rows]
    assert uniform(torch.tensor(rows), seed + 1).tolist() != together.tolist()


def test_starts_are_spread_evenly_over_rows_and_seeds() -> None:
    over_rows = uniform(torch.arange(20_000), 3)
    over_seeds = torch.cat([uniform(torch.tensor([5]), seed) for seed in range(2000)])
    for numbers, tolerance in ((over_rows, 0.01), (over_seeds, 0.04)):
        shares = torch.histc(numbers.float(), bins=10, min=0, max=1) / len(numbers)
        torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=tolerance, rtol=0)
    assert torch.corrcoef(torch.stack([over_rows[1:], over_rows[:-1]]))[0, 1].abs() < 0.03


@GRAPHS
@pytest.mark.parametrize("num_columns", [1, 2, 3, 9])
def test_a_few_columns_at_a_time_are_the_same(make_graph: MakeGraph, num_columns: int) -> None:
    found = GraphInColumns(make_graph(), num_columns).propagate(start(), 2)
    for mine, theirs in zip(found, make_graph().propagate(start(), 2), strict=True):
        torch.testing.assert_close(mine, theirs)
        assert not mine.requires_grad


def degrees(matrix: Tensor) -> Tensor:
    return matrix.crow_indices().diff()


def test_what_is_kept_follows_the_rows_and_not_the_graph() -> None:
    """A thousand items that everybody has: two rows reach at most 2 · 3 users and 2 · 3 · 3 items."""
    everybody = sparse(torch.ones(1000, 1000))
    graph = InteractionGraph(everybody, everybody, torch.ones(1000, 1))
    samples = SampledGraph(graph, torch.tensor([7, 8]), 3, seed=1)._samples(graph.to_items, graph.to_users, 2)
    assert [len(drawn.columns) for drawn in samples] == [6, 3 * len(samples[0].columns.unique())]
    assert degrees(everybody).tolist() == [1000] * 1000
