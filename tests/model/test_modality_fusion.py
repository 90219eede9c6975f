"""Modality fusion beside loops: columns are standardised, a modality may be missing, constant or extreme."""

import torch
from torch import Tensor

from model.modality_fusion import CLIP, ModalityFusion

NAN = float("nan")


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


def content(fusion: ModalityFusion, values: dict[str, Tensor]) -> Tensor:
    """Content vectors of raw features."""
    return fusion(fusion.standardise(values), len(next(iter(values.values()))))


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
    found = content(fusion, values)
    assert found.isfinite().all()
    for item in range(5):
        assert torch.allclose(found[item], slow_fusion(fusion, values, item), atol=1e-5), item


def test_an_item_without_any_modality_gets_the_learned_vectors() -> None:
    values = features()
    fusion = fitted(values)
    assert torch.allclose(
        content(fusion, values)[3], fusion.missing["modality_image"] + fusion.missing["modality_text"]
    )


def test_a_constant_column_says_nothing() -> None:
    """0.1 has no exact float: its deviation is tiny but not zero, and must not be divided by."""
    values = {"text": torch.cat([torch.randn(5, 1), torch.full((5, 1), 0.1)], dim=1)}
    fusion = fitted(values)
    other = {"text": values["text"] + torch.tensor([0.0, 1e3])}
    assert torch.equal(content(fusion, values), content(fusion, other))


def test_an_outlier_is_cut() -> None:
    values = {"text": torch.randn(50, 1)}
    fusion = fitted(values)
    far, farther = content(fusion, {"text": torch.tensor([[1e4], [1e9]])})
    assert torch.equal(far, farther)


def test_a_modality_may_have_the_name_of_a_method() -> None:
    fusion = ModalityFusion({"type": 2, "keys": 1}, 4)
    assert content(fusion, {"type": torch.ones(3, 2), "keys": torch.ones(3, 1)}).shape == (3, 4)


def test_no_modality_at_all() -> None:
    assert torch.equal(ModalityFusion({}, 8)({}, 5), torch.zeros(5, 8))


def test_what_was_measured_is_saved() -> None:
    values = features()
    fusion = fitted(values)
    again = ModalityFusion({"text": 2, "image": 3}, 8)
    again.load_state_dict(fusion.state_dict())
    assert torch.equal(content(again, values), content(fusion, values))


def test_what_is_standardised_by_eye() -> None:
    """Two columns: 0 and 2, around 1; the other constant. Divided by the root of the number of columns."""
    fusion = ModalityFusion({"text": 2}, 4)
    values = {"text": torch.tensor([[0.0, 7.0], [2.0, 7.0], [NAN, NAN]])}
    fusion.fit(values)
    scaled, present = fusion.standardise(values)["text"]
    torch.testing.assert_close(scaled, torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]) / 2**0.5)
    assert present.tolist() == [[True], [True], [False]]


def test_one_standardisation_serves_two_fusions() -> None:
    """As keys and contexts have it: each has its own projections and vectors for what is missing."""
    torch.manual_seed(0)
    values, one, other = features(), *(ModalityFusion({"image": 3, "text": 2}, 8) for _ in range(2))
    one.fit(values)
    other.fit(values)
    standardised = one.standardise(values)
    torch.testing.assert_close(other(standardised, 5), content(other, values))
    assert not torch.allclose(one(standardised, 5), other(standardised, 5), atol=1e-3)
