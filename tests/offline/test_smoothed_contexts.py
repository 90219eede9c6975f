"""Contexts smoothed with those of an item's neighbours: who is near, and who can be anybody's neighbour."""

import pytest
import torch
import torch.nn.functional as F

from offline import neighbour_contexts
from offline import train_graph_encoder as module
from offline.train_graph_encoder import smoothed_contexts
from tests.offline.slow_smoothing import slow_smoothed


@pytest.mark.parametrize("num_known", [0, 1, 4, 17, 50])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_contexts_are_smoothed_with_those_of_known_neighbours(
    num_known: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbour_contexts, "_BLOCK_SCORES", 100)  # a few items at a time
    torch.manual_seed(num_known)
    keys, contexts = F.normalize(torch.randn(50, 6), dim=1), torch.randn(50, 6)
    known, before = torch.randperm(50) < num_known, contexts.clone()
    found = smoothed_contexts(keys, contexts, known, share)
    for item in range(50):
        assert torch.allclose(found[item], slow_smoothed(keys, contexts, known.tolist(), share, item), atol=1e-5)
    assert torch.equal(contexts, before)


def test_a_single_known_item_is_the_neighbour_of_all() -> None:
    keys, contexts = torch.ones(2500, 1), torch.randn(2500, 1)
    known = torch.arange(2500) == 7
    assert torch.equal(smoothed_contexts(keys, contexts, known, 0.2), contexts[7].expand(2500, -1))


@pytest.mark.parametrize(("most", "every"), [(7, 3), (10, 2), (19, 2), (20, 1), (99, 1)])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_of_many_known_items_a_sample_can_be_neighbours(
    most: int, every: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is in the sample is still not its own neighbour."""
    monkeypatch.setattr(module, "MOST_NEIGHBOURS", most)
    torch.manual_seed(0)
    keys, contexts, known = F.normalize(torch.randn(30, 4), dim=1), torch.randn(30, 4), torch.arange(30) % 3 > 0
    near = [item for item in range(30) if item % 3][::every]
    found = smoothed_contexts(keys, contexts, known, share)
    sampled = [item in near for item in range(30)]
    for item in range(30):
        mean = slow_smoothed(keys, contexts, sampled, 1.0, item)
        own = share if known[item] else 1.0
        assert torch.allclose(found[item], (1 - own) * contexts[item] + own * mean, atol=1e-5)


def test_without_smoothing_known_items_keep_their_contexts() -> None:
    contexts, known = torch.randn(5, 3), torch.tensor([True, True, True, True, False])
    found = smoothed_contexts(F.normalize(torch.randn(5, 3), dim=1), contexts, known, 0.0)
    assert torch.equal(found[known], contexts[known])
