"""Fusion, graph network and Graph RQ-VAE beside dense formulas; a modality or an embedding may be missing."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.graph_encoder import GraphEncoder, InteractionGraph
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from model.modality_fusion import CLIP, ModalityFusion

NAN = float("nan")

# Users 0, 1, 2 and items 0 .. 4; nobody has taken item 4.
TAKEN = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0]]).float()


def graph() -> InteractionGraph:
    degrees = TAKEN.sum(1, keepdim=True) * TAKEN.sum(0, keepdim=True)
    to_users = (TAKEN / degrees.clamp(min=1).sqrt()).to_sparse_coo()
    return InteractionGraph(to_users, to_users.t().coalesce())


def make(**changes: Any) -> GraphRQVAE:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"dim": 8, "latent_dim": 4, "num_levels": 2, "codebook_size": 3}
    config = GraphRQVAEConfig(num_users=3, num_items=5, feature_dims={"image": 3, "text": 2}, **(sizes | changes))
    return GraphRQVAE(config).eval()


def features() -> dict[str, Tensor]:
    """Item 1 has no image, item 2 no text, item 3 neither."""
    torch.manual_seed(1)
    values = {"image": torch.randn(5, 3), "text": torch.randn(5, 2)}
    values["image"][[1, 3]] = NAN
    values["text"][[2, 3]] = NAN
    return values


def fitted(values: dict[str, Tensor]) -> ModalityFusion:
    torch.manual_seed(0)
    fusion = ModalityFusion({name: value.shape[1] for name, value in values.items()}, 8)
    fusion.fit(values)
    return fusion


def slow_fusion(fusion: ModalityFusion, values: dict[str, Tensor], item: int) -> Tensor:
    """One item, one modality, one column at a time."""
    total = torch.zeros(8)
    for name, value in values.items():
        if value[item].isnan().any():
            total = total + fusion.missing[f"modality_{name}"]
            continue
        present = value[~value.isnan().any(1)]
        row = torch.zeros(value.shape[1])
        for column in range(value.shape[1]):
            deviation = present[:, column].std(unbiased=False)
            if deviation > 0:
                row[column] = ((value[item, column] - present[:, column].mean()) / deviation).clamp(-CLIP, CLIP)
        total = total + fusion.projections[f"modality_{name}"](row / value.shape[1] ** 0.5)
    return total


def test_fusion_by_loops() -> None:
    values = features()
    values["image"][:, 1] = torch.where(values["image"][:, 1].isnan(), NAN, 4.0)  # a constant column
    fusion = fitted(values)
    found = fusion(values, 5)
    assert found.isfinite().all()
    for item in range(5):
        assert torch.allclose(found[item], slow_fusion(fusion, values, item), atol=1e-5), item


def test_an_item_without_any_modality_gets_the_learned_vectors() -> None:
    values = features()
    fusion = fitted(values)
    assert torch.allclose(fusion(values, 5)[3], fusion.missing["modality_image"] + fusion.missing["modality_text"])


def test_a_constant_column_says_nothing() -> None:
    """0.1 has no exact float: its deviation is tiny but not zero, and must not be divided by."""
    values = {"text": torch.cat([torch.randn(5, 1), torch.full((5, 1), 0.1)], dim=1)}
    fusion = fitted(values)
    other = {"text": values["text"] + torch.tensor([0.0, 1e3])}
    assert torch.equal(fusion(values, 5), fusion(other, 5))


def test_an_outlier_is_cut() -> None:
    values = {"text": torch.randn(50, 1)}
    fusion = fitted(values)
    far, farther = fusion({"text": torch.tensor([[1e4], [1e9]])}, 2)
    assert torch.equal(far, farther)


def test_a_modality_may_have_the_name_of_a_method() -> None:
    fusion = ModalityFusion({"type": 2, "keys": 1}, 4)
    assert fusion({"type": torch.ones(3, 2), "keys": torch.ones(3, 1)}, 3).shape == (3, 4)


def test_no_modality_at_all() -> None:
    assert torch.equal(ModalityFusion({}, 8)({}, 5), torch.zeros(5, 8))


def test_what_was_measured_is_saved() -> None:
    values = features()
    fusion = fitted(values)
    again = ModalityFusion({"text": 2, "image": 3}, 8)
    again.load_state_dict(fusion.state_dict())
    assert torch.equal(again(values, 5), fusion(values, 5))


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_propagation_is_the_mean_of_matrix_powers(num_layers: int) -> None:
    torch.manual_seed(2)
    encoder = GraphEncoder(3, 5, 8, num_layers, embedding_dropout=0.5).eval()
    content = torch.randn(5, 8)
    adjacency = torch.zeros(8, 8)
    adjacency[:3, 3:] = graph().to_users.to_dense()
    adjacency[3:, :3] = adjacency[:3, 3:].T
    start = torch.cat([encoder.user_embedding, content + encoder.item_embedding])
    powers = [torch.linalg.matrix_power(adjacency, power) @ start for power in range(num_layers + 1)]
    expected = torch.stack(powers).mean(0)
    users, items = encoder(content, graph())
    assert torch.allclose(torch.cat([users, items]), expected, atol=1e-5)


def test_the_weights_of_the_graph_by_eye() -> None:
    """User 0 has two items; item 1 has three users: 1 / √(2 · 3)."""
    assert torch.isclose(graph().to_users.to_dense()[0, 1], torch.tensor(6.0).rsqrt())


def test_training_drops_whole_item_embeddings() -> None:
    torch.manual_seed(3)
    encoder = GraphEncoder(1, 400, 8, num_layers=0, embedding_dropout=0.25).train()
    _, items = encoder(torch.zeros(400, 8), InteractionGraph(torch.zeros(1, 400), torch.zeros(400, 1)))
    dropped = (items == 0).all(dim=1)
    assert torch.equal(items[~dropped], encoder.item_embedding[~dropped])
    assert 0.15 < dropped.float().mean() < 0.35


def test_an_item_without_embedding_and_neighbours_is_its_content() -> None:
    """What happens to an item that appears tomorrow: two with equal content get equal codes."""
    model, values = make(), features()
    values = {name: torch.where(torch.arange(5)[:, None] == 4, value[0], value) for name, value in values.items()}
    model.fusion.fit(values)
    with torch.no_grad():
        model.graph.item_embedding[4] = 0
    _, items = model.vectors(values, graph())
    content = model.fusion(values, 5)
    assert torch.allclose(items[4], F.normalize(content[4], dim=0), atol=1e-5)
    assert torch.equal(content[4], content[0])
    alone = F.normalize(content[[0]], dim=1)
    assert torch.equal(model.quantize(items[[4]]).codes, model.quantize(alone).codes)


def test_an_item_without_anything_stays_finite() -> None:
    model = make()
    with torch.no_grad():
        model.graph.item_embedding[4] = 0
        for name in ("image", "text"):
            model.fusion.missing[f"modality_{name}"].zero_()
    values = {name: value.index_fill(0, torch.tensor([4]), NAN) for name, value in features().items()}
    _, items = model.vectors(values, graph())
    assert not items[4].any()
    assert model.latent(items).isfinite().all()


def test_vectors_have_unit_norm() -> None:
    users, items = make().vectors(features(), graph())
    assert torch.allclose(users.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(items.norm(dim=1), torch.ones(5), atol=1e-5)


def test_the_softmax_loss_by_loops() -> None:
    model = make(temperature=0.5)
    users, items = (vectors.detach() for vectors in model.vectors(features(), graph()))
    total = 0.0
    for user, item in TAKEN.nonzero().tolist():
        weights = [float(users[user] @ other / 0.5) for other in items]
        total -= weights[item] - torch.tensor(weights).logsumexp(0).item()
    assert model.collaborative(users, items, TAKEN).item() == pytest.approx(total / 6, rel=1e-5)


def test_the_bpr_loss_by_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(temperature=0.5, collaborative_loss="bpr")
    users, items = (vectors.detach() for vectors in model.vectors(features(), graph()))
    drawn = torch.tensor([4, 3, 0, 4, 2, 0])
    monkeypatch.setattr(torch, "randint", lambda high, shape: drawn)
    total = 0.0
    for (user, item), other in zip(TAKEN.nonzero().tolist(), drawn.tolist(), strict=True):
        difference = users[user] @ (items[item] - items[other]) / 0.5
        total -= torch.sigmoid(difference).log().item()
    assert model.collaborative(users, items, TAKEN).item() == pytest.approx(total / 6, rel=1e-5)


def test_the_quantization_losses_by_parts() -> None:
    model = make(commitment_weight=0.3)
    _, items = model.vectors(features(), graph())
    losses = model.quantize(items)
    embedding = sum(model.quantizer.codebooks[level][losses.codes[:, level]] for level in range(2))
    expected = (model.decoder(embedding) - items * 8**0.5).square().mean()
    assert torch.isclose(losses.reconstruction, expected, rtol=1e-4)
    whole = losses.reconstruction + losses.codebook + 0.3 * losses.commitment
    assert torch.isclose(model.quantization_loss(losses), whole)
