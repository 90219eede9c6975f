"""Graph RQ-VAE: fused and aligned content, items without embeddings or neighbours, the losses by parts."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from tests.model.graphs import TAKEN, interactions, transitions

NAN = float("nan")
ALONE = 4
"""The item without interactions."""


def make(**changes: Any) -> GraphRQVAE:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"dim": 8, "latent_dim": 4, "num_levels": 2, "codebook_size": 3}
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


@pytest.mark.parametrize("ordered", [False, True])
def test_vectors_are_propagated_content_and_embeddings(ordered: bool) -> None:
    model = make(ordered_history=ordered)
    standardised, graph = fit(model), transitions() if ordered else interactions()
    keys, contexts = model.vectors(standardised, graph)
    known = model.has_interactions  # the embeddings of the item that nobody has are left out
    start = [
        model.key_content(standardised, 5) + model.graph.key_embedding * known,
        model.graph.context_embedding * known,
    ]
    if ordered:  # in a set the contexts have no content
        start[1] = start[1] + model.context_content(standardised, 5)
    expected = graph.propagate(type(model.vectors(standardised, graph))(*start), 2)
    assert torch.allclose(keys, F.normalize(expected.keys, dim=1), atol=1e-5)
    assert torch.allclose(contexts, expected.contexts / expected.contexts.norm(dim=1).mean(), atol=1e-5)


@pytest.mark.parametrize("content", ["fused", "aligned"])
@pytest.mark.parametrize("ordered", [False, True])
def test_keys_have_unit_length_and_contexts_a_mean_of_one(ordered: bool, content: str) -> None:
    model = make(ordered_history=ordered, content=content)
    keys, contexts = model.vectors(fit(model), transitions() if ordered else interactions())
    assert torch.allclose(keys.norm(dim=1), torch.ones(5), atol=1e-5)
    assert contexts.norm(dim=1).mean().item() == pytest.approx(1, abs=1e-5)
    assert contexts.norm(dim=1).std() > 0.01  # how much an item says of a history is learned


def other_features() -> dict[str, Tensor]:
    return {name: value.flip(0) for name, value in features().items()}


def test_fused_vectors_depend_on_the_features_and_aligned_ones_do_not() -> None:
    for content, moves in (("fused", True), ("aligned", False)):
        model = make(content=content)
        fit(model)
        one, other = (
            model.vectors(model.key_content.standardise(values), interactions())
            for values in (features(), other_features())
        )
        assert torch.equal(one.keys, other.keys) != moves


def test_alignment_looks_at_items_with_interactions_alone() -> None:
    model = make(content="aligned")
    standardised = fit(model)
    keys = F.normalize(torch.randn(5, 8), dim=1)
    content = model.content_keys(standardised).detach()
    expected = sum(1 - float(F.cosine_similarity(content[item], keys[item], dim=0)) for item in range(4)) / 4
    assert model.alignment(standardised, keys).item() == pytest.approx(expected, abs=1e-5)
    keys[ALONE] *= -1
    assert model.alignment(standardised, keys).item() == pytest.approx(expected, abs=1e-5)
    assert model.alignment(standardised, content).item() == pytest.approx(0, abs=1e-6)


def test_the_keys_of_content_have_unit_length() -> None:
    model = make(content="aligned")
    assert torch.allclose(model.content_keys(fit(model)).norm(dim=1), torch.ones(5), atol=1e-5)


def test_which_items_have_interactions_is_measured_and_saved() -> None:
    model, again = make(), make()
    fit(model)
    again.load_state_dict(model.state_dict())
    assert again.has_interactions.flatten().tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("ordered", [False, True])
def test_recency_fades_in_sequences_and_is_flat_in_sets(ordered: bool) -> None:
    log_recency = make(ordered_history=ordered, max_history=30).log_recency
    assert log_recency.requires_grad == ordered
    expected = [-0.5 * min(age, 20) if ordered else 0.0 for age in range(30)]
    assert log_recency.tolist() == expected


def test_an_item_without_embedding_and_neighbours_is_its_content() -> None:
    """What happens to an item that appears tomorrow: two with equal content get equal codes."""
    model, values = make(), features()
    values = {name: torch.where(torch.arange(5)[:, None] == ALONE, value[0], value) for name, value in values.items()}
    standardised = fit(model, values)
    assert model.graph.key_embedding[ALONE].any()
    keys, _ = model.vectors(standardised, interactions())
    content = model.key_content(standardised, 5)
    assert torch.allclose(keys[ALONE], F.normalize(content[ALONE], dim=0), atol=1e-5)
    assert torch.equal(content[ALONE], content[0])
    alone = F.normalize(content[[0]], dim=1)
    assert torch.equal(model.quantize(keys[[ALONE]]).codes, model.quantize(alone).codes)


def test_an_item_without_anything_stays_finite() -> None:
    model = make()
    with torch.no_grad():
        model.graph.key_embedding[ALONE] = model.graph.context_embedding[ALONE] = 0
        for name in ("image", "text"):
            model.key_content.missing[f"modality_{name}"].zero_()
    values = {name: value.index_fill(0, torch.tensor([ALONE]), NAN) for name, value in features().items()}
    keys, contexts = model.vectors(fit(model, values), interactions())
    assert not keys[ALONE].any()
    assert contexts.isfinite().all()
    assert model.latent(keys).isfinite().all()


def test_without_any_feature_the_embeddings_are_all_there_is() -> None:
    for content in ("fused", "aligned"):
        model = make(feature_dims={}, content=content)
        keys, _ = model.vectors(model.fit({}, TAKEN.sum(0)), interactions())
        assert torch.allclose(keys[ALONE], F.normalize(model.graph.key_embedding[ALONE], dim=0), atol=1e-6)
        assert not model.content_keys({}).any()


def test_the_quantization_losses_by_parts() -> None:
    model = make(commitment_weight=0.3)
    keys, _ = model.vectors(fit(model), interactions())
    losses = model.quantize(keys)
    embedding = sum(model.quantizer.codebooks[level][losses.codes[:, level]] for level in range(2))
    expected = (model.decoder(embedding) - keys * 8**0.5).square().mean()
    assert torch.isclose(losses.reconstruction, expected, rtol=1e-4)
    whole = losses.reconstruction + losses.codebook + 0.3 * losses.commitment
    assert torch.isclose(model.quantization_loss(losses), whole)


def test_members_are_judged_each_by_itself_and_averaged() -> None:
    model = make(num_members=2)
    vectors = model.vectors(fit(model), interactions())
    first, second = model.members(vectors)
    assert torch.allclose(vectors.keys.norm(dim=1), torch.ones(5), atol=1e-5)
    for member in (first, second):
        assert member.keys.shape == member.contexts.shape == (5, 4)
        assert torch.allclose(member.keys.norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.equal(torch.cat([first.contexts, second.contexts], dim=1), vectors.contexts)
    mean = (first.keys @ first.keys.T + second.keys @ second.keys.T) / 2
    assert torch.allclose(vectors.keys @ vectors.keys.T, mean, atol=1e-5)


def test_members_must_share_the_width() -> None:
    with pytest.raises(ValueError, match="dim=8 is not divisible by num_members=3"):
        make(num_members=3)
