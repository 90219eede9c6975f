"""The teachers' distribution over items, and as token conditionals along the trie, against sums over leaves."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.trie_softmax import child_log_probs
from offline.baselines.peer import Peer
from offline.baselines.transitions import Transitions
from offline.co_teacher import CoTeacher
from offline.dataset import Dataset, Histories
from offline.teacher import Teacher
from offline.trie_tensors import trie_levels
from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie
from service.decoder import pad_histories

NUM_USERS = 3
SPACE = RecIdSpace(codebook_sizes=(3, 4), popularity_size=3)


def unit(rows: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed)), dim=1)


def random_trie(num_items: int, seed: int) -> Trie:
    packed = np.random.default_rng(seed).choice(36, num_items, replace=False)
    return build_trie(np.stack([packed // 12, packed // 3 % 4, packed % 3], axis=1).astype(np.int32), SPACE)


def make_teacher(trie: Trie, temperature: float = 0.5, **beside: Any) -> Teacher:
    return Teacher(unit(trie.num_items, 2), trie, temperature, **beside)


def states(count: int = NUM_USERS) -> Tensor:
    return unit(count, 1)


@settings(deadline=None, max_examples=40)
@given(num_items=st.integers(1, 36), seed=st.integers(0, 999))
def test_child_probabilities_are_sums_over_the_leaves_below(num_items: int, seed: int) -> None:
    trie = random_trie(num_items, seed)
    mass = torch.rand(NUM_USERS, num_items, generator=torch.Generator().manual_seed(seed)) + 0.01
    mass /= mass.sum(1, keepdim=True)
    teacher = make_teacher(trie)
    running = teacher.draw(mass, torch.rand(len(mass), 1).double()).running
    rec_ids, by_leaf = trie.rec_ids(), mass[:, torch.from_numpy(trie.leaf_to_row).long()].double()
    for depth, level in enumerate(trie_levels(trie)):
        prefixes = np.unique(rec_ids[:, :depth], axis=0)  # sorted, so a prefix's place is its node number
        nodes = torch.arange(len(prefixes)).expand(NUM_USERS, -1)
        children = child_log_probs(torch.zeros(*nodes.shape, SPACE.vocabulary_sizes[depth]), nodes, level)
        found = teacher.child_probabilities(depth, running, children)
        expected = torch.zeros(found.shape, dtype=torch.double)
        for node, prefix in enumerate(prefixes):
            below = (rec_ids[:, :depth] == prefix).all(axis=1)
            for place, token in enumerate(np.unique(rec_ids[below, depth])):
                wanted = torch.from_numpy(below & (rec_ids[:, depth] == token))
                share = by_leaf[:, wanted].sum(1) / by_leaf[:, torch.from_numpy(below)].sum(1)
                expected[:, node, place] = share
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)
        assert (found[~children.exists] == 0).all()


def test_the_conditionals_along_a_path_multiply_to_the_items_probability() -> None:
    trie = random_trie(20, 5)
    teacher = make_teacher(trie)
    probabilities = teacher.probabilities(states(), torch.full((NUM_USERS, 1), -1))
    running = teacher.draw(probabilities, torch.rand(NUM_USERS, 1).double()).running
    rec_ids, product = trie.rec_ids(), torch.ones(NUM_USERS, trie.num_items)
    for depth, level in enumerate(trie_levels(trie)):
        _, nodes = np.unique(rec_ids[:, :depth], axis=0, return_inverse=True)
        on_path = torch.from_numpy(nodes.reshape(-1)).expand(NUM_USERS, -1)
        children = child_log_probs(torch.zeros(*on_path.shape, SPACE.vocabulary_sizes[depth]), on_path, level)
        taken = (level.tokens[children.nodes] == torch.from_numpy(rec_ids[:, depth]).view(1, -1, 1)) & children.exists
        product *= (teacher.child_probabilities(depth, running, children) * taken).sum(-1)
    torch.testing.assert_close(product, probabilities[:, torch.from_numpy(trie.leaf_to_row).long()])


def test_probabilities_are_a_softmax_of_the_cosine_without_the_history() -> None:
    trie = random_trie(9, 3)
    history = torch.tensor([[4, 0, -1], [-1, -1, -1]])
    found = make_teacher(trie, temperature=0.25).probabilities(states()[[2, 0]], history)
    logits = (states()[[2, 0]] @ unit(9, 2).T / 0.25).exp()
    logits[0, [4, 0]] = 0
    torch.testing.assert_close(found, logits / logits.sum(1, keepdim=True))
    assert found[0, 0] == found[0, 4] == 0


def test_targets_are_leaf_positions_drawn_by_probability() -> None:
    trie = random_trie(12, 8)
    probabilities = torch.zeros(2, 12)
    probabilities[0, [3, 5]], probabilities[1, [7, 8]] = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    evenly = torch.linspace(0, 1, 401, dtype=torch.double)[:-1].expand(2, -1)  # the ends of [0, 1) included
    drawn = make_teacher(trie).draw(probabilities, evenly)
    rows = trie.leaf_to_row[drawn.leaves.numpy()]
    assert [set(row) for row in rows.tolist()] == [{3, 5}, {7, 8}]
    assert (rows[0] == 3).mean() == pytest.approx(0.5, abs=0.01)
    assert (rows[1] == 7).mean() == pytest.approx(0.25, abs=0.01)
    assert drawn.running.shape == (2, 13)
    assert drawn.running[:, -1].tolist() == pytest.approx([1.0, 1.0])


def test_a_node_without_any_mass_gives_zeros_and_no_nan() -> None:
    """A user who has everything below a node."""
    trie = random_trie(36, 0)
    mass = torch.zeros(1, 36)
    mass[0, trie.leaf_to_row[0]] = 1.0
    teacher = make_teacher(trie)
    level = trie_levels(trie)[1]
    children = child_log_probs(torch.zeros(1, 3, 4), torch.arange(3).unsqueeze(0), level)
    found = teacher.child_probabilities(1, teacher.draw(mass, torch.rand(len(mass), 1).double()).running, children)
    assert found[0].sum(1).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_history_of_the_whole_catalogue_leaves_a_uniform_distribution(share: float) -> None:
    beside = given_by(Followers(4, {0: {1: 1.0, 2: 3.0}}))
    teacher = make_teacher(random_trie(4, 0), beside=beside, share=share)
    found = teacher.probabilities(states(2), torch.tensor([[0, 1, 2, 3], [0, 1, 2, -1]]))
    np.testing.assert_allclose(found.numpy(), [[0.25] * 4, [0, 0, 0, 1]])
    assert teacher.draw(found, torch.rand(2, 6).double()).leaves.shape == (2, 6)


class Followers(Transitions):
    """Transitions that are given: item to what follows it; every item of a history counts the same."""

    def __init__(self, num_items: int, weights: dict[int, dict[int, float]]) -> None:
        self.num_items = num_items
        self.given = weights
        self.asked: list[list[int]] = []

    def scores(self, histories: Histories, users: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(users), self.num_items), np.float32)
        for row, user in enumerate(users):
            self.asked.append(histories.of(int(user)).tolist())
            for item in histories.of(int(user)):
                for other, weight in self.given.get(int(item), {}).items():
                    scores[row, other] += weight
        return scores


def given_by(peer: Peer, power: float = 1.0) -> CoTeacher:
    return CoTeacher("given", peer, power)


FOLLOWERS = {5: {2: 3.0, 7: 1.0, 6: 4.0}, 6: {5: 9.0}}
HISTORY = torch.tensor([[6, 5, -1], [4, -1, -1], [-1, -1, -1], [6, -1, -1]])


def test_transitions_take_their_share_where_they_know_anything() -> None:
    """Of history 5, 6: 2 follows with 3 and 7 with 1, what leads back into the history does not count."""
    transitions, trie = Followers(12, FOLLOWERS), random_trie(12, 3)
    found = make_teacher(trie, beside=given_by(transitions), share=0.6).probabilities(states(4), HISTORY)
    alone = make_teacher(trie).probabilities(states(4), HISTORY)
    followers = torch.zeros(12)
    followers[[2, 7]] = torch.tensor([0.75, 0.25])
    torch.testing.assert_close(found[0], 0.4 * alone[0] + 0.6 * followers)
    assert found[0, 6] == found[0, 5] == found[1, 4] == 0
    # Nothing follows 4 or an empty history: the graph encoder alone.
    torch.testing.assert_close(found[1:3], alone[1:3])
    torch.testing.assert_close(found[3], 0.4 * alone[3] + 0.6 * torch.eye(12)[5])
    torch.testing.assert_close(found.sum(1), torch.ones(4))
    assert transitions.asked == [[5, 6], [4], [], [6]]  # oldest first


def test_transitions_without_weight_are_not_asked() -> None:
    transitions, trie = Followers(12, FOLLOWERS), random_trie(12, 3)
    found = make_teacher(trie, beside=given_by(transitions), share=0.0).probabilities(states(4), HISTORY)
    assert torch.equal(found, make_teacher(trie).probabilities(states(4), HISTORY))
    assert transitions.asked == []


def test_what_follows_only_the_history_itself_is_nothing() -> None:
    transitions, trie = Followers(12, {6: {5: 2.0}, 5: {6: 1.0}}), random_trie(12, 3)
    history = torch.tensor([[5, 6]])
    found = make_teacher(trie, beside=given_by(transitions), share=1.0).probabilities(states(1), history)
    torch.testing.assert_close(found, make_teacher(trie).probabilities(states(1), history))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_real_transition_counts_by_loops(make_dataset: Callable[..., Dataset], seed: int, share: float) -> None:
    random, trie = np.random.default_rng(seed), random_trie(12, seed)
    lists = [random.choice(12, random.integers(1, 8), replace=False).tolist() for _ in range(6)]
    dataset = make_dataset(lists, [[]] * 6, [[]] * 6, num_items=12, has_time=True)
    transitions = Transitions()
    transitions.fit(dataset, seed=0)
    teacher = make_teacher(trie, beside=given_by(transitions), share=share)
    history = torch.from_numpy(pad_histories([np.array(items) for items in lists], 8))
    found, alone = teacher.probabilities(states(6), history), make_teacher(trie).probabilities(states(6), history)
    scores = transitions.scores(dataset.histories("valid"), np.arange(6))
    for row, items in enumerate(lists):
        left = [0.0 if item in items else float(scores[row, item]) for item in range(12)]
        part = share if sum(left) > 0 else 0.0
        expected = [(1 - part) * float(alone[row, item]) + part * left[item] / (sum(left) or 1) for item in range(12)]
        assert found[row].tolist() == pytest.approx(expected, abs=1e-5)
        assert sum(expected) == pytest.approx(1, abs=1e-5)


def test_a_power_gives_more_to_the_best_and_nothing_to_what_is_below_zero() -> None:
    peer, trie = Followers(12, {6: {2: 3.0, 7: 1.0, 9: -5.0}}), random_trie(12, 3)
    found = make_teacher(trie, beside=given_by(peer, 2.0), share=1.0).probabilities(states(1), torch.tensor([[6]]))
    expected = torch.zeros(1, 12)
    expected[0, [2, 7]] = torch.tensor([0.9, 0.1])
    torch.testing.assert_close(found, expected)
