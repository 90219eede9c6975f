"""Measures pictures of single objects: which colours, which outline, which texture. It sees pixels and nothing else.

Letters: N pictures, S pixels a side.
"""

import numpy as np
from numpy.typing import NDArray

from offline.errors import BadInputError

_HUES = 12
_GREYS = 3
_GRID = 5  # the outline is kept as _GRID x _GRID coverages
_DIRECTIONS = 6
_WAVELENGTHS = (64.0, 10.0, 5.0, 2.0)  # pixels; the rings of the spectrum start at these
_LENGTHS = (0.8, 1.0, 1.8)  # of the three blocks: the shop's colours, kinds and patterns then differ about equally
_DIFFERENT = 18.0  # grey levels from the background that make a pixel part of the object

PIXEL_DIM = _HUES + _GREYS + _GRID * _GRID + _DIRECTIONS * len(_WAVELENGTHS)


def pixel_features(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe pictures by their pixels alone.

    Args:
        pictures: RGB, uint8 [N, S, S, 3], one object each before an even background; S at least 16.

    Returns:
        float32 [N, PIXEL_DIM]: colour, outline and texture, each block of fixed length (zero for an empty picture).

    Raises:
        BadInputError: The array has another shape or type.
    """
    if pictures.ndim != 4 or pictures.shape[1] != pictures.shape[2] or pictures.shape[3] != 3:
        raise BadInputError(f"pictures have shape {pictures.shape}; expected [N, S, S, 3]")
    if pictures.dtype != np.uint8 or pictures.shape[1] < 16:
        raise BadInputError(
            f"pictures are {pictures.dtype} with {pictures.shape[1]} pixels a side; expected uint8, at least 16"
        )
    rows = [_one_picture(picture.astype(np.float64)) for picture in pictures]
    return np.array(rows, dtype=np.float32).reshape(len(pictures), PIXEL_DIM)


def _one_picture(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = _silhouette(picture)
    blocks = (_colours(picture[inside]), _outline(inside), _texture(picture, inside))
    return np.concatenate([_scaled(block, length) for block, length in zip(blocks, _LENGTHS, strict=True)])


def _silhouette(picture: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The object without holes, bool [S, S]: between the outermost non-background pixels of its row and its column."""
    corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
    differs = np.abs(picture - np.median(corners, axis=0)).max(axis=-1) > _DIFFERENT
    filled: NDArray[np.bool_] = np.ones(differs.shape, dtype=np.bool_)
    for axis in (0, 1):
        forth = np.maximum.accumulate(differs, axis=axis)
        back = np.flip(np.maximum.accumulate(np.flip(differs, axis), axis=axis), axis)
        filled &= forth & back
    return filled


def _colours(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of each hue, weighted by its strength, and of dark to light grey; [M, 3] -> [_HUES + _GREYS]."""
    brightest, darkest = pixels.max(axis=1), pixels.min(axis=1)
    strength = (brightest - darkest) / 255  # [0, 1], 0 = grey
    place = _hue(pixels) * _HUES
    lower = np.floor(place).astype(np.intp)
    share = place - lower  # a hue between two bins counts in both, so that a small shift stays small
    hues = np.bincount(lower % _HUES, strength * (1 - share), _HUES)
    hues += np.bincount((lower + 1) % _HUES, strength * share, _HUES)
    level = np.minimum((brightest / 256 * _GREYS).astype(np.intp), _GREYS - 1)
    greys = np.bincount(level, (strength < 0.12) * 0.5, _GREYS)
    return np.concatenate([hues, greys])


def _hue(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hue of RGB pixels [M, 3] in [0, 1): 0 = red, 1/3 = green, 2/3 = blue."""
    red, green, blue = pixels.T
    angle = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)
    hue: NDArray[np.float64] = (angle / (2 * np.pi)) % 1.0
    return hue


def _outline(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Coverage of the cells of a coarse grid laid over the object's bounding square, [_GRID * _GRID]."""
    ys, xs = np.nonzero(inside)
    if not len(ys):
        return np.zeros(_GRID * _GRID)
    side = max(np.ptp(ys), np.ptp(xs)) + 1
    cells = []
    for values in (ys, xs):
        start = (values.min() + values.max() + 1 - side) / 2
        cells.append(np.clip((values - start) * _GRID // side, 0, _GRID - 1).astype(np.intp))
    counts = np.bincount(cells[0] * _GRID + cells[1], minlength=_GRID * _GRID)
    coverage = counts * (_GRID / side) ** 2
    centred: NDArray[np.float64] = coverage - coverage.mean()
    return centred


def _texture(picture: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Which wavelengths run in which directions inside the object: its spectrum in polar bins, square-rooted."""
    side = len(inside)
    surface = _shrunk(inside, side // 16)
    if not surface.any():
        return np.zeros(_DIRECTIONS * len(_WAVELENGTHS))
    light = picture.mean(axis=-1)
    contrast = np.where(surface, light - light[surface].mean(), 0.0)
    power = np.abs(np.fft.fft2(contrast)) ** 2 / surface.sum()
    down, across = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    ring = np.digitize(np.hypot(down, across), [1 / length for length in _WAVELENGTHS]) - 1
    direction = np.round(np.arctan2(down, across) / np.pi * _DIRECTIONS).astype(np.intp) % _DIRECTIONS
    used = ring >= 0
    bins = np.bincount(ring[used] * _DIRECTIONS + direction[used], power[used], _DIRECTIONS * len(_WAVELENGTHS))
    # The constant keeps noise on an even surface from looking like texture.
    strengths: NDArray[np.float64] = np.sqrt(bins) + np.sqrt(len(bins))
    return strengths


def _shrunk(inside: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """The silhouette without its edge, whose contrast would drown the pattern's."""
    for _ in range(steps):
        moved = [np.roll(inside, step, axis) for axis in (0, 1) for step in (-1, 1)]
        inside = inside & np.logical_and.reduce(moved)
    return inside


def _scaled(block: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    norm = np.linalg.norm(block)
    return block * (length / norm) if norm else block
