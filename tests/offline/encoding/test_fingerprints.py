"""The description beside a features file: what is read of it, and what every bad one is told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline.encoding.fingerprints import (
    FeatureDescription,
    encoder_fingerprint,
    read_fingerprints,
    write_description,
)
from offline.errors import BadInputError
from offline.file_digest import sha256_of_file

ROOT = Path(__file__).parents[3]
PRINT = "ab" * 32


def described(folder: Path, name: str = "text", **changes: Any) -> Path:
    np.save(folder / f"{name}.npy", np.ones((3, 2), np.float32))
    said = {
        "encoder": "made",
        "fingerprint": PRINT,
        "dim": 2,
        "items": 3,
        "missing": 0,
        "modality": "text",
        "settings": {},
        "sha256": sha256_of_file(folder / f"{name}.npy"),
    }
    write_description(folder / f"{name}.json", FeatureDescription(**{**said, **changes}))
    return folder / f"{name}.json"


def test_every_described_modality_has_its_fingerprint(tmp_path: Path) -> None:
    described(tmp_path)
    described(tmp_path, "image", fingerprint="cd" * 32)
    np.save(tmp_path / "by-hand.npy", np.ones((3, 2), np.float32))
    assert read_fingerprints(tmp_path) == {"image": "cd" * 32, "text": PRINT}
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".npy", ".npy", ".npy"]


def test_without_features_there_are_none(tmp_path: Path) -> None:
    assert read_fingerprints(tmp_path / "nowhere") == {}
    described(tmp_path)
    (tmp_path / "text.npy").unlink()
    assert read_fingerprints(tmp_path) == {}


def test_an_array_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    described(tmp_path)
    np.save(tmp_path / "text.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(BadInputError) as caught:
        read_fingerprints(tmp_path)
    assert "text.json: describes another text.npy" in str(caught.value)
    assert "run encode again, or remove text.json if text.npy was made by other means" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"{}", b"\xff\xfe", b'{"fingerprint": "zz", "sha256": "zz"}', b'{"fingerprint": 1}'],
)
def test_a_damaged_description(tmp_path: Path, content: bytes) -> None:
    described(tmp_path).write_bytes(content)
    with pytest.raises(BadInputError, match=r"text\.json: does not describe an encoder .* run encode again, or remove"):
        read_fingerprints(tmp_path)


@pytest.mark.parametrize("field", ["fingerprint", "sha256"])
@pytest.mark.parametrize("value", [None, 3, "AB" * 32, "ab" * 31, ["ab" * 32]])
def test_a_description_without_a_digest(tmp_path: Path, field: str, value: Any) -> None:
    path = described(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(BadInputError, match="does not describe an encoder"):
        read_fingerprints(tmp_path)


def test_a_fingerprint_follows_names_bytes_and_settings(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    same = encoder_fingerprint([("a", one), ("b", two)], {"x": 1, "y": 2})
    assert same == encoder_fingerprint([("b", two), ("a", one)], {"y": 2, "x": 1})
    others = {
        same,
        encoder_fingerprint([("a", two), ("b", one)], {"x": 1, "y": 2}),
        encoder_fingerprint([("a", one)], {"x": 1, "y": 2}),
        encoder_fingerprint([("a", one), ("b", two)], {"x": 1, "y": 3}),
    }
    assert len(others) == 4


def test_reading_fingerprints_is_light() -> None:
    """Publishing and `add-items` import it."""
    program = (
        "import sys, offline.encoding.fingerprints as f; "
        "print(sorted({'numpy', 'polars', 'onnx', 'onnxruntime', 'torch', 'PIL', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
