"""`encode --modality image`: pictures of one colour through an encoder that gives the mean colour."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offline.dataset import load_dataset
from offline.encoding.fingerprints import read_fingerprints
from offline.errors import BadInputError
from offline.run_folder import fingerprint
from tests.offline.encoding.made_encoders import COLOURS, mean_colour, write_colours, write_items

ROOT = Path(__file__).parents[3]
NAN = (np.nan,) * 3


def features(data: Path, name: str = "image") -> np.ndarray:
    return np.load(data / "features" / f"{name}.npy", allow_pickle=False)


def colours(*names: str | None) -> np.ndarray:
    return np.array([COLOURS[name] if name else NAN for name in names], np.float32)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Three items: red, one without a picture, blue."""
    write_colours(tmp_path / "shop" / "pictures", one="red", two="blue")
    return write_items(tmp_path / "shop", image_file=["pictures/one.png", None, "pictures/two.png"])


def test_pictures_become_rows_in_the_order_of_the_items(job, shop: Path, colour_encoder: Path) -> None:
    found = job("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder).result
    np.testing.assert_allclose(features(shop), colours("red", None, "blue"))
    assert features(shop).dtype == np.float32
    assert found.items() >= {"name": "image", "dim": 3, "items": 3, "encoded": 2, "missing": 1, "failed": 0}.items()
    described = json.loads((shop / "features" / "image.json").read_text())
    assert (
        described.items()
        >= {"dim": 3, "items": 3, "missing": 1, "modality": "image", "encoder": str(colour_encoder)}.items()
    )
    assert described["settings"]["mean"] == [0, 0, 0]
    assert read_fingerprints(shop / "features") == {"image": found["fingerprint"]}


def test_a_dataset_with_encoded_features_is_read_as_one_without_what_lies_beside(
    job, shop: Path, colour_encoder: Path
) -> None:
    job("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder).result  # noqa: B018
    np.testing.assert_allclose(load_dataset(shop).features["image"], colours("red", None, "blue"))
    before = fingerprint(shop)
    assert (shop / "features" / ".image.part" / "rows.sqlite").is_file()
    (shop / "features" / "image.json").write_text("{}")
    (shop / "features" / ".image.part" / "rows.sqlite").unlink()
    assert fingerprint(shop) == before
    assert list(load_dataset(shop).features) == ["image"]


def test_a_folder_of_files_named_by_item(job, tmp_path: Path, colour_encoder: Path) -> None:
    data = write_items(tmp_path / "shop", item_id=["a", "b.2", "c"])
    write_colours(tmp_path / "pictures", **{"a": "lime", "b.2": "white", "other": "red"})
    (tmp_path / "pictures" / "c.txt").write_text("no picture")
    call = ("encode", "--data", data, "--modality", "image", "--encoder", colour_encoder)
    assert job(*call, "--files", tmp_path / "pictures", "--dtype", "float16").result["missing"] == 1
    np.testing.assert_allclose(features(data), colours("lime", "white", None))
    assert features(data).dtype == np.float16


def test_only_new_content_is_encoded(job, shop: Path, colour_encoder: Path) -> None:
    """Also when the catalogue has grown and stands in another order."""
    call = ("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder)
    assert job(*call).result["encoded"] == 2
    write_colours(shop / "pictures", three="lime", same="red")
    names = ["pictures/three.png", "pictures/two.png", "pictures/one.png", "pictures/same.png"]
    write_items(shop, item_id=["d", "c", "a", "e"], image_file=names)
    found = job(*call).result
    assert (found["encoded"], found["reused"], found["missing"]) == (1, 2, 0)
    np.testing.assert_allclose(features(shop), colours("lime", "blue", "red", "red"))


def test_a_changed_file_is_encoded_again(job, shop: Path, colour_encoder: Path) -> None:
    call = ("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder)
    job(*call)
    write_colours(shop / "pictures", one="lime")
    assert job(*call).result["encoded"] == 1
    np.testing.assert_allclose(features(shop), colours("lime", None, "blue"))


def test_another_encoder_or_other_settings_encode_everything_again(job, shop: Path, tmp_path: Path) -> None:
    prints = set()
    for name, settings in (("plain", [0, 0, 0]), ("shifted", [0.5, 0.5, 0.5])):
        settings = {"size": 4, "image_mean": settings, "image_std": [1, 1, 1]}
        encoder = mean_colour(tmp_path / name, settings=settings)
        found = job("encode", "--data", shop, "--modality", "image", "--encoder", encoder).result
        assert found["encoded"] == 2
        prints.add(found["fingerprint"])
    np.testing.assert_allclose(features(shop), colours("red", None, "blue") - 0.5)
    assert len(prints) == 2


def test_the_fingerprint_follows_the_weights_and_not_the_place(tmp_path: Path) -> None:
    from offline.encoding.encoders import open_encoder
    from offline.encoding.request import EncodeRequest

    def print_of(file: Path, **more) -> str:
        request = EncodeRequest(data=tmp_path, modality="image", name="image", encoder=str(file), **more)
        return open_encoder(request).fingerprint

    here, there = mean_colour(tmp_path / "here"), mean_colour(tmp_path / "there")
    other = mean_colour(tmp_path / "other", shape=("m", 3, 4, 4))
    assert print_of(here) == print_of(there) == print_of(here, batch=2)
    assert len({print_of(here), print_of(other), print_of(here, std="2,2,2")}) == 3


DIES_AFTER_THREE_BATCHES = """
import os, signal, sys
from offline.__main__ import main
from offline.encoding.row_cache import RowCache
add, done = RowCache.add, []
def dying(self, keys, vectors):
    add(self, keys, vectors)
    done.append(keys)
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
RowCache.add = dying
main()
"""


def test_a_killed_job_goes_on_where_it_was(shop: Path, colour_encoder: Path, job) -> None:
    names = [f"{row}" for row in range(10)]
    for row, name in enumerate(names):
        Image.new("RGB", (4, 4), (row, 0, 0)).save(shop / "pictures" / f"{name}.png")
    write_items(shop, item_id=names, image_file=[f"pictures/{name}.png" for name in names])
    call = ["encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder, "--batch", 2]
    died = subprocess.run([sys.executable, "-c", DIES_AFTER_THREE_BATCHES, *map(str, call)], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    assert not (shop / "features" / "image.npy").exists()
    assert job(*call).result.items() >= {"encoded": 4, "reused": 6, "missing": 0}.items()
    np.testing.assert_allclose(features(shop)[:, 0] * 255, range(10), atol=1e-4)


def test_a_job_that_ends_between_the_two_files_is_noticed_and_mended(
    job, shop: Path, colour_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder)
    job(*call)
    write_colours(shop / "pictures", one="lime")
    with monkeypatch.context() as patched:
        patched.setattr("offline.encoding.feature_writer.write_description", lambda *_: sys.exit(9))
        assert job(*call).code == 9
    with pytest.raises(
        BadInputError, match=r"image\.json: describes another image\.npy, with sha256 .* run encode again"
    ):
        read_fingerprints(shop / "features")
    found = job(*call).result
    assert found["encoded"] == 0
    assert read_fingerprints(shop / "features") == {"image": found["fingerprint"]}


def test_one_job_at_a_time_writes_a_file(job, shop: Path, colour_encoder: Path) -> None:
    from offline.encoding.row_cache import open_row_cache

    call = ("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder)
    with open_row_cache(shop / "features" / ".image.part"):
        ended = job(*call)
        assert (ended.code, ended.out) == (4, "")
        assert "another process encodes into" in ended.err
        assert job(*call, "--name", "other").result["name"] == "other"
    assert job(*call).code == 0


def test_a_damaged_cache_costs_time_and_nothing_else(job, shop: Path, colour_encoder: Path) -> None:
    call = ("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder)
    job(*call)
    (shop / "features" / ".image.part" / "rows.sqlite").write_bytes(b"no database" * 1000)
    ended = job(*call)
    assert ended.result["encoded"] == 2
    assert "rows.sqlite is damaged" in ended.err
    np.testing.assert_allclose(features(shop), colours("red", None, "blue"))


def test_unreadable_pictures_are_missing_and_counted(job, shop: Path, colour_encoder: Path) -> None:
    (shop / "pictures" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (shop / "pictures" / "page.png").write_text("<html>Not found</html>")
    whole = (shop / "pictures" / "one.png").read_bytes()
    (shop / "pictures" / "cut.png").write_bytes(whole[: len(whole) // 2])
    names = ["one", "broken", "page", "cut", "nowhere", "one"]
    write_items(shop, image_file=[f"pictures/{name}.png" for name in names])
    call = ("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder)
    ended = job(*call, "--max-missing-share", 0.7)
    assert ended.result.items() >= {"missing": 4, "failed": 4, "encoded": 1}.items()
    np.testing.assert_allclose(features(shop), colours("red", None, None, None, None, "red"))
    reasons = json.loads((shop / "features" / ".image.part" / "failed.json").read_text())
    assert sorted(reasons) == ["b", "c", "d", "e"]
    assert "warning: item 'b' has no vector: " in ended.err
    assert "is no image that can be read" in reasons["b"]
    assert reasons["e"].endswith("nowhere.png: no such file")


def test_too_many_unreadable_pictures_overwrite_nothing(job, shop: Path, colour_encoder: Path) -> None:
    call = ("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder)
    job(*call)
    before = (shop / "features" / "image.npy").read_bytes(), (shop / "features" / "image.json").read_bytes()
    (shop / "pictures" / "two.png").write_text("broken")
    ended = job(*call)
    assert (ended.code, ended.out) == (2, "")
    assert "1 of 2 contents cannot be had, over --max-missing-share 0.1; nothing was overwritten" in ended.err
    assert "The first is of item 'c': " in ended.err
    assert before == ((shop / "features" / "image.npy").read_bytes(), (shop / "features" / "image.json").read_bytes())
    assert job(*call, "--max-missing-share", 0.5).result["missing"] == 2


def test_a_night_with_one_new_item_is_one_picture_to_encode(job, tmp_path: Path, colour_encoder: Path) -> None:
    """encode, import of what is new, check, encode: the import keeps the fingerprint, and the vectors known."""
    data, log, items = tmp_path / "shop", tmp_path / "log.csv", tmp_path / "items.csv"
    write_colours(data / "pictures", one="red", two="blue", three="lime")
    log.write_text("user_id,item_id,timestamp\nu,b,1700000000\nu,a,1700000001\nv,n,1700000002\n")
    items.write_text("item_id,image_url\nb,pictures/one.png\na,pictures/two.png\nn,\n")
    call = ("import", log, "--items", items, "--data", data)
    job(*call, "--overwrite", "--items-map", "item_id=item_id,image_url=image_url").result  # noqa: B018
    encode = ("encode", "--data", data, "--modality", "image", "--encoder", colour_encoder)
    first = job(*encode).result
    assert (first["encoded"], first["missing"]) == (2, 1)
    log.write_text("user_id,item_id,timestamp\nu,c,1700000009\n")
    items.write_text("item_id,image_url\nc,pictures/three.png\n")
    assert job(*call, "--since-watermark").result["features"] == {"image": {"rows": 2, "missing": 2}}
    described = json.loads((data / "features" / "image.json").read_text())
    assert (described["items"], described["missing"]) == (4, 2)
    assert read_fingerprints(data / "features") == {"image": first["fingerprint"]}
    assert job("check", "--data", data).result["features"] == {"image": 3}
    second = job(*encode).result
    assert (second["encoded"], second["reused"], second["missing"]) == (1, 2, 1)
    np.testing.assert_allclose(features(data), colours("red", "blue", None, "lime"))


def test_check_refuses_features_whose_encoder_nobody_knows(job, shop: Path, colour_encoder: Path) -> None:
    job("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder).result  # noqa: B018
    np.save(shop / "features" / "image.npy", np.zeros((3, 3), np.float32))
    ended = job("check", "--data", shop)
    assert (ended.code, ended.out) == (2, "")
    assert "image.json: describes another image.npy" in ended.err
    assert "run encode again" in ended.err
