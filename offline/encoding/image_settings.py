"""How an image becomes an encoder's input: from `preprocessor_config.json` (Hugging Face), flags, and the graph."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from offline.errors import BadInputError

BICUBIC = 3  # PIL's number
Resize = Literal["shortest", "stretch"]


class Size(NamedTuple):
    """Pixels."""

    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Resize, crop, scale, normalise, in this order."""

    resize: Resize
    """shortest: the shorter side becomes that of `resize_to`, proportions stay. stretch: exactly `resize_to`."""
    resize_to: Size
    size: Size
    """What comes out: the centre of the resized image, or all of it."""
    resample: int
    """PIL's number: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic."""
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it, for fingerprints."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ImageFlags:
    """What the command line says of it; None where it says nothing."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: Resize | None = None
    image_size: int | None = None


def image_settings(
    config: Mapping[str, Any] | None, flags: ImageFlags, graph_size: Size | None, *, where: str
) -> ImageSettings:
    """Settings of an encoder; a flag goes before the file, and the size of the graph's input before both.

    Args:
        config: the preprocessor's file, None where there is none.
        flags: of the command line.
        graph_size: height and width of the graph's input, where they are fixed.
        where: names the file in messages.

    Raises:
        BadInputError: something is missing, contradicts itself or is not known.
    """
    known = config or {}
    try:
        mean, std = _normalisation(known, flags, where)
        resize, resize_to = _resize(known, flags, where)
        crop = _crop(known)
        scale = float(known.get("rescale_factor", 1 / 255)) if known.get("do_rescale", True) else 1.0
        resample = int(known.get("resample", BICUBIC))
    except (TypeError, ValueError) as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{where}: is no preprocessor_config.json ({error}); correct it, or use flags") from error
    size = graph_size or crop or (resize_to if resize == "stretch" else None) or resize_to
    if size is None:
        raise BadInputError(f"{where}: the size of the encoder's images is not known; give --image-size, such as 224")
    resize_to = resize_to or size
    if resize == "stretch" and crop is None:
        resize_to = size
    if min(*size, *resize_to) < 1:
        raise BadInputError(f"{where}: images of {tuple(size)} must be at least 1 pixel high and wide; correct it")
    if resize_to.height < size.height or resize_to.width < size.width:
        raise BadInputError(
            f"{where}: images are resized to {tuple(resize_to)}, and the graph takes the larger {tuple(size)}; give "
            f"--image-size {max(size)}"
        )
    if not 0 <= resample <= 5:
        raise BadInputError(f"{where}: resample {resample} is none of PIL's 0 to 5; correct it")
    return ImageSettings(
        resize=resize, resize_to=resize_to, size=size, resample=resample, scale=scale, mean=mean, std=std
    )


def three_numbers(text: str, option: str) -> tuple[float, ...]:
    """The numbers of a flag such as "0.5,0.5,0.5".

    Raises:
        BadInputError: it is not three numbers.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3:
        raise BadInputError(f"{option} {text!r}: give three numbers with commas, for red, green and blue: 0.5,0.5,0.5")
    return numbers


def _normalisation(
    config: Mapping[str, Any], flags: ImageFlags, where: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = flags.mean, flags.std
    if not config.get("do_normalize", True):
        mean, std = mean or (0.0, 0.0, 0.0), std or (1.0, 1.0, 1.0)
    mean = mean or _three(config.get("image_mean"))
    std = std or _three(config.get("image_std"))
    if mean is None or std is None:
        raise BadInputError(
            f"{where}: the mean and deviation that the encoder was trained with are not known; put its "
            "preprocessor_config.json beside it, or give --mean and --std (SigLIP: 0.5,0.5,0.5 both; CLIP: "
            "0.4815,0.4578,0.4082 and 0.2686,0.2613,0.2758; DINOv2: 0.485,0.456,0.406 and 0.229,0.224,0.225; none: "
            "0,0,0 and 1,1,1)"
        )
    if not all(deviation > 0 for deviation in std):
        raise BadInputError(f"{where}: std {std} must be above 0")
    return mean, std


def _three(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),) * 3
    if len(numbers) != 3:
        raise ValueError(f"{value!r} is not three numbers")
    return numbers


def _resize(config: Mapping[str, Any], flags: ImageFlags, where: str) -> tuple[Resize, Size | None]:
    if flags.image_size is not None:
        return flags.resize or "shortest", Size(flags.image_size, flags.image_size)
    size = config.get("size") if config.get("do_resize", True) else None
    if size is None:
        return flags.resize or "shortest", None
    if isinstance(size, int):
        return flags.resize or ("shortest" if config.get("do_center_crop") else "stretch"), Size(size, size)
    if "shortest_edge" in size and "longest_edge" not in size:
        edge = int(size["shortest_edge"])
        return flags.resize or "shortest", Size(edge, edge)
    if "height" in size and "width" in size:
        return flags.resize or "stretch", Size(int(size["height"]), int(size["width"]))
    raise BadInputError(f"{where}: size {size!r} is not supported; give --image-size and --resize")


def _crop(config: Mapping[str, Any]) -> Size | None:
    size = config.get("crop_size")
    if size is None or not config.get("do_center_crop", False):
        return None
    if isinstance(size, int):
        return Size(size, size)
    return Size(int(size["height"]), int(size["width"]))
