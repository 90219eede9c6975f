"""The history state: a weighted sum by loops, empty histories, recency; sets and prefixes in training are the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.collaborative import prefix_states, set_states
from model.history_state import HistoryState

DIM, MAX_HISTORY, NUM_ITEMS = 3, 5, 9


def contexts() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(NUM_ITEMS, DIM)


def state_of(recency: list[float]) -> HistoryState:
    state = HistoryState(DIM, MAX_HISTORY)
    state.fit(torch.tensor(recency), torch.tensor([0.0, 3.0, 4.0]))
    return state


def serve(state: HistoryState, newest_first: list[int], slots: int = MAX_HISTORY) -> Tensor:
    """One history as the decoder has it: item 8 stands in the empty slots, and must not count."""
    filled = torch.tensor([[1.0] * len(newest_first) + [0.0] * (slots - len(newest_first))])
    padded = torch.tensor([newest_first + [8] * (slots - len(newest_first))], dtype=torch.long)
    return state(contexts()[padded], filled)[0]


@pytest.mark.parametrize("history", [[3], [0, 1, 2], [7, 2, 5, 1, 0]])
def test_a_weighted_sum_by_loops(history: list[int]) -> None:
    recency = [1.0, 0.5, 0.25, 0.2, 0.1]
    total = torch.zeros(DIM)
    for age, item in enumerate(history):
        total += recency[age] * contexts()[item]
    assert torch.allclose(serve(state_of(recency), history), total / total.norm(), atol=1e-6)


def test_slots_beyond_the_last_weight_get_the_last_weight() -> None:
    assert state_of([1.0, 0.5]).recency.tolist() == [1.0, 0.5, 0.5, 0.5, 0.5]
    assert state_of([0.3]).recency.tolist() == pytest.approx([0.3] * MAX_HISTORY)


def test_without_recency_a_history_is_a_set() -> None:
    state = state_of([1.0])
    assert torch.allclose(serve(state, [4, 1, 6]), serve(state, [6, 4, 1]), atol=1e-6)
    ordered = state_of([1.0, 0.5, 0.2])
    assert (serve(ordered, [4, 1, 6]) - serve(ordered, [6, 4, 1])).abs().max() > 0.05


@pytest.mark.parametrize("slots", [0, 1, MAX_HISTORY])
def test_an_empty_history_is_what_it_was_fitted_to_at_unit_length(slots: int) -> None:
    assert torch.allclose(serve(state_of([1.0]), [], slots), torch.tensor([0.0, 0.6, 0.8]))
    assert not serve(HistoryState(DIM, MAX_HISTORY), [], slots).any()  # not fitted: nothing, and finite


def test_empty_slots_change_nothing() -> None:
    state = state_of([1.0, 0.5])
    assert torch.allclose(serve(state, [4, 1], slots=2), serve(state, [4, 1], slots=5))


def test_every_row_of_a_batch_is_its_own() -> None:
    state, rows = state_of([1.0, 0.5]), [[4, 1], [], [2, 3]]
    filled = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    found = state(contexts()[torch.tensor([[4, 1], [8, 8], [2, 3]])], filled)
    for row, history in enumerate(rows):
        assert torch.allclose(found[row], serve(state, history), atol=1e-6)


def test_a_longer_history_than_the_maximum_is_refused_and_never_cut_in_silence() -> None:
    """Whoever calls keeps the newest (`service.decoder.pad_histories`); the state has no weight for more."""
    with pytest.raises(RuntimeError):
        serve(state_of([1.0]), [0, 1, 2, 3, 4, 5], slots=6)


def test_what_was_fitted_is_saved_and_never_trained() -> None:
    fitted, again = state_of([1.0, 0.5]), HistoryState(DIM, MAX_HISTORY)
    again.load_state_dict(fitted.state_dict())
    assert torch.equal(serve(fitted, [1, 2]), serve(again, [1, 2]))
    assert not list(fitted.parameters())


def test_the_states_of_sets_are_those_of_serving() -> None:
    """Sets of three, one and two items, one after the other."""
    found = set_states(contexts(), torch.tensor([4, 1, 6, 3, 0, 7]), torch.tensor([0, 3, 4]))
    for row, items in enumerate([[4, 1, 6], [3], [0, 7]]):
        assert torch.allclose(found[row], serve(state_of([1.0]), items), atol=1e-6)


SEQUENCES = torch.tensor([[4, 1, 6, 3], [0, 7, 5, 2]])  # oldest first
RECENCY = [1.0, 0.5, 0.25, 0.2, 0.1]


def test_the_states_of_prefixes_are_those_of_serving() -> None:
    found = prefix_states(contexts(), SEQUENCES, torch.tensor(RECENCY).log(), dropout=0.0)
    assert found.shape == (2, 4, DIM)
    for row, sequence in enumerate(SEQUENCES.tolist()):
        for position in range(4):
            newest_first = sequence[position::-1]
            assert newest_first[0] == sequence[position]
            expected = serve(state_of(RECENCY), newest_first)
            assert torch.allclose(found[row, position], expected, atol=1e-6), (row, position)


def test_the_states_of_prefixes_by_loops() -> None:
    found = prefix_states(contexts(), SEQUENCES, torch.tensor(RECENCY).log(), dropout=0.0)
    for row in range(2):
        for position in range(4):
            total = torch.zeros(DIM)
            for earlier in range(position + 1):
                total += RECENCY[position - earlier] * contexts()[SEQUENCES[row, earlier]]
            assert torch.allclose(found[row, position], F.normalize(total, dim=0), atol=1e-6)


def test_a_prefix_knows_nothing_of_what_comes_behind_it() -> None:
    other = SEQUENCES.clone()
    other[:, 2:] = 8
    one, two = (
        prefix_states(contexts(), items, torch.tensor(RECENCY).log(), dropout=0.0) for items in (SEQUENCES, other)
    )
    assert torch.equal(one[:, :2], two[:, :2])
    assert not torch.allclose(one[:, 2:], two[:, 2:], atol=1e-3)


def test_dropout_leaves_whole_items_out() -> None:
    """Three items along three axes: what is left out has nothing of its axis, what stays keeps its proportions."""
    torch.manual_seed(1)
    items = torch.arange(3).expand(3000, -1)
    found = prefix_states(torch.eye(3), items, torch.zeros(3), dropout=0.3)
    left = found[:, 2] > 0
    assert left.float().mean().item() == pytest.approx(0.7, abs=0.03)
    both = left[:, 0] & left[:, 1]
    assert torch.allclose(found[both, 2, 0], found[both, 2, 1])
    assert not found[~left.any(dim=1), 2].any()  # nothing left: no direction, and finite
    assert (found[:, 0, 1:] == 0).all()  # whatever is dropped, nothing comes from behind


def test_the_weights_of_recency_learn() -> None:
    log_recency = torch.tensor(RECENCY).log().requires_grad_()
    prefix_states(contexts(), SEQUENCES, log_recency, dropout=0.0)[..., 0].sum().backward()
    assert log_recency.grad is not None
    assert (log_recency.grad[:4].abs() > 1e-6).all()
    assert log_recency.grad[4] == 0  # no sequence is that long
