"""The residual quantizer: k-means start, nearest codes, gradients, revival, and a reload that starts nothing anew."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from model.residual_quantizer import QuantizerConfig, ResidualQuantizer
from offline.checkpoint import load_checkpoint, save_checkpoint
from offline.train_quantizer import maintain_codebooks


def make(num_levels: int = 3, codebook_size: int = 5, dim: int = 4) -> ResidualQuantizer:
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(QuantizerConfig(num_levels=num_levels, codebook_size=codebook_size, dim=dim))
    torch.nn.init.normal_(quantizer.codebooks)
    return quantizer


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def brute_force(quantizer: ResidualQuantizer, vector: Tensor) -> tuple[list[int], Tensor]:
    """Codes of one vector and their sum: at every level, look at every code."""
    residual, codes, total = vector.clone(), [], torch.zeros_like(vector)
    for book in quantizer.codebooks.detach():
        distances = [float(((residual - code) ** 2).sum()) for code in book]
        codes.append(distances.index(min(distances)))
        total, residual = total + book[codes[-1]], residual - book[codes[-1]]
    return codes, total


def test_every_level_takes_the_nearest_code() -> None:
    quantizer, latent = make(), torch.randn(40, 4, generator=seeded(1))
    found = quantizer(latent)
    for row, vector in enumerate(latent):
        codes, total = brute_force(quantizer, vector)
        assert found.codes[row].tolist() == codes
        assert torch.allclose(found.embedding[row], total, atol=1e-5)


def test_distances_are_squared() -> None:
    quantizer, residual = make(), torch.randn(7, 4, generator=seeded(1))
    expected = ((residual[:, None] - quantizer.codebooks[1][None]) ** 2).sum(-1)
    assert torch.allclose(quantizer.distances(residual, 1), expected, atol=1e-5)


def test_both_losses_sum_the_residuals_of_the_levels() -> None:
    quantizer, latent = make(), torch.randn(40, 4, generator=seeded(1))
    found = quantizer(latent)
    residual, expected = latent, torch.zeros(())
    for level in range(3):
        residual = residual - quantizer.codebooks[level][found.codes[:, level]]
        expected = expected + residual.square().mean()
    assert torch.isclose(found.codebook_loss, expected, rtol=1e-5)
    assert torch.isclose(found.commitment_loss, expected, rtol=1e-5)


def test_the_gradient_passes_straight_through() -> None:
    quantizer, latent = make(), torch.randn(6, 4, generator=seeded(1)).requires_grad_()
    arriving = torch.randn(6, 4, generator=seeded(2))
    quantizer(latent).embedding.backward(arriving)
    assert torch.equal(latent.grad, arriving)
    assert quantizer.codebooks.grad is None or not quantizer.codebooks.grad.any()


def test_the_codebook_loss_moves_codes_alone_and_the_commitment_vectors_alone() -> None:
    quantizer, latent = make(), torch.randn(40, 4, generator=seeded(1)).requires_grad_()
    found = quantizer(latent)
    by_codebook = torch.autograd.grad(
        found.codebook_loss, (quantizer.codebooks, latent), allow_unused=True, retain_graph=True
    )
    by_commitment = torch.autograd.grad(found.commitment_loss, (quantizer.codebooks, latent), allow_unused=True)
    assert by_codebook[1] is None
    assert by_commitment[0] is None
    assert (by_commitment[1].norm(dim=1) > 1e-6).all()
    for level in range(3):
        used = set(found.codes[:, level].tolist())
        moved = by_codebook[0][level].norm(dim=1) > 1e-6
        assert {code for code in range(5) if moved[code]} == used


def test_a_code_follows_the_mean_of_its_own_residuals() -> None:
    """One step on the codebook loss moves a level's code along its own residuals, not along those of deeper levels."""
    quantizer, latent = make(num_levels=2, codebook_size=1), torch.randn(8, 4, generator=seeded(1))
    (gradient,) = torch.autograd.grad(quantizer(latent).codebook_loss, quantizer.codebooks)
    mean = latent.mean(0)
    first, second = quantizer.codebooks[0, 0], quantizer.codebooks[1, 0]
    assert torch.allclose(gradient[0, 0], 2 / 4 * (first - mean), atol=1e-5)
    assert torch.allclose(gradient[1, 0], 2 / 4 * (second - (mean - first)), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_k_means_finds_the_places_that_vectors_stand_at(seed: int) -> None:
    places = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 7.0], [-9.0, -9.0]])
    latent = places.repeat(10, 1)
    quantizer = make(num_levels=2, codebook_size=4, dim=2)
    assert not quantizer.initialised
    quantizer.initialise(latent, seeded(seed))
    assert quantizer.initialised
    assert torch.allclose(torch.cdist(places, quantizer.codebooks[0]).min(dim=1).values, torch.zeros(4), atol=1e-4)
    assert torch.allclose(quantizer(latent).embedding, latent, atol=1e-3)


def test_k_means_starts_every_level_at_the_means_of_what_reaches_it() -> None:
    """The fixed point of Lloyd's algorithm: a code is the mean of the residuals that are nearest to it."""
    latent = torch.randn(60, 2, generator=seeded(7))
    quantizer = make(num_levels=2, codebook_size=4, dim=2)
    quantizer.initialise(latent, seeded(3))
    codes, residual = quantizer(latent).codes, latent
    for level in range(2):
        book = quantizer.codebooks[level].detach()
        for code in range(4):
            assert torch.allclose(book[code], residual[codes[:, level] == code].mean(0), atol=1e-5), (level, code)
        residual = residual - book[codes[:, level]]
    assert residual.square().mean() < 0.2 * latent.square().mean()


def test_fewer_vectors_than_codes() -> None:
    latent = torch.tensor([[1.0, 2.0], [5.0, 5.0], [-3.0, 0.0]])
    quantizer = make(num_levels=2, codebook_size=16, dim=2)
    quantizer.initialise(latent, seeded())
    assert quantizer.codebooks.isfinite().all()
    assert torch.allclose(quantizer(latent).embedding, latent, atol=0.1)
    assert len(set(quantizer(latent).codes[:, 0].tolist())) == 3


def test_dead_codes_are_revived_onto_residuals() -> None:
    latent = torch.randn(50, 2, generator=seeded(1))
    quantizer = make(num_levels=2, codebook_size=8, dim=2)
    quantizer.initialise(latent, seeded(2))
    before = quantizer.codebooks.detach().clone()
    with torch.no_grad():
        quantizer.codebooks[0, 3] = quantizer.codebooks[0, 6] = torch.tensor([1e3, 1e3])
        used = torch.bincount(quantizer(latent).codes[:, 0], minlength=8) > 0
        assert used.tolist() == [code not in (3, 6) for code in range(8)]
        dead_below = int((torch.bincount(quantizer(latent).codes[:, 1], minlength=8) == 0).sum())
    assert quantizer.revive(latent, seeded(4)) == 2 + dead_below
    after = quantizer.codebooks.detach()
    assert torch.equal(after[0, used], before[0, used])
    assert (torch.cdist(after[0, [3, 6]], latent).min(dim=1).values < 0.1).all()
    assert not torch.equal(after[0, 3], after[0, 6])
    assert len(set(quantizer(latent).codes[:, 0].tolist())) == 8


def test_nothing_is_revived_where_every_code_is_used() -> None:
    quantizer, latent = make(num_levels=1, codebook_size=2, dim=1), torch.tensor([[0.0], [1.0]])
    quantizer.initialise(latent, seeded())
    before = quantizer.codebooks.detach().clone()
    assert quantizer.revive(latent, seeded()) == 0
    assert torch.equal(quantizer.codebooks, before)


def test_a_reload_never_starts_k_means_again(tmp_path: Path) -> None:
    config = GraphRQVAEConfig(
        num_items=20,
        feature_dims={},
        num_levels=2,
        codebook_size=4,
        ordered_history=False,
        max_history=4,
        dim=6,
        latent_dim=3,
    )
    torch.manual_seed(0)
    model, items = GraphRQVAE(config), torch.randn(20, 6)
    maintain_codebooks(model, items, step=1, seed=0)
    assert model.quantizer.initialised
    with torch.no_grad():
        model.quantizer.codebooks.mul_(1.5)  # trained since
    save_checkpoint(model, config, tmp_path / "model")
    again = load_checkpoint(GraphRQVAE, GraphRQVAEConfig, tmp_path / "model")
    assert again.quantizer.initialised
    maintain_codebooks(again, items, step=1, seed=0)
    assert torch.equal(again.quantizer.codebooks, model.quantizer.codebooks)
    fresh = GraphRQVAE(config)
    maintain_codebooks(fresh, items, step=1, seed=0)  # the same call does move a fresh one
    assert not torch.equal(fresh.quantizer.codebooks, model.quantizer.codebooks)


@pytest.mark.parametrize("size", ["num_levels", "codebook_size", "dim"])
def test_a_size_of_nothing_is_refused(size: str) -> None:
    sizes = {"num_levels": 2, "codebook_size": 4, "dim": 3} | {size: 0}
    with pytest.raises(ValueError, match=rf"must be at least 1: .*{size}=0"):
        QuantizerConfig(**sizes)
