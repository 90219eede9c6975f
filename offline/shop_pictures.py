"""Draws what the built-in shop sells: one recognisable object in one colour with one pattern.

Coordinates are in units of the finished picture (64 x 64); drawing happens `_SCALE` times larger and is then reduced,
which is what makes the edges smooth.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

PICTURE_SIZE = 64  # pixels a side
_SCALE = 3

COLOURS = {
    "red": "#c8282d",
    "orange": "#ee7a1b",
    "yellow": "#e9bd0c",
    "green": "#2f8f46",
    "blue": "#2459c4",
    "purple": "#7b3aa6",
    "pink": "#ee5f9c",
    "grey": "#686d74",
}
PATTERNS = ("plain", "striped", "dotted", "checked", "zigzag")

_BACKGROUND = np.array(ImageColor.getrgb("#f4f2ec"), dtype=np.float64)
_TRIM = np.array(ImageColor.getrgb("#5a4433"), dtype=np.float64)  # wood and leather: what has no pattern
_WHITE = np.full(3, 255.0)


class _Part(NamedTuple):
    """One primitive of an object.

    Attributes:
        layer: `body` carries the pattern, `cut` is taken out of it, `behind` and `front` are trim, `inside` is a
            darker shade of the body's own colour.
        form: `polygon`, `ellipse`, `box` (rounded), `line` or `arc`.
        points: x, y, x, y, ... in picture units; for an ellipse, a box and an arc its bounding box.
        size: corner radius of a box, thickness of a line or an arc.
        angles: where an arc starts and ends, degrees clockwise from three o'clock.
    """

    layer: str
    form: str
    points: tuple[float, ...]
    size: float = 0.0
    angles: tuple[float, float] = (0.0, 360.0)


_OBJECTS: dict[str, tuple[_Part, ...]] = {
    "mug": (
        _Part("body", "arc", (34, 23, 58, 47), 5),
        _Part("body", "box", (9, 15, 44, 56), 6),
        _Part("inside", "ellipse", (10, 11, 43, 21)),
    ),
    "shirt": (
        _Part(
            "body",
            "polygon",
            (22, 9, 42, 9, 50, 12, 61, 25, 52, 33, 46, 28, 46, 57, 18, 57, 18, 28, 12, 33, 3, 25, 14, 12),
        ),
        _Part("cut", "ellipse", (24, 2, 40, 16)),
    ),
    "lamp": (
        _Part("behind", "line", (32, 32, 32, 54), 4),
        _Part("behind", "ellipse", (19, 51, 45, 59)),
        _Part("body", "polygon", (22, 6, 42, 6, 55, 36, 9, 36)),
    ),
    "bag": (
        _Part("behind", "arc", (20, 6, 44, 46), 3.5, (180, 360)),
        _Part("body", "polygon", (13, 24, 51, 24, 57, 58, 7, 58)),
    ),
    "chair": (
        _Part("behind", "line", (14, 48, 11, 60), 4),
        _Part("behind", "line", (50, 48, 53, 60), 4),
        _Part("body", "box", (15, 5, 49, 46), 9),
        _Part("body", "box", (5, 27, 17, 53), 5),
        _Part("body", "box", (47, 27, 59, 53), 5),
        _Part("body", "box", (11, 38, 53, 53), 3),
        _Part("inside", "line", (17, 39, 47, 39), 1.6),
        _Part("inside", "line", (17, 31, 17, 52), 1.2),
        _Part("inside", "line", (47, 31, 47, 52), 1.2),
    ),
    "vase": (
        _Part("body", "polygon", (27, 6, 37, 6, 37, 24, 44, 26, 44, 56, 20, 56, 20, 26, 27, 24)),
        _Part("body", "ellipse", (13, 22, 51, 54)),
        _Part("body", "box", (22, 52, 42, 59), 2),
        _Part("body", "ellipse", (22, 4, 42, 12)),
        _Part("inside", "ellipse", (24, 5.5, 40, 10.5)),
    ),
    "hat": (
        _Part("body", "ellipse", (1, 37, 63, 54)),
        _Part("body", "box", (17, 9, 47, 47), 9),
        _Part("front", "polygon", (17, 35, 32, 38, 47, 35, 47, 41, 32, 44, 17, 41)),
    ),
    "umbrella": (
        _Part("behind", "line", (32, 4, 32, 56), 2.6),
        _Part("behind", "arc", (32, 48, 44, 60), 2.6, (0, 180)),
        _Part("body", "ellipse", (3, 8, 61, 66)),
        _Part("cut", "polygon", (0, 37, 64, 37, 64, 70, 0, 70)),
        _Part("cut", "ellipse", (3, 32, 22.4, 44)),
        _Part("cut", "ellipse", (22.4, 32, 41.6, 44)),
        _Part("cut", "ellipse", (41.6, 32, 61, 44)),
    ),
}
KINDS = tuple(_OBJECTS)


def draw_item(kind: str, colour: str, pattern: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one item; the generator varies shade, place, size and the pattern's start a little.

    Args:
        kind: One of `KINDS`.
        colour: One of `COLOURS`.
        pattern: One of `PATTERNS`.
        rng: Two items of the same three attributes look alike, not the same.

    Returns:
        RGB pixels, uint8 [PICTURE_SIZE, PICTURE_SIZE, 3].

    Raises:
        KeyError: An unknown kind, colour or pattern.
    """
    base = np.array(ImageColor.getrgb(COLOURS[colour]), dtype=np.float64)
    base = np.clip(base * rng.uniform(0.92, 1.08) + rng.uniform(-6, 6, size=3), 0, 255)
    zoom, shift = rng.uniform(0.93, 1.0), rng.uniform(-1.5, 1.5, size=2)
    masks = {layer: _layer_mask(kind, layer, zoom, shift) for layer in ("behind", "body", "inside", "front")}
    light = base + (_WHITE - base) * 0.8
    cloth = np.where(_pattern_mask(pattern, rng)[..., None], light, base) * _lighting()

    picture = np.empty(cloth.shape, dtype=np.float32)
    picture[:] = _BACKGROUND
    for paint, mask in (
        (_TRIM, masks["behind"]),
        (cloth, masks["body"]),
        (base * 0.55, _outline(masks["body"])),
        (base * 0.55, masks["inside"]),
        (_TRIM, masks["front"]),
    ):
        picture[mask] = paint[mask] if paint is cloth else paint
    large = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    return np.asarray(large.resize((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.BOX))


def _layer_mask(kind: str, layer: str, zoom: float, shift: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which pixels of the large canvas one layer of an object covers; the body is without its cuts."""
    canvas = Image.new("L", (PICTURE_SIZE * _SCALE,) * 2)
    pen = ImageDraw.Draw(canvas)
    for part in _OBJECTS[kind]:
        if part.layer == layer or (layer == "body" and part.layer == "cut"):
            _draw_part(pen, part, zoom, shift)
    return np.asarray(canvas) > 0


def _draw_part(pen: ImageDraw.ImageDraw, part: _Part, zoom: float, shift: NDArray[np.float64]) -> None:
    middle = PICTURE_SIZE / 2
    points = (np.reshape(part.points, (-1, 2)) - middle) * zoom + middle + shift
    flat = [float(value) for value in (points * _SCALE).ravel()]
    size = round(part.size * zoom * _SCALE)
    fill = 0 if part.layer == "cut" else 255
    if part.form == "polygon":
        pen.polygon(flat, fill=fill)
    elif part.form == "ellipse":
        pen.ellipse(flat, fill=fill)
    elif part.form == "box":
        pen.rounded_rectangle(flat, radius=size, fill=fill)
    elif part.form == "line":
        pen.line(flat, fill=fill, width=size)
    else:
        pen.arc(flat, *part.angles, fill=fill, width=size)


def _pattern_mask(pattern: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where the pattern shows its light colour, bool [side, side] of the large canvas."""
    steps = np.arange(PICTURE_SIZE * _SCALE) / _SCALE
    start = rng.uniform(0, 10, size=2)
    y, x = np.meshgrid(steps + start[0], steps + start[1], indexing="ij")
    light: NDArray[np.bool_] = np.zeros(x.shape, dtype=np.bool_)
    if pattern == "striped":
        light = y % 8 < 4
    elif pattern == "checked":
        light = (x % 12 < 6) ^ (y % 12 < 6)
    elif pattern == "dotted":
        odd_row = (y // 7) % 2
        light = np.hypot((x + 3.5 * odd_row) % 7 - 3.5, y % 7 - 3.5) < 2.1
    elif pattern == "zigzag":
        light = (y + np.abs(x % 12 - 6)) % 9 < 4
    elif pattern != "plain":
        raise KeyError(pattern)
    return light


def _lighting() -> NDArray[np.float64]:
    """Light from the left, so that things look round: factors in [0.82, 1.05], [1, side, 1]."""
    across = np.linspace(0, 1, PICTURE_SIZE * _SCALE)
    return (1.05 - 0.23 * across**1.6)[None, :, None]


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The inner edge of a mask, one pixel of the finished picture wide; an object never touches the canvas' edge."""
    moved = [np.roll(mask, step, axis) for axis in (0, 1) for step in (-_SCALE, _SCALE)]
    edge: NDArray[np.bool_] = mask & ~np.logical_and.reduce(moved)
    return edge
