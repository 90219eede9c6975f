"""Feature arrays: what is read, and what every bad file is told."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from offline.dataset import load_dataset
from offline.errors import BadInputError
from offline.feature_files import read_features


def write(folder: Path, **features: np.ndarray) -> Path:
    for modality, vectors in features.items():
        np.save(folder / modality, vectors)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        read_features(folder, 3)
    return str(caught.value)


def assert_says(message: str, *fragments: str) -> None:
    missing = [fragment for fragment in fragments if fragment not in message]
    assert not missing, f"{missing} not in {message!r}"


def test_the_folder_may_be_absent(tmp_path: Path) -> None:
    assert read_features(tmp_path / "features", 3) == {}


def test_a_dataset_reads_them_from_its_features_folder(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    pl.DataFrame({"item_id": ["a"]}).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame({"user_id": ["u"], "item_id": ["a"]}).write_parquet(tmp_path / "interactions.parquet")
    write(tmp_path / "features", image=np.ones((1, 2), np.float16))
    assert list(load_dataset(tmp_path).features) == ["image"]
    write(tmp_path / "features", image=np.ones((2, 2), np.float16))
    with pytest.raises(BadInputError, match=r"features/image\.npy: has 2 rows, but items\.parquet has 1 items"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_features_are_float32_and_a_nan_row_is_missing(tmp_path: Path, dtype: Any) -> None:
    image = np.array([[1, 2], [np.nan, np.nan], [-3, 60000]], dtype=dtype)
    features = read_features(write(tmp_path, image=image, audio=np.ones((3, 1), dtype)), 3)
    assert list(features) == ["audio", "image"]
    assert features["image"].dtype == np.dtype("=f4")
    np.testing.assert_array_equal(features["image"], image.astype(np.float32))


NAN, INF = np.nan, np.inf
BAD_FEATURES = {
    "too few rows": (np.ones((2, 4), np.float32), ["has 2 rows, but items.parquet has 3 items", "a row of NaN where"]),
    "too many rows": (np.ones((5, 4), np.float32), ["has 5 rows, but items.parquet has 3 items"]),
    "one axis": (np.ones(3, np.float32), ["has shape (3,)", "write a 2-D array [3 items, at least 1 column]"]),
    "three axes": (np.ones((3, 2, 2), np.float32), ["has shape (3, 2, 2)", "write a 2-D array"]),
    "no columns": (np.ones((3, 0), np.float32), ["has shape (3, 0)", "at least 1 column"]),
    "integers": (np.ones((3, 4), np.int64), ["holds int64, not floats", "np.save as float16 or float32"]),
    "objects": (np.array([[1.0], [None], [2.0]]), ["holds object, not floats", "np.save as float16 or float32"]),
    "infinity": (
        np.array([[1, 2], [3, -INF], [INF, 0]], np.float16),
        ["row 1, column 1: infinite (2 such rows)", "replace it, or make the whole row NaN"],
    ),
    "infinity beside its opposite": (np.array([[1, 2], [1, 2], [INF, -INF]]), ["row 2, column 0: infinite"]),
    "too large for float32": (np.array([[1, 2], [3, 1e300], [5, 6]]), ["row 1, column 1: infinite (1 such rows)"]),
    "row that is NaN in part": (
        np.array([[NAN, NAN], [1, 2], [3, NAN]]),
        ["row 2, column 1: NaN in part of a row (1 such rows)", "make the whole row NaN (missing) or fill the value"],
    ),
}


@pytest.mark.parametrize(("image", "fragments"), BAD_FEATURES.values(), ids=BAD_FEATURES)
def test_bad_features(tmp_path: Path, image: np.ndarray, fragments: list[str]) -> None:
    assert_says(refusal(write(tmp_path, audio=np.ones((3, 2), np.float32), image=image)), "image.npy: ", *fragments)


def test_a_modality_that_no_item_has_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else a projection of it would be trained on nothing."""
    write(tmp_path, audio=np.full((3, 2), NAN), image=np.array([[NAN], [NAN], [1.0]]))
    assert list(read_features(tmp_path, 3)) == ["image"]
    assert capsys.readouterr().err == (
        f"warning: {tmp_path / 'audio.npy'}: every row is NaN, so no item has this modality and it is left out; "
        "remove the file or write it again\n"
    )


def write_header(path: Path, header: str, numbers: bytes = bytes(24)) -> Path:
    """An .npy file of version 1 whose header says what it likes."""
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + numbers)
    return path.parent


def claim(shape: str) -> str:
    return f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"


CLAIMS = {
    "(3, 1000000000000)": "claims shape (3, 1000000000000) of float32, which is 12000000000000 bytes, but 24 follow",
    "(1000000000000, 16)": "has 1000000000000 rows, but items.parquet has 3 items",
    f"(3, {10**22})": f"claims shape (3, {10**22}) of float32",
    "(3, 3)": "which is 36 bytes, but 24 follow: the file is cut short or its header is damaged; write it again with",
    "(3, -2)": "cannot be read as an array of numbers (its header claims shape (3, -2))",
    "(3, True)": "cannot be read as an array of numbers (its header claims shape (3, True))",
}


@pytest.mark.parametrize("rows", [None, np.arange(3)], ids=["all", "some"])
@pytest.mark.parametrize("shape", CLAIMS)
def test_a_claim_is_refused_before_anything_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, rows: Any
) -> None:
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("loaded"))
    write_header(tmp_path / "image.npy", claim(shape))
    with pytest.raises(BadInputError) as caught:
        read_features(tmp_path, 3, rows)
    assert_says(str(caught.value), "image.npy: ", CLAIMS[shape], "np.save" if "items" not in CLAIMS[shape] else "row r")


@pytest.mark.parametrize(
    "header", ["{'descr': (", "{'descr': '''abc", "(" * 500, "-" * 5000 + "1", "{[1]: 2}", "\0", ""]
)
def test_a_damaged_header(tmp_path: Path, header: str) -> None:
    """Numpy reads it as Python, and lets the parser's own errors through."""
    assert_says(
        refusal(write_header(tmp_path / "image.npy", header)), "image.npy: cannot be read as an array of numbers"
    )


def test_features_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise MemoryError("Unable to allocate 30.0 GiB")

    write(tmp_path, image=np.ones((3, 2), np.float32))
    monkeypatch.setattr(np, "load", load)
    assert_says(
        refusal(tmp_path), "image.npy: does not fit", "Unable to allocate 30.0 GiB", "a machine with more memory"
    )


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"1.0 2.0\n"])
def test_a_feature_file_that_is_no_array(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.npy").write_bytes(content)
    assert_says(refusal(tmp_path), "image.npy: cannot be read as an array of numbers", "with np.save")


def test_an_archive_named_like_an_array(tmp_path: Path) -> None:
    with (tmp_path / "image.npy").open("wb") as file:
        np.savez(file, image=np.ones((3, 2)))
    assert_says(refusal(tmp_path), "image.npy: holds an .npz archive", "write it with np.save")


def test_a_file_name_that_cannot_name_a_modality(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.v2.npy", np.ones((3, 2), np.float32))
    assert_says(refusal(tmp_path), "clip.v2.npy: 'clip.v2' cannot name a modality", "rename the file")
