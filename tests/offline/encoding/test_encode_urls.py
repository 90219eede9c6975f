"""`encode` with `image_url`: a web site on loopback, a cache, and what a dead URL costs."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offline.encoding.downloads import cached_file
from tests.offline.encoding.made_encoders import COLOURS, write_items
from tests.offline.encoding.web_site import WebSite


def picture(colour: str | tuple[int, int, int], size: tuple[int, int] = (4, 4)) -> bytes:
    data = BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def shop(site: WebSite, tmp_path: Path) -> Path:
    """Items a and b have a picture each, c has that of a, d none."""
    urls = [site.give(f"/{colour}.png", picture(colour), Content_Type="image/png") for colour in ("red", "lime")]
    return write_items(tmp_path / "shop", image_url=[urls[0], urls[1], urls[0], None])


@pytest.fixture
def call(shop: Path, colour_encoder: Path) -> tuple:
    common = ("encode", "--data", shop, "--modality", "image", "--encoder", colour_encoder, "--timeout-seconds", 2)
    return (*common, "--allow-private-addresses")


def features(shop: Path) -> np.ndarray:
    return np.load(shop / "features" / "image.npy", allow_pickle=False)


def test_pictures_behind_urls_are_fetched_once(job, site: WebSite, shop: Path, call: tuple) -> None:
    assert job(*call).result.items() >= {"encoded": 2, "missing": 1, "failed": 0}.items()
    np.testing.assert_allclose(features(shop)[:3], [COLOURS["red"], COLOURS["lime"], COLOURS["red"]])
    assert np.isnan(features(shop)[3]).all()
    assert sorted(site.asked) == ["/lime.png", "/red.png"]
    site.close()
    assert job(*call).result.items() >= {"encoded": 0, "reused": 2}.items()


def test_a_killed_job_does_not_fetch_again(job, site: WebSite, shop: Path, call: tuple) -> None:
    """What a kill leaves: some files that are whole, and one that is not, under another name."""
    kept = cached_file(shop / ".downloads", site.url + "/red.png")
    kept.parent.mkdir(parents=True)
    kept.write_bytes(picture("blue"))
    kept.with_name(f"{kept.name}.123.part").write_bytes(b"half")
    assert job(*call).result["missing"] == 1
    assert site.asked == ["/lime.png"]
    np.testing.assert_allclose(features(shop)[0], COLOURS["blue"])


def test_private_addresses_need_a_flag(job, site: WebSite, shop: Path, call: tuple) -> None:
    ended = job(*call[:-1])
    assert (ended.code, ended.out) == (2, "")
    assert "3 of 3 contents cannot be had, over --max-missing-share 0.1; nothing was overwritten" in ended.err
    assert "is at 127.0.0.1, which is no public address; --allow-private-addresses if all URLs" in ended.err
    assert site.asked == []
    assert not (shop / "features" / "image.npy").exists()


def test_dead_urls_are_missing_and_counted(job, site: WebSite, shop: Path, call: tuple) -> None:
    job(*call)
    before = features(shop)
    dead = f"{site.url}/dead.png?signature=s3cr3t"
    page = site.give("/page.png", b"<html>", Content_Type="image/png")
    huge = site.give("/huge.png", bytes(60_000), Content_Type="image/png")
    bomb = site.give("/bomb.png", picture("red", (200, 200)), Content_Type="image/png")
    urls = [f"{site.url}/red.png", dead, page, huge, bomb]
    write_items(shop, image_url=urls)
    limits = ("--max-megabytes", 0.05, "--max-pixels", 10_000)
    ended = job(*call, *limits)
    assert (ended.code, ended.out) == (2, "")
    assert "4 of 5 contents cannot be had" in ended.err
    np.testing.assert_array_equal(features(shop), before)
    ended = job(*call, *limits, "--max-missing-share", 0.8)
    assert ended.result.items() >= {"items": 5, "missing": 4, "failed": 4}.items()
    assert np.isnan(features(shop)[1:]).all()
    np.testing.assert_allclose(features(shop)[0], COLOURS["red"])
    reasons = json.loads((shop / "features" / ".image.part" / "failed.json").read_text())
    assert reasons["b"] == f"{site.url.rpartition(':')[0]}/dead.png: status 404"
    assert "no image that can be read" in reasons["c"]
    assert "more than 50000 bytes" in reasons["d"]
    assert "200 x 200 pixels" in reasons["e"]
    assert "s3cr3t" not in ended.err + json.dumps(reasons)
    assert not cached_file(shop / ".downloads", page).exists()  # it may be whole another time


def test_a_server_that_is_busy_is_asked_twice(job, site: WebSite, shop: Path, call: tuple, monkeypatch) -> None:
    monkeypatch.setattr("offline.encoding.downloads._PAUSE_SECONDS", 0.0)
    answer = site.answers["/red.png"]

    def busy_once(handler) -> None:
        site.answers["/red.png"] = answer
        handler.send_error(503)

    site.answers["/red.png"] = busy_once
    assert job(*call).result["failed"] == 0
    assert sorted(site.asked) == ["/lime.png", "/red.png", "/red.png"]


def test_files_go_before_urls(job, site: WebSite, shop: Path, call: tuple) -> None:
    (shop / "mine.png").write_bytes(picture("blue"))
    write_items(shop, image_file=["mine.png", None], image_url=[f"{site.url}/red.png", f"{site.url}/lime.png"])
    job(*call)
    np.testing.assert_allclose(features(shop), [COLOURS["blue"], COLOURS["lime"]])
    assert site.asked == ["/lime.png"]


def test_a_folder_of_downloads_that_cannot_be_made(job, shop: Path, call: tuple, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = job(*call, "--downloads", tmp_path / "file" / "below")
    assert ended.code == 2
    assert "cannot be written" in ended.err
    assert "give another folder" in ended.err


def test_many_urls_are_fetched_a_few_at_a_time(job, site: WebSite, tmp_path: Path, call: tuple) -> None:
    names = [f"/{number}.png" for number in range(50)]
    for number, name in enumerate(names):
        site.give(name, picture((number, 0, 0)), Content_Type="image/png")
    data = write_items(
        tmp_path / "many", item_id=[f"i{name}" for name in names], image_url=[site.url + name for name in names]
    )
    found = job(*(data if part == tmp_path / "shop" else part for part in call), "--parallel", 3).result
    assert found.items() >= {"encoded": 50, "missing": 0}.items()
    np.testing.assert_allclose(features(data)[:, 0] * 255, range(50), atol=1e-3)
    assert sorted(site.asked) == sorted(names)
