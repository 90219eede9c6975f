"""The item encoder gives an item the mean key of the known items that are like it, and does not grow with them."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model import item_encoder as module
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from model.item_encoder import ItemEncoder

NAN = float("nan")
DIMS = {"image": 3, "text": 2}
NUM_ITEMS = 40


def make(**changes: Any) -> GraphRQVAE:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"dim": 8, "member_dim": 8, "latent_dim": 4, "num_levels": 2, "codebook_size": 3}
    sizes |= {"num_items": NUM_ITEMS, "feature_dims": DIMS, "ordered_history": True, "max_history": 4}
    return GraphRQVAE(GraphRQVAEConfig(**(sizes | changes))).eval()


def features(num_items: int = NUM_ITEMS, seed: int = 1, **dims: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(num_items, dim, generator=random) * 3 + 1 for name, dim in (dims or DIMS).items()}


def unit_keys(num_items: int = NUM_ITEMS) -> Tensor:
    """Of half precision, which is what the encoder remembers of them."""
    random = torch.Generator().manual_seed(2)
    return F.normalize(torch.randn(num_items, 8, generator=random) + 0.5, dim=1).half().float()


def fitted(values: dict[str, Tensor], counts: Tensor | None = None, **changes: Any) -> ItemEncoder:
    dims = {name: rows.shape[1] for name, rows in values.items()}
    model = make(feature_dims=dims, **changes)
    counts = torch.full((NUM_ITEMS,), 5) if counts is None else counts
    model.fit(values, counts)
    return ItemEncoder.of(model, values, unit_keys(), counts)


def slow_key(values: dict[str, Tensor], item: dict[str, Tensor], known: list[int]) -> Tensor:
    """One item, one known item after the other."""

    def content(row: dict[str, Tensor]) -> Tensor:
        parts = []
        for name, whole in sorted(values.items()):
            scaled = (row[name] - whole.nanmean(0)) / whole[~whole.isnan().any(1)].std(0, correction=0)
            parts.append(F.normalize(scaled.nan_to_num(0).clamp(-5, 5), dim=0))
        return F.normalize(torch.cat(parts), dim=0)

    at = {row: content({name: whole[row] for name, whole in values.items()}) for row in known}
    nearest = sorted(known, key=lambda row: -float(at[row] @ content(item)))[:10]
    keys = unit_keys()
    mean = keys[known].mean(0)
    deviation = (keys[known] - mean).norm(dim=1).mean()
    return F.normalize(mean + F.normalize(keys[nearest].mean(0) - mean, dim=0) * deviation, dim=0)


@pytest.mark.parametrize("missing", [(), ("image",), ("text",)])
def test_against_one_known_item_after_the_other(missing: tuple[str, ...]) -> None:
    values, new = features(), features(3, seed=5)
    values["image"][[4, 7]] = NAN
    values["text"][[7, 9]] = NAN  # item 7 has nothing
    for name in missing:
        new[name][1] = NAN
    keys = fitted(values).content_keys(new)
    known = [row for row in range(NUM_ITEMS) if row != 7]
    for row in range(3):
        expected = slow_key(values, {name: rows[row] for name, rows in new.items()}, known)
        torch.testing.assert_close(keys[row], expected, atol=2e-3, rtol=0)


def test_an_item_of_no_modality_has_no_key() -> None:
    new = features(2)
    new["image"][1] = new["text"][1] = NAN
    keys = fitted(features()).content_keys(new)
    assert keys.norm(dim=1).tolist() == pytest.approx([1.0, 0.0])


def test_items_get_their_keys_alone_as_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, new = fitted(features()), features(7, seed=3)
    together = encoder.content_keys(new)
    monkeypatch.setattr(module, "_BLOCK_ITEMS", 2)
    torch.testing.assert_close(encoder.content_keys(new), together)
    torch.testing.assert_close(encoder.content_keys({name: rows[5:6] for name, rows in new.items()})[0], together[5])


def test_what_one_user_had_is_no_landmark_unless_there_is_little_else() -> None:
    values, counts = features(), torch.tensor([5] * 12 + [1] * 20 + [0] * 8)
    assert fitted(values, counts).config.num_landmarks == 12
    assert fitted(values, counts.clamp(max=1)).config.num_landmarks == 32
    keys = fitted(values, counts).content_keys({name: rows[:1] for name, rows in values.items()})
    torch.testing.assert_close(keys[0], slow_key(values, {n: r[0] for n, r in values.items()}, list(range(12))),
                               atol=2e-3, rtol=0)  # fmt: skip


def test_it_does_not_grow_with_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The items that were had most are kept, in the order of their rows."""
    monkeypatch.setattr(module, "MOST_LANDMARKS", 11)
    counts = torch.arange(NUM_ITEMS).flip(0) + 2
    encoder = fitted(features(), counts)
    torch.testing.assert_close(encoder.landmark_keys.float(), unit_keys()[:11])


def test_many_columns_are_brought_to_those_in_which_items_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty columns that are copies of three: three directions say it all."""
    narrow = features(image=3)["image"]
    wide, new = {"image": narrow.repeat(1, 10)}, features(4, seed=4, image=3)["image"].repeat(1, 10)
    whole = fitted(wide).content_keys({"image": new})
    monkeypatch.setattr(module, "MOST_CONTENT_COLUMNS", 3)
    encoder = fitted(wide)
    assert encoder.landmark_content.shape == (NUM_ITEMS, 3)
    torch.testing.assert_close(encoder.content_keys({"image": new}), whole, atol=1e-5, rtol=0)


def test_its_codes_are_those_of_the_model() -> None:
    model, values = make(), features()
    model.fit(values, torch.ones(NUM_ITEMS))
    encoder = ItemEncoder.of(model, values, unit_keys(), torch.full((NUM_ITEMS,), 2))
    keys = unit_keys(7)
    assert torch.equal(encoder.quantizer(encoder.latent(keys)).codes, model.quantize(keys).codes)
    with torch.no_grad():
        before = encoder.latent(keys)
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
        assert torch.equal(encoder.latent(keys), before)  # a copy


def test_it_knows_how_recency_counts() -> None:
    model, values = make(), features()
    with torch.no_grad():
        model.log_recency.copy_(torch.tensor([0.0, -1.0, -2.0, -3.0]))
    encoder = ItemEncoder.of(model, values, unit_keys(), torch.ones(NUM_ITEMS))
    assert torch.allclose(encoder.recency, torch.tensor([1.0, 0.36788, 0.13534, 0.04979]), atol=1e-5)


@pytest.mark.parametrize("values", [{}, {"image": torch.full((NUM_ITEMS, 3), NAN)}])
def test_without_content_it_knows_no_modality(values: dict[str, Tensor]) -> None:
    model = make(feature_dims={name: rows.shape[1] for name, rows in values.items()})
    encoder = ItemEncoder.of(model, values, unit_keys(), torch.ones(NUM_ITEMS))
    assert (encoder.config.feature_dims, encoder.config.num_landmarks) == ({}, 0)
    assert encoder.content_keys({}).shape == (0, 8)
