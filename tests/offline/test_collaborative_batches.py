"""Batches for the graph encoder: every user once a round, targets behind their prefix, what a sample stands for."""

from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.collaborative import bpr_loss, prefix_states, set_states, softmax_loss
from offline.collaborative_batches import CollaborativeBatches, SequenceBatch, SetBatch, among_its_items, part_of
from offline.dataset import Histories

MakeHistories = Callable[[Iterable[Iterable[int]]], Histories]
NUM_ITEMS = 30
lists_of_items = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=12, unique=True), min_size=1, max_size=8)


def batches(histories: Histories, *, ordered: bool, **changes: int) -> CollaborativeBatches:
    sizes = {"num_items": NUM_ITEMS, "batch_users": 3, "max_history": 5, "max_candidates": 100, "seed": 0} | changes
    return CollaborativeBatches(histories, ordered=ordered, **sizes)


def one_round(made: CollaborativeBatches) -> list[SetBatch | SequenceBatch]:
    return list(islice(made, made.per_round))


def sets_of(batch: SetBatch) -> list[list[int]]:
    return [part.tolist() for part in torch.tensor_split(batch.items, batch.starts[1:])]


@settings(deadline=None, max_examples=60)
@given(lists=lists_of_items, seed=st.integers(0, 9), max_candidates=st.sampled_from([1, 5, 100]))
def test_a_set_is_history_and_target_and_everybody_has_a_turn(
    make_histories: MakeHistories, lists: list[list[int]], seed: int, max_candidates: int
) -> None:
    made = batches(make_histories(lists), ordered=False, seed=seed, max_candidates=max_candidates)
    found: list[list[int]] = []
    for batch in one_round(made):
        assert isinstance(batch, SetBatch)
        assert len(batch.starts) <= 3
        targets: list[list[int]] = [[] for _ in batch.starts]
        for owner, place in zip(*(part.tolist() for part in batch.targets), strict=True):
            targets[owner].append(int(batch.candidates.rows[place]))
        assert targets == sets_of(batch)
        found += targets
    assert sorted(found) == sorted(items for items in lists if items)


@settings(deadline=None, max_examples=60)
@given(lists=lists_of_items, seed=st.integers(0, 9), max_candidates=st.sampled_from([1, 5, 100]))
def test_the_item_behind_a_prefix_is_its_target(
    make_histories: MakeHistories, lists: list[list[int]], seed: int, max_candidates: int
) -> None:
    """Every (prefix, next item) of the last six items of every sequence, once a round."""
    made = batches(make_histories(lists), ordered=True, seed=seed, max_candidates=max_candidates)
    found = []
    for batch in one_round(made):
        assert isinstance(batch, SequenceBatch)
        assert batch.items.shape[1] <= 5
        for number, place in zip(*(part.tolist() for part in batch.targets), strict=True):
            row, position = divmod(int(batch.prefixes[number]), batch.items.shape[1])
            found.append((batch.items[row, : position + 1].tolist(), int(batch.candidates.rows[place])))
    expected = []
    for items in (items[-6:] for items in lists):
        expected += [(items[:cut], items[cut]) for cut in range(1, len(items))]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("ordered", [False, True])
def test_rounds_differ_and_the_seed_decides(make_histories: MakeHistories, ordered: bool) -> None:
    histories = make_histories([[user, user + 10, user + 20] for user in range(9)])

    def firsts(seed: int) -> list[list[int]]:
        made = batches(histories, ordered=ordered, seed=seed)
        return [batch.items.flatten().tolist() for batch in islice(made, 2 * made.per_round)]

    drawn = firsts(1)
    assert drawn == firsts(1)
    assert drawn != firsts(2)
    assert drawn[:3] != drawn[3:]


@pytest.mark.parametrize(("ordered", "lists"), [(True, [[3], [], [4]]), (False, [[], []])])
def test_without_anything_to_learn_there_is_no_batch(
    make_histories: MakeHistories, ordered: bool, lists: list[list[int]]
) -> None:
    """A single item is a set of one, but nothing stands behind it in a sequence."""
    made = batches(make_histories(lists), ordered=ordered)
    assert made.per_round == 0
    assert next(iter(made), None) is None


def test_a_small_catalogue_is_compared_whole(make_histories: MakeHistories) -> None:
    for batch in one_round(batches(make_histories([[3, 1], [4, 2, 5]]), ordered=True, max_candidates=NUM_ITEMS)):
        assert batch.candidates.rows.tolist() == list(range(NUM_ITEMS))
        assert not batch.candidates.correction.any()


@pytest.mark.parametrize("ordered", [False, True])
def test_a_large_catalogue_is_sampled_and_never_listed(make_histories: MakeHistories, ordered: bool) -> None:
    """Ten million items: nothing of a batch may grow with the catalogue."""
    lists = [[9_999_999, 5, 7_000_000], [5, 123_456]]
    made = batches(make_histories(lists), ordered=ordered, num_items=10_000_000, max_candidates=50)
    (batch,) = one_round(made)
    rows, correction = batch.candidates
    wanted = sorted({item for items in lists for item in items[ordered:]})
    assert rows[: len(wanted)].tolist() == wanted
    assert len(rows) <= 50 + len(wanted)
    assert not set(rows[len(wanted) :].tolist()) & set(wanted)
    assert rows.max() < 10_000_000
    assert not correction[: len(wanted)].any()
    stands_for = (10_000_000 - len(wanted)) / (len(rows) - len(wanted))
    assert correction[len(wanted) :].exp().tolist() == pytest.approx([stands_for] * (len(rows) - len(wanted)), rel=1e-4)


def test_samples_differ_from_batch_to_batch(make_histories: MakeHistories) -> None:
    made = batches(make_histories([[1, 2]]), ordered=False, num_items=1000, max_candidates=20)
    one, other = (set(batch.candidates.rows[2:].tolist()) for batch in islice(made, 2))
    assert len(one & other) < 10


def test_a_batch_that_has_every_item_needs_no_sample(make_histories: MakeHistories) -> None:
    """More items than candidates, all of them targets: nothing is left to stand for anything."""
    made = batches(make_histories([range(NUM_ITEMS)]), ordered=False, max_candidates=5)
    candidates = next(iter(made)).candidates
    assert candidates.rows.tolist() == list(range(NUM_ITEMS))
    assert not candidates.correction.any()


def test_the_sampled_sum_is_right_on_average(make_histories: MakeHistories) -> None:
    """The sum under the logarithm of the softmax, over four thousand samples of eight of thirty items."""
    random = torch.Generator().manual_seed(0)
    weights = torch.randn(NUM_ITEMS, generator=random).exp()
    made = batches(make_histories([[4, 9]]), ordered=False, max_candidates=8)
    sums = [
        float((weights[batch.candidates.rows] * batch.candidates.correction.exp()).sum())
        for batch in islice(made, 4000)
    ]
    error = np.std(sums) / np.sqrt(len(sums))
    assert np.mean(sums) == pytest.approx(float(weights.sum()), abs=4 * error)
    assert error < 0.02 * float(weights.sum())


def test_the_loss_of_a_sample_approaches_the_loss_of_the_catalogue(make_histories: MakeHistories) -> None:
    """With many more draws than items, every item is drawn about equally often."""
    random = torch.Generator().manual_seed(1)
    keys = torch.nn.functional.normalize(torch.randn(2000, 4, generator=random), dim=1)
    states = torch.nn.functional.normalize(torch.randn(2, 4, generator=random), dim=1)
    histories = make_histories([[4, 1900], [77, 4]])
    found = []
    for max_candidates in (1999, 2000):
        batch = next(iter(batches(histories, ordered=False, num_items=2000, max_candidates=max_candidates)))
        rows, correction = batch.candidates
        found.append(softmax_loss(states, keys[rows], correction, batch.targets, 0.2).item())
    assert found[0] == pytest.approx(found[1], abs=0.05)
    assert found[0] != found[1]


@settings(deadline=None, max_examples=40)
@given(lists=lists_of_items, ordered=st.booleans(), num_parts=st.integers(1, 5))
def test_the_parts_of_a_batch_are_the_batch(
    make_histories: MakeHistories, lists: list[list[int]], ordered: bool, num_parts: int
) -> None:
    """Losses of the parts, weighted, add up to the loss of the batch; those without users weigh nothing."""
    torch.manual_seed(0)
    keys, contexts = (torch.nn.functional.normalize(torch.randn(NUM_ITEMS, 4), dim=1) for _ in range(2))
    for batch in one_round(batches(make_histories(lists), ordered=ordered, with_negatives=1)):
        whole = loss_of(batch, keys, contexts)
        parts = [part_of(batch, part, num_parts) for part in range(num_parts)]
        assert sum(part.weight for part in parts) == pytest.approx(1)
        for position in (0, 1):  # softmax and BPR
            total = sum(part.weight * loss_of(part.batch, keys, contexts)[position] for part in parts)
            assert float(total) == pytest.approx(float(whole[position]), rel=1e-4)


def loss_of(batch: SetBatch | SequenceBatch, keys: torch.Tensor, contexts: torch.Tensor) -> list[torch.Tensor]:
    if isinstance(batch, SetBatch):
        states = set_states(contexts, batch.items, batch.starts)
    else:
        states = prefix_states(contexts, batch.items, torch.zeros(9), 0.0).flatten(0, 1)[batch.prefixes]
    candidates = keys[batch.candidates.rows]
    assert batch.negatives is not None
    return [
        softmax_loss(states, candidates, batch.candidates.correction, batch.targets, 0.3),
        bpr_loss(states, candidates, batch.targets, batch.negatives, 0.3),
    ]


@pytest.mark.parametrize("ordered", [False, True])
def test_a_batch_among_its_own_items_is_the_same_batch(make_histories: MakeHistories, ordered: bool) -> None:
    histories = make_histories([[3, 9, 12], [25, 3], [12, 9, 1, 0]])
    batch = one_round(batches(histories, ordered=ordered, max_candidates=4))[0]
    renumbered, rows = among_its_items(batch)
    assert rows.tolist() == sorted({*batch.items.flatten().tolist(), *batch.candidates.rows.tolist()})
    assert torch.equal(rows[renumbered.items], batch.items)
    assert torch.equal(rows[renumbered.candidates.rows], batch.candidates.rows)
    assert len(rows) < NUM_ITEMS
