"""The collaborative losses by loops, and what a sample of the candidates stands for."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.collaborative import Targets, bpr_loss, softmax_loss

TARGETS = Targets(torch.tensor([0, 0, 1, 2]), torch.tensor([3, 0, 3, 5]))
"""Histories 0, 1, 2 go with candidates 3 and 0, with 3, and with 5."""


def unit(rows: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture
def states() -> Tensor:
    return unit(3, 0)


@pytest.fixture
def keys() -> Tensor:
    return unit(6, 1)


def slow_softmax(states: Tensor, keys: Tensor, correction: Tensor, temperature: float) -> float:
    total = 0.0
    for history, candidate in zip(*(part.tolist() for part in TARGETS), strict=True):
        weights = [
            float(states[history] @ key / temperature + raised) for key, raised in zip(keys, correction, strict=True)
        ]
        total -= weights[candidate] - torch.tensor(weights).logsumexp(0).item()
    return total / len(TARGETS.histories)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("correction", [torch.zeros(6), torch.tensor([0.0, 2.0, 1.0, 0.0, -0.5, 0.0])])
def test_the_softmax_loss_by_loops(states: Tensor, keys: Tensor, correction: Tensor, temperature: float) -> None:
    found = softmax_loss(states, keys, correction, TARGETS, temperature)
    assert found.item() == pytest.approx(slow_softmax(states, keys, correction, temperature), rel=1e-5)


def test_the_softmax_loss_by_eye() -> None:
    """All keys alike: every item is as likely as any other."""
    keys = torch.ones(6, 4) / 2
    assert softmax_loss(unit(3, 0), keys, torch.zeros(6), TARGETS, 0.1).item() == pytest.approx(torch.tensor(6.0).log())


def test_the_gradient_is_that_of_cross_entropy(states: Tensor, keys: Tensor) -> None:
    gradients = []
    for loss in (
        lambda s, k: softmax_loss(s, k, torch.zeros(6), TARGETS, 0.3),
        lambda s, k: F.cross_entropy((s @ k.T / 0.3)[TARGETS.histories], TARGETS.candidates),
    ):
        leaves = states.clone().requires_grad_(), keys.clone().requires_grad_()
        gradients.append(torch.autograd.grad(loss(*leaves), leaves))
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_one_that_stands_for_many_counts_as_many(states: Tensor, keys: Tensor) -> None:
    """Five items that look alike, and one of them that stands for five."""
    alike = keys[4].expand(5, -1)
    whole = softmax_loss(states, torch.cat([keys, alike]), torch.zeros(11), TARGETS, 0.2)
    sampled = softmax_loss(
        states, torch.cat([keys, alike[:1]]), torch.tensor([0.0] * 6 + [5.0]).clamp(min=1).log(), TARGETS, 0.2
    )
    assert sampled.item() == pytest.approx(whole.item(), rel=1e-5)


def test_the_bpr_loss_by_loops(states: Tensor, keys: Tensor) -> None:
    negatives, total = torch.tensor([4, 3, 0, 2]), 0.0
    for history, candidate, other in zip(*(part.tolist() for part in (*TARGETS, negatives)), strict=True):
        difference = states[history] @ (keys[candidate] - keys[other]) / 0.5
        total -= torch.sigmoid(difference).log().item()
    found = bpr_loss(states, keys, TARGETS, negatives, 0.5)
    assert found.item() == pytest.approx(total / 4, rel=1e-5)


def test_a_target_beside_itself_says_nothing(states: Tensor, keys: Tensor) -> None:
    keys.requires_grad_()
    loss = bpr_loss(states, keys, TARGETS, TARGETS.candidates, 0.5)
    assert loss.item() == pytest.approx(torch.tensor(2.0).log())
    loss.backward()
    assert not keys.grad.any()
