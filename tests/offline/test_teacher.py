"""The graph encoder's distribution over items, as token conditionals along the trie, against sums over leaves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.trie_softmax import child_log_probs
from offline.teacher import Teacher
from offline.trie_tensors import trie_levels
from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie

NUM_USERS = 3
SPACE = RecIdSpace(codebook_sizes=(3, 4), popularity_size=3)


def unit(rows: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed)), dim=1)


def random_trie(num_items: int, seed: int) -> Trie:
    packed = np.random.default_rng(seed).choice(36, num_items, replace=False)
    return build_trie(np.stack([packed // 12, packed // 3 % 4, packed % 3], axis=1).astype(np.int32), SPACE)


def make_teacher(trie: Trie, temperature: float = 0.5) -> Teacher:
    return Teacher(unit(NUM_USERS, 1), unit(trie.num_items, 2), trie, temperature)


@settings(deadline=None, max_examples=40)
@given(num_items=st.integers(1, 36), seed=st.integers(0, 999))
def test_child_probabilities_are_sums_over_the_leaves_below(num_items: int, seed: int) -> None:
    trie = random_trie(num_items, seed)
    mass = torch.rand(NUM_USERS, num_items, generator=torch.Generator().manual_seed(seed)) + 0.01
    mass /= mass.sum(1, keepdim=True)
    teacher = make_teacher(trie)
    running = teacher.draw(mass, 1).running
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
    teacher, users = make_teacher(trie), torch.arange(NUM_USERS)
    probabilities = teacher.probabilities(users, torch.full((NUM_USERS, 1), -1))
    running = teacher.draw(probabilities, 1).running
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
    found = make_teacher(trie, temperature=0.25).probabilities(torch.tensor([2, 0]), history)
    logits = (unit(NUM_USERS, 1)[[2, 0]] @ unit(9, 2).T / 0.25).exp()
    logits[0, [4, 0]] = 0
    torch.testing.assert_close(found, logits / logits.sum(1, keepdim=True))
    assert found[0, 0] == found[0, 4] == 0


def test_targets_are_leaf_positions_drawn_by_probability() -> None:
    trie = random_trie(12, 8)
    probabilities = torch.zeros(2, 12)
    probabilities[0, [3, 5]], probabilities[1, [7, 8]] = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    torch.manual_seed(0)
    drawn = make_teacher(trie).draw(probabilities, 400)  # more than there are items with any probability
    rows = trie.leaf_to_row[drawn.leaves.numpy()]
    assert [set(row) for row in rows.tolist()] == [{3, 5}, {7, 8}]
    assert (rows[0] == 3).mean() == pytest.approx(0.5, abs=0.1)
    assert (rows[1] == 7).mean() == pytest.approx(0.25, abs=0.1)
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
    found = teacher.child_probabilities(1, teacher.draw(mass, 1).running, children)
    assert found[0].sum(1).tolist() == [1.0, 0.0, 0.0]


def test_a_history_of_the_whole_catalogue_leaves_a_uniform_distribution() -> None:
    teacher = make_teacher(random_trie(4, 0))
    found = teacher.probabilities(torch.tensor([0, 1]), torch.tensor([[0, 1, 2, 3], [0, 1, 2, -1]]))
    np.testing.assert_allclose(found.numpy(), [[0.25] * 4, [0, 0, 0, 1]])
    assert teacher.draw(found, 6).leaves.shape == (2, 6)
