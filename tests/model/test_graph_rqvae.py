"""Graph RQ-VAE: members joined, items without embeddings or neighbours, the losses by parts."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.graph_encoder import Content
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from tests.model.graphs import TAKEN, interactions

NAN = float("nan")
ALONE = 4
"""The item without interactions."""


def make(**changes: Any) -> GraphRQVAE:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"dim": 8, "member_dim": 8, "latent_dim": 4, "num_levels": 2, "codebook_size": 3}
    sizes |= {"num_items": 5, "feature_dims": {"image": 3, "text": 2}, "ordered_history": False, "max_history": 4}
    return GraphRQVAE(GraphRQVAEConfig(**(sizes | changes))).eval()


def features() -> dict[str, Tensor]:
    """Item 1 has no image, item 2 no text, item 3 neither."""
    torch.manual_seed(1)
    values = {"image": torch.randn(5, 3), "text": torch.randn(5, 2)}
    values["image"][[1, 3]] = NAN
    values["text"][[2, 3]] = NAN
    return values


def fit(model: GraphRQVAE, values: dict[str, Tensor] | None = None) -> dict[str, tuple[Tensor, Tensor]]:
    return model.fit(values or features(), TAKEN.sum(0).long())


BOTH: tuple[Content, ...] = ("fused", "aligned")


def test_a_single_member_of_the_whole_width_is_taken_as_it_is() -> None:
    model = make()
    standardised = fit(model)
    alone = model.encoders()[0](standardised, interactions(), model.has_interactions)
    keys, contexts = model.vectors(standardised, interactions())
    assert torch.allclose(keys, alone.keys, atol=1e-6)
    assert torch.allclose(contexts, alone.contexts, atol=1e-6)


def test_members_have_features_embeddings_and_batches_of_their_own() -> None:
    model = make(members=BOTH, member_dim=6)
    standardised = fit(model)
    fused, aligned = model.member_vectors(standardised, interactions())
    assert fused.keys.shape == aligned.contexts.shape == (5, 6)
    for member, found in zip(model.encoders(), (fused, aligned), strict=True):
        expected = member(standardised, interactions(), model.has_interactions)
        assert torch.equal(found.keys, expected.keys)
    assert [member.content for member in model.encoders()] == list(BOTH)


def test_joined_without_loss_cosines_are_the_mean_of_the_members() -> None:
    """As many columns as all members together: the projection only turns."""
    model = make(members=BOTH, member_dim=4, dim=8)
    standardised = fit(model)
    each = list(model.member_vectors(standardised, interactions()))
    model.fit_projection(torch.cat([vectors.keys for vectors in each], dim=1))
    keys, contexts = model.vectors(standardised, interactions())
    assert contexts.norm(dim=1).mean().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(keys @ keys.T, sum(one.keys @ one.keys.T for one in each) / 2, atol=1e-5)


def test_the_projection_keeps_what_keys_differ_in() -> None:
    """Keys of two members in a plane of their twelve columns: two columns say it all."""
    torch.manual_seed(5)
    model = make(members=BOTH, member_dim=6, dim=2)
    plane = torch.linalg.qr(torch.randn(12, 2)).Q
    keys = torch.randn(5, 2) @ plane.T
    model.fit_projection(keys)
    assert torch.allclose(model.projection.T @ model.projection, torch.eye(2), atol=1e-5)
    assert torch.allclose(keys @ model.projection @ model.projection.T, keys, atol=1e-5)
    joined = model.joined(keys.split(6, dim=1))
    assert torch.allclose(joined @ joined.T, F.normalize(keys, dim=1) @ F.normalize(keys, dim=1).T, atol=1e-5)


def test_members_must_be_able_to_fill_the_width() -> None:
    with pytest.raises(ValueError, match="2 members of 3 columns cannot be joined to dim=8"):
        make(members=BOTH, member_dim=3)
    with pytest.raises(ValueError, match="0 members"):
        make(members=())


def test_content_keys_are_joined_like_the_keys() -> None:
    model = make(members=BOTH, member_dim=8)
    standardised = fit(model)
    parts = [member.content_keys(standardised) for member in model.encoders()]
    expected = F.normalize(torch.cat(parts, dim=1) @ model.projection, dim=1)
    assert torch.allclose(model.content_keys(standardised), expected, atol=1e-6)


def test_other_codebooks_before_the_same_graph_encoder() -> None:
    model = make(members=BOTH, member_dim=6)
    standardised = fit(model)
    model.fit_projection(torch.randn(20, 12))
    other = model.with_codebooks(3, 7).eval()
    for one, two in zip(
        model.vectors(standardised, interactions()), other.vectors(standardised, interactions()), strict=True
    ):
        assert torch.equal(one, two)
    assert tuple(other.quantizer.codebooks.shape[:2]) == (3, 7)
    assert (other.config.num_levels, other.config.codebook_size) == (3, 7)
    assert not other.quantizer.initialised


def test_which_items_have_interactions_is_measured_and_saved() -> None:
    model, again = make(), make()
    fit(model)
    again.load_state_dict(model.state_dict())
    assert again.has_interactions.flatten().tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("ordered", [False, True])
def test_recency_starts_flat_and_learns_in_sequences_alone(ordered: bool) -> None:
    log_recency = make(ordered_history=ordered, max_history=30).log_recency
    assert log_recency.requires_grad == ordered
    assert not log_recency.any()


def test_an_item_without_embedding_and_neighbours_is_its_content() -> None:
    """What happens to an item that appears tomorrow: two with equal content get equal codes."""
    model, values = make(), features()
    values = {name: torch.where(torch.arange(5)[:, None] == ALONE, value[0], value) for name, value in values.items()}
    standardised = fit(model, values)
    assert model.encoders()[0].key_embedding[ALONE].any()
    keys, _ = model.vectors(standardised, interactions())
    content = model.content_keys(standardised)
    assert torch.allclose(keys[ALONE], content[ALONE], atol=1e-5)
    assert torch.equal(content[ALONE], content[0])
    assert torch.equal(model.quantize(keys[[ALONE]]).codes, model.quantize(content[[0]]).codes)


def test_an_item_without_anything_stays_finite() -> None:
    model = make()
    with torch.no_grad():
        model.encoders()[0].key_embedding[ALONE] = model.encoders()[0].context_embedding[ALONE] = 0
        for name in ("image", "text"):
            model.encoders()[0].key_content.missing[f"modality_{name}"].zero_()
    values = {name: value.index_fill(0, torch.tensor([ALONE]), NAN) for name, value in features().items()}
    keys, contexts = model.vectors(fit(model, values), interactions())
    assert not keys[ALONE].any()
    assert contexts.isfinite().all()
    assert model.latent(keys).isfinite().all()


def test_the_quantization_losses_by_parts() -> None:
    model = make(commitment_weight=0.3)
    keys, _ = model.vectors(fit(model), interactions())
    losses = model.quantize(keys)
    embedding = sum(model.quantizer.codebooks[level][losses.codes[:, level]] for level in range(2))
    expected = (model.decoder(embedding) - keys * 8**0.5).square().mean()
    assert torch.isclose(losses.reconstruction, expected, rtol=1e-4)
    whole = losses.reconstruction + losses.codebook + 0.3 * losses.commitment
    assert torch.isclose(model.quantization_loss(losses), whole)
