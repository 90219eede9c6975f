"""Where an encoder is found: paths, folders, installed packages, the hub; and what is said where it is not."""

import sys
from pathlib import Path

import pytest

from offline.encoding.model_files import model_folder, onnx_files
from offline.encoding.text_encoder import SentenceEncoder, model_weights
from offline.errors import BadInputError, JobError
from tests.offline.encoding.made_encoders import mean_colour


@pytest.fixture
def offline_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's client with HF_HUB_OFFLINE, as it reads it at import, and a cache of the test's own."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="pip install 'mmgrec[encode]'")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_file_and_its_folder_are_the_same(tmp_path: Path) -> None:
    file = mean_colour(tmp_path / "encoder")
    assert onnx_files(str(file)) == onnx_files(str(file.parent))
    assert onnx_files(str(file)).settings_file == file.parent / "preprocessor_config.json"


def test_a_folder_as_exporters_write_it(tmp_path: Path) -> None:
    """The graphs in a folder `onnx`, the settings above it; the vision tower is the one that is meant."""
    for name in ("model.onnx", "text_model.onnx", "vision_model.onnx"):
        (tmp_path / "onnx").mkdir(exist_ok=True)
        (tmp_path / "onnx" / name).write_bytes(b"x")
    (tmp_path / "preprocessor_config.json").write_text("{}")
    found = onnx_files(str(tmp_path))
    assert found.graph == tmp_path / "onnx" / "vision_model.onnx"
    assert found.settings_file == tmp_path / "preprocessor_config.json"


def test_a_folder_without_one_graph(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"holds no \.onnx file; give the one \.onnx file that encodes"):
        onnx_files(str(tmp_path))
    for name in ("one.onnx", "two.onnx"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(BadInputError, match=r"holds one\.onnx, two\.onnx; give the one"):
        onnx_files(str(tmp_path))


@pytest.mark.parametrize("spec", ["/nowhere/at/all", "./no-such-model", "clip.onnx", "models/clip.onnx"])
def test_paths_that_lead_nowhere(spec: str) -> None:
    with pytest.raises(BadInputError, match="no such file; give an"):
        onnx_files(spec)


@pytest.mark.parametrize("spec", ["", "a b", "owner/name/more", "http://host/model", "owner/name@", "owner/name:x.bin"])
def test_names_that_are_none(spec: str) -> None:
    with pytest.raises(BadInputError, match="is neither a path nor a hub name"):
        model_folder(spec) if spec else onnx_files("owner/name:")


@pytest.mark.parametrize("spec", ["owner/no-such-model", "owner/no-such-model@main:onnx/model.onnx"])
def test_the_hub_that_cannot_be_asked(offline_hub: Path, spec: str) -> None:
    for find in (onnx_files, model_folder):
        with pytest.raises(JobError) as caught:
            find(spec)
        assert f"--encoder {spec}: the hub does not give it (" in str(caught.value)
        assert "download the model where there is one and give its folder or file" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_what_the_hub_has_given_before_is_found_without_it(offline_hub: Path) -> None:
    """The cache as the hub's client lays it out."""
    repository = offline_hub / "models--owner--clip"
    snapshot = repository / "snapshots" / ("0" * 40)
    mean_colour(snapshot / "onnx")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    assert onnx_files("owner/clip").graph == snapshot / "onnx" / "model.onnx"
    assert onnx_files("owner/clip@main:onnx/model.onnx").graph == snapshot / "onnx" / "model.onnx"
    with pytest.raises(BadInputError, match=r"the repository holds no other\.onnx; name another file after the colon"):
        onnx_files("owner/clip:other.onnx")


def test_the_hubs_client_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(JobError, match=r"pip install 'mmgrec\[encode\]'; or give a file or folder"):
        onnx_files("owner/name")


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_which_files_of_a_model_decide_its_vectors(tmp_path: Path) -> None:
    files = ("modules.json", "1_Pooling/config.json", "config.json", "tokenizer.json", "model.safetensors")
    others = ("README.md", ".gitattributes", "onnx/model.onnx", "openvino/x.bin", "pytorch_model.bin", "tf_model.h5")
    folder = write(tmp_path / "model", *files, *others)
    assert [name for name, _ in model_weights(folder)] == sorted(files)
    old = write(tmp_path / "old", "config.json", "pytorch_model.bin")
    assert [name for name, _ in model_weights(old)] == ["config.json", "pytorch_model.bin"]


def test_the_fingerprint_of_a_model_is_that_of_its_files(tmp_path: Path) -> None:
    def print_of(folder: Path, prompt: str = "") -> str:
        return SentenceEncoder("made", folder, "cpu", prompt=prompt).fingerprint

    one = write(tmp_path / "one", "modules.json", "model.safetensors")
    two = write(tmp_path / "two", "modules.json", "model.safetensors", "README.md", "onnx/model.onnx")
    assert print_of(one) == print_of(two)
    assert print_of(one) != print_of(one, "passage: ")
    (two / "model.safetensors").write_text("other weights")
    assert print_of(one) != print_of(two)
