"""Image files: what is read of them, and why some are not."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offline.encoding.encoder import UnreadableContentError
from offline.encoding.image_files import read_image

LIMITS = {"max_pixels": 10_000, "max_bytes": 100_000}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(read_image(path, **LIMITS))


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tiff", "webp", "jpeg"])
def test_kinds_of_files(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"image.{suffix}"
    Image.new("RGB", (8, 5), (255, 0, 0)).save(file)
    found = pixels(file)
    assert found.shape == (5, 8, 3)
    assert np.abs(found.astype(int) - (255, 0, 0)).max() <= 2


def test_transparency_is_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 255, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").tolist() == [[[0, 0, 255], [255, 255, 255]]]


@pytest.mark.parametrize(("mode", "colour"), [("L", 128), ("1", 1), ("CMYK", (0, 0, 0, 127)), ("P", 0), ("I;16", 0)])
def test_other_colours_become_rgb(tmp_path: Path, mode: str, colour) -> None:
    Image.new(mode, (3, 2), colour).save(tmp_path / "a.tiff")
    assert pixels(tmp_path / "a.tiff").shape == (2, 3, 3)


def test_a_picture_that_was_turned_stands_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2))
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees to see it
    image.save(tmp_path / "a.png", exif=exif)
    assert pixels(tmp_path / "a.png").shape == (4, 2, 3)


def test_the_first_picture_of_several(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert pixels(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is that large, and holds a few bytes of it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str) -> bytes:
    data = BytesIO()
    image.save(data, kind)
    return data.getvalue()


BAD = {
    "empty": (b"", "is no image that can be read"),
    "text": (b"<html>Not found</html>", "is no image that can be read"),
    "cut off": (saved(Image.effect_noise((50, 50), 50), "PNG")[:200], "is no image that can be read"),
    "too many pixels": (bomb(101, 100), "has 101 x 100 pixels, over 10000; raise --max-pixels"),
    "a bomb": (bomb(60_000, 60_000), "too many pixels"),
    "another kind": (saved(Image.new("RGB", (3, 3)), "PPM"), "is no image that can be read"),
    "PostScript": (saved(Image.new("RGB", (3, 3)), "EPS"), "is no image that can be read"),
    "too many bytes": (b"\x89PNG" + bytes(100_001), "has 100005 bytes, over 100000; raise --max-megabytes"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableContentError, match=reason) as caught:
        read_image(tmp_path / "a.png", **LIMITS)
    assert "BytesIO" not in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(UnreadableContentError, match="no such file"):
            read_image(path, **LIMITS)
