"""`encode` with flags, columns and folders that cannot be used: exit code 2, one line, nothing written."""

from pathlib import Path

import pytest

from tests.offline.encoding.made_encoders import write_colours, write_items


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    write_colours(tmp_path / "shop" / "pictures", a="red")
    return write_items(tmp_path / "shop", image_file=["pictures/a.png"], title=["A"], price=[1.0])


FLAGS = {
    "a name that is none": (("--name", "a/b"), "--name 'a/b' cannot name a modality; take letters"),
    "no name": (("--name", ""), "--name '' cannot name a modality"),
    "a share that is none": (("--max-missing-share", 1.5), "--max-missing-share 1.5: give a share from 0 to 1"),
    "no share at all": (("--max-missing-share", "nan"), "--max-missing-share nan: give a share from 0 to 1"),
    "a flag for sounds": (
        ("--sampling-rate", 16000),
        "--sampling-rate is for --modality audio, not image; leave it out",
    ),
    "a flag for texts": (("--prompt", "x"), "--prompt is for --modality text, not image"),
    "no bytes": (("--max-megabytes", 0), "--max-megabytes 0.0: give a number above 0"),
    "no time": (("--timeout-seconds", "inf"), "--timeout-seconds inf: give a number above 0"),
    "two numbers": (("--mean", "1,2"), "--mean '1,2': give three numbers with commas"),
    "no such column": (("--column", "photo"), "column 'photo' is missing (columns present: item_id, image_file, title"),
    "a column of numbers": (("--column", "price"), "column 'price' has type Float64, row 0: 1.0; write one file name"),
    "no such folder": (("--files", "nowhere"), "--files nowhere: no such folder"),
}


@pytest.mark.parametrize(("flags", "message"), FLAGS.values(), ids=FLAGS)
def test_flags_that_cannot_be_used(job, shop: Path, colour_encoder: Path, flags: tuple, message: str) -> None:
    ended = job("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder, *flags)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended.err
    assert message in ended.err
    assert not (shop / "features" / "image.npy").exists()


COLUMNS = {
    "neither column": ({"title": ["A"]}, "has neither column 'image_file' nor 'image_url'; add one, name one with"),
    "empty columns": ({"image_file": [None], "image_url": [" "]}, "no item has anything in image_file, image_url"),
    "outside of the folder": ({"image_file": ["../../etc/passwd"]}, "row 0: '../../etc/passwd' is not inside of"),
    "an absolute path": ({"image_file": ["/etc/passwd"]}, "'/etc/passwd' is not inside of"),
}


@pytest.mark.parametrize(("columns", "message"), COLUMNS.values(), ids=COLUMNS)
def test_catalogues_without_content(job, tmp_path: Path, colour_encoder: Path, columns: dict, message: str) -> None:
    data = write_items(tmp_path / "other", **columns)
    ended = job("encode", "--data", data, "--modality", "image", "--encoder", colour_encoder)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended.err
    assert message in ended.err


def test_an_absolute_path_inside_of_the_folder_will_do(job, shop: Path, colour_encoder: Path) -> None:
    write_items(shop, image_file=[str(shop / "pictures" / "a.png")])
    call = ("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder)
    assert job(*call).result["encoded"] == 1
    assert job(*call, "--files", shop / "pictures").result["reused"] == 1


def test_folders_of_files_that_fit_no_item_or_twice(job, tmp_path: Path, colour_encoder: Path) -> None:
    data = write_items(tmp_path / "other", title=["A"])
    files = write_colours(tmp_path / "files", b="red")
    call = ("encode", "--data", data, "--modality", "image", "--encoder", colour_encoder, "--files", files)
    assert f"no file of {files} is named like an item, such as a.jpg" in job(*call).err
    write_colours(files, a="red")
    (files / "a.jpg").write_bytes(b"")
    assert "a.jpg and a.png are both of item 'a'; keep one" in job(*call).err


def test_nothing_that_can_be_read(job, shop: Path, colour_encoder: Path) -> None:
    (shop / "pictures" / "a.png").write_bytes(b"broken")
    call = ("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder, "--max-missing-share", 1)
    ended = job(*call)
    assert (ended.code, ended.out) == (2, "")
    assert "no content of any item could be encoded; nothing was written" in ended.err


def test_no_dataset_or_a_damaged_one(job, tmp_path: Path, colour_encoder: Path) -> None:
    call = ("encode", "--modality", "image", "--encoder", colour_encoder, "--data")
    assert "nowhere: no such folder" in job(*call, tmp_path / "nowhere").err
    (tmp_path / "items.parquet").write_bytes(b"no parquet")
    ended = job(*call, tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "items.parquet: cannot be read as parquet" in ended.err


def test_a_features_folder_that_cannot_be_written(job, shop: Path, colour_encoder: Path) -> None:
    (shop / "features").write_text("a file")
    ended = job("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder)
    assert (ended.code, ended.out) == (2, "")
    assert "make the features folder writable" in ended.err


def test_output_is_for_graphs(job, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "modules.json").write_text("[]")
    ended = job("encode", "--data", shop, "--modality", "text", "--encoder", tmp_path / "model", "--output", "x")
    assert (ended.code, ended.err) == (2, "error: --output is for encoders in ONNX; leave it out\n")
