"""Modality fusion beside loops: columns are standardised, a modality may be missing, constant or extreme."""

import torch
from torch import Tensor

from model.modality_fusion import CLIP, FeatureScaler, ModalityFusion

NAN = float("nan")


def features() -> dict[str, Tensor]:
    """Item 1 has no image, item 2 no text, item 3 neither."""
    torch.manual_seed(1)
    values = {"image": torch.randn(5, 3), "text": torch.randn(5, 2)}
    values["image"][[1, 3]] = NAN
    values["text"][[2, 3]] = NAN
    return values


class Fitted:
    """Scaler and fusion of raw features."""

    def __init__(self, values: dict[str, Tensor]) -> None:
        torch.manual_seed(0)
        feature_dims = {name: value.shape[1] for name, value in values.items()}
        self.scaler, self.fusion = FeatureScaler(feature_dims), ModalityFusion(feature_dims, 8)
        self.scaler.fit(values)

    def content(self, values: dict[str, Tensor]) -> Tensor:
        return self.fusion(self.scaler(values), len(next(iter(values.values()))))


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
    fitted = Fitted(values)
    found = fitted.content(values)
    assert found.isfinite().all()
    for item in range(5):
        assert torch.allclose(found[item], slow_fusion(fitted.fusion, values, item), atol=1e-5), item


def test_an_item_without_any_modality_gets_the_learned_vectors() -> None:
    values = features()
    fitted = Fitted(values)
    missing = fitted.fusion.missing
    assert torch.allclose(fitted.content(values)[3], missing["modality_image"] + missing["modality_text"])


def test_a_constant_column_says_nothing() -> None:
    """0.1 has no exact float: its deviation is tiny but not zero, and must not be divided by."""
    values = {"text": torch.cat([torch.randn(5, 1), torch.full((5, 1), 0.1)], dim=1)}
    fitted = Fitted(values)
    other = {"text": values["text"] + torch.tensor([0.0, 1e3])}
    assert torch.equal(fitted.content(values), fitted.content(other))


def test_an_outlier_is_cut() -> None:
    values = {"text": torch.randn(50, 1)}
    fitted = Fitted(values)
    far, farther = fitted.content({"text": torch.tensor([[1e4], [1e9]])})
    assert torch.equal(far, farther)


def test_a_modality_may_have_the_name_of_a_method() -> None:
    values = {"type": torch.randn(3, 2), "keys": torch.randn(3, 1)}
    assert Fitted(values).content(values).shape == (3, 8)


def test_no_modality_at_all() -> None:
    assert torch.equal(ModalityFusion({}, 8)({}, 5), torch.zeros(5, 8))


def test_what_was_measured_is_saved() -> None:
    values = features()
    fitted, again = Fitted(values), FeatureScaler({"text": 2, "image": 3})
    again.load_state_dict(fitted.scaler.state_dict())
    for name, (scaled, present) in fitted.scaler(values).items():
        assert torch.equal(again(values)[name][0], scaled)
        assert torch.equal(again(values)[name][1], present)


def test_what_is_standardised_by_eye() -> None:
    """Two columns: 0 and 2, around 1; the other constant. Divided by the root of the number of columns."""
    values = {"text": torch.tensor([[0.0, 7.0], [2.0, 7.0], [NAN, NAN]])}
    scaled, present = Fitted(values).scaler(values)["text"]
    torch.testing.assert_close(scaled, torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]) / 2**0.5)
    assert present.tolist() == [[True], [True], [False]]
