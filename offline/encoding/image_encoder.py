"""Images through an ONNX graph such as CLIP's or SigLIP's vision tower or DINOv2."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from offline.encoding.encoder import Content, FloatArray, check_vectors
from offline.encoding.fingerprints import encoder_fingerprint
from offline.encoding.image_files import read_image
from offline.encoding.image_settings import ImageFlags, ImageSettings, Size, image_settings
from offline.encoding.model_files import OnnxFiles
from offline.encoding.onnx_graph import Device, OnnxGraph
from offline.errors import BadInputError

Layout = Literal["nchw", "nhwc"]
_MOST_PROPORTION = 4  # longer to shorter side; only a square or so of it is used


class ImageEncoder:
    """An ONNX graph that takes images.

    Args:
        spec: as asked for, for messages.
        files: the graph and what lies beside it.
        device: where it runs.
        flags: preprocessing of the command line.
        layout: order of the input's axes, None to see it from the graph.
        output: name of the output, None to choose.
        max_pixels: see `read_image`.
        max_bytes: see `read_image`.
    """

    def __init__(
        self,
        spec: str,
        files: OnnxFiles,
        device: Device,
        flags: ImageFlags,
        *,
        layout: Layout | None = None,
        output: str | None = None,
        max_pixels: int,
        max_bytes: int,
    ) -> None:
        self._spec, self._files = spec, files
        self._max_pixels, self._max_bytes = max_pixels, max_bytes
        self._graph = OnnxGraph(files.graph, device, output)
        self._input = self._graph.only_input((4,), "images")
        self._type = self._graph.type_of(self._input)
        self._layout, graph_size = self._axes(layout)
        self._output = output
        self._settings = image_settings(files.preprocessor(), flags, graph_size, where=str(files.graph))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Preprocessing, layout and output."""
        return {**self._settings.as_json(), "layout": self._layout, "output": self._output}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over graph, weights and settings."""
        return encoder_fingerprint(self._files.weights(), json.loads(json.dumps(self.settings)))

    def load(self, content: Content) -> npt.NDArray[Any]:
        """An image file as the graph takes it, without the axis of the batch."""
        image = read_image(Path(content), max_pixels=self._max_pixels, max_bytes=self._max_bytes)
        return self._as_input(as_pixels(image, self._settings))

    def encode(self, loaded: Sequence[npt.NDArray[Any]]) -> FloatArray:
        """Vectors [N, dim]."""
        return check_vectors(self._graph.run({self._input: np.stack(loaded)}), len(loaded), self._spec)

    def _as_input(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        axes = (2, 0, 1) if self._layout == "nchw" else (0, 1, 2)
        if self._type == np.uint8:  # the graph normalises by itself
            return np.ascontiguousarray(pixels.transpose(axes))
        settings = self._settings
        mean, std = np.array(settings.mean, np.float32), np.array(settings.std, np.float32)
        values = (pixels.astype(np.float32) * np.float32(settings.scale) - mean) / std
        return np.ascontiguousarray(values.transpose(axes), dtype=self._type)

    def _axes(self, layout: Layout | None) -> tuple[Layout, Size | None]:
        """Layout, and height and width where the graph fixes them."""
        shape = self._graph.shape_of(self._input)
        fits = {"nchw": shape[1] in (3, None), "nhwc": shape[3] in (3, None)}
        chosen: Layout = layout or (
            "nhwc" if fits["nhwc"] and (shape[3] == 3 or not fits["nchw"]) and shape[1] != 3 else "nchw"
        )
        if not fits[chosen]:
            raise BadInputError(
                f"{self._files.graph}: input {self._input!r} has shape {shape}, which is no {chosen} RGB image; "
                "give another --input-layout, or a model that takes RGB images"
            )
        height, width = shape[2:4] if chosen == "nchw" else shape[1:3]
        return chosen, Size(height, width) if height and width else None


def as_pixels(image: Image.Image, settings: ImageSettings) -> npt.NDArray[np.uint8]:
    """Resized and cropped: [height, width, 3]."""
    height, width = settings.resize_to
    if settings.resize == "shortest":
        image = _without_far_ends(image)
        scale = max(height / image.height, width / image.width)
        height, width = max(height, int(image.height * scale)), max(width, int(image.width * scale))
    resized = image.resize((width, height), Image.Resampling(settings.resample))
    top, left = (height - settings.size.height) // 2, (width - settings.size.width) // 2
    return np.asarray(resized.crop((left, top, left + settings.size.width, top + settings.size.height)))


def _without_far_ends(image: Image.Image) -> Image.Image:
    """The centre of a very long image: the rest would be cut off, after it had been blown up to gigabytes."""
    longest = _MOST_PROPORTION * min(image.size)
    width, height = min(image.width, longest), min(image.height, longest)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
