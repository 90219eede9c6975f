"""A checkpoint describes itself, comes back as it was, and is refused when its two files do not belong together."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from model.residual_quantizer import QuantizerConfig, ResidualQuantizer
from offline.checkpoint import load_checkpoint, module_from_bytes, save_checkpoint
from offline.errors import BadInputError
from offline.whole_files import write_json

CONFIG = QuantizerConfig(num_levels=3, codebook_size=5, dim=4)


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    """A saved quantizer with trained-looking codebooks."""
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(CONFIG)
    quantizer.initialise(torch.randn(40, 4), torch.Generator().manual_seed(0))
    save_checkpoint(quantizer, CONFIG, tmp_path / "made" / "quantizer")
    return tmp_path / "made" / "quantizer"


def load(stem: Path) -> ResidualQuantizer:
    return load_checkpoint(ResidualQuantizer, QuantizerConfig, stem)


def edit_json(stem: Path, **changes: Any) -> None:
    path = stem.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_configuration_stands_beside_the_weights(stem: Path) -> None:
    assert sorted(path.name for path in stem.parent.iterdir()) == ["quantizer.json", "quantizer.safetensors"]
    assert json.loads(stem.with_suffix(".json").read_text()) == {"num_levels": 3, "codebook_size": 5, "dim": 4}


def test_it_comes_back_as_it_was_buffers_included(stem: Path) -> None:
    loaded = load(stem)
    torch.manual_seed(0)
    saved = ResidualQuantizer(CONFIG)
    saved.initialise(torch.randn(40, 4), torch.Generator().manual_seed(0))
    assert loaded.config == CONFIG
    assert not loaded.training
    assert loaded.initialised  # or the next training step would start k-means over trained codes
    torch.testing.assert_close(loaded.state_dict(), saved.state_dict(), rtol=0, atol=0)


def test_tuples_and_tables_survive_the_json(tmp_path: Path) -> None:
    config = GraphRQVAEConfig(
        num_items=3,
        feature_dims={"image": 4, "text": 2},
        num_levels=2,
        codebook_size=4,
        ordered_history=True,
        max_history=5,
        dim=8,
    )
    save_checkpoint(GraphRQVAE(config), config, tmp_path / "graph")
    assert load_checkpoint(GraphRQVAE, GraphRQVAEConfig, tmp_path / "graph").config == config


def test_another_number_of_levels_names_both_values(stem: Path) -> None:
    edit_json(stem, num_levels=4)
    with pytest.raises(BadInputError, match=r"codebooks has shape \(3, 5, 4\).*asks for \(4, 5, 4\).*train"):
        load(stem)


@pytest.mark.parametrize("change", [{"num_levels": 0}, {"num_levels": "three"}, {"dim": None}])
def test_a_configuration_that_builds_nothing_is_refused(stem: Path, change: dict[str, Any]) -> None:
    edit_json(stem, **change)
    with pytest.raises(BadInputError, match=r"its configuration builds nothing .*; train again"):
        load(stem)


@dataclass(frozen=True)
class LaterConfig(QuantizerConfig):
    """That of a version which added a field."""

    depth: int = 0


def test_a_field_of_a_later_version_takes_its_default(stem: Path) -> None:
    found: list[LaterConfig] = []

    def build(config: LaterConfig) -> ResidualQuantizer:
        found.append(config)
        return ResidualQuantizer(CONFIG)

    load_checkpoint(build, LaterConfig, stem)
    assert found[0].depth == 0


@pytest.mark.parametrize("raw", [{"num_levels": 3}, {"num_levels": 3, "codebook_size": 5, "dim": 4, "depth": 2}])
def test_a_configuration_of_another_version_is_refused(stem: Path, raw: dict[str, int]) -> None:
    stem.with_suffix(".json").write_text(json.dumps(raw))
    with pytest.raises(
        BadInputError, match=r"another configuration than this version.*remove the run and train the run again"
    ):
        load(stem)


def test_loading_is_strict_about_tensors(stem: Path) -> None:
    weights = load(stem).state_dict()
    for changed, named in (
        (weights | {"extra": torch.zeros(2)}, "has a tensor extra that this version does not know"),
        ({"codebooks": weights["codebooks"]}, "lacks the tensor initialised"),
    ):
        Path(f"{stem}.safetensors").write_bytes(save(changed))
        with pytest.raises(BadInputError, match=f"{named}; it was trained by another version: remove the run and"):
            load(stem)


@pytest.mark.parametrize("name", ["quantizer.json", "quantizer.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "noise", "list"])
def test_a_damaged_file_is_named_with_the_cure(stem: Path, name: str, damage: str) -> None:
    path = stem.parent / name
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": b"\xff" * 64, "list": b"[]"}[damage])
    with pytest.raises(BadInputError, match=r"quantizer.*train the run again"):
        load(stem)


def test_a_release_holds_the_same_module_as_bytes(stem: Path) -> None:
    raw = Path(f"{stem}.safetensors").read_bytes()
    config = json.loads(stem.with_suffix(".json").read_text())
    module = module_from_bytes(ResidualQuantizer, QuantizerConfig, config, raw)
    torch.testing.assert_close(module.state_dict(), load(stem).state_dict(), rtol=0, atol=0)
    with pytest.raises(BadInputError, match="of the release"):
        module_from_bytes(ResidualQuantizer, QuantizerConfig, config, raw[:50])


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [found.name for found in path.parent.iterdir()] == ["report.json"]


def test_two_processes_never_share_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(Path, "replace", lambda path, target: seen.append(path.name))
    for pid in (1, 2):
        monkeypatch.setattr("os.getpid", lambda pid=pid: pid)
        write_json(tmp_path / "report.json", {})
    assert seen == ["report.json.1.part", "report.json.2.part"]
