"""Image files that strangers may have made, as pixels."""

from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from offline.encoding.encoder import UnreadableContentError

# What catalogues hold. Pillow reads many more kinds, some of them by starting other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")


def read_image(path: Path, *, max_pixels: int, max_bytes: int) -> Image.Image:
    """The first picture of a file, upright, RGB, on white where it is transparent.

    Args:
        path: the file.
        max_pixels: width times height that is decoded; a small file may claim more than fits into memory.
        max_bytes: of the file.

    Raises:
        UnreadableContentError: no such file, too large, or no image.
    """
    data = read_bytes(path, max_bytes)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise UnreadableContentError(
                    f"has {image.width} x {image.height} pixels, over {max_pixels}; raise --max-pixels if that is right"
                )
            return _on_white(ImageOps.exif_transpose(image))
    except UnreadableContentError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableContentError(f"has too many pixels ({error})") from error
    except UnidentifiedImageError as error:  # its own text names the address of our buffer
        raise UnreadableContentError(f"is no image that can be read: none of {', '.join(FORMATS)}") from error
    except (
        Exception
    ) as error:  # a broken file shows in whatever its reader stumbles over: OSError, ValueError, struct.error ...
        raise UnreadableContentError(f"is no image that can be read ({type(error).__name__}: {error})") from error


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """A file as it is, if it is one and not too large.

    Raises:
        UnreadableContentError: otherwise.
    """
    try:
        if not path.is_file():
            raise UnreadableContentError("no such file")
        if (size := path.stat().st_size) > max_bytes:
            raise UnreadableContentError(f"has {size} bytes, over {max_bytes}; raise --max-megabytes if that is right")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableContentError(f"cannot be read ({error.strerror})") from error


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    white = Image.new("RGBA", colours.size, "white")
    return Image.alpha_composite(white, colours).convert("RGB")
