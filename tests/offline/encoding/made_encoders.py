"""Small encoders whose vectors are known by eye: the mean colour of an image, the loudness of a sound.

Their graphs are made here with onnx, so nothing is downloaded.
"""

import json
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper
from PIL import Image

PLAIN_IMAGES = {"do_resize": True, "size": {"height": 4, "width": 4}, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
RATE = 8_000  # Hz


def save_graph(
    file: Path, nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Any], outputs: Mapping[str, Any], **more: Any
) -> Path:
    """An ONNX file of float inputs and outputs, name to shape; `weights` are arrays by name, `types` of inputs."""
    types = more.get("types", {})
    graph = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), s) for name, s in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [onnx.numpy_helper.from_array(array, name) for name, array in more.get("weights", {}).items()],
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file


def mean_colour(folder: Path, shape: Sequence[Any] = ("n", 3, 4, 4), settings: Any = PLAIN_IMAGES) -> Path:
    """An encoder of images: [N, 3, 4, 4] to the mean of each colour, [N, 3]."""
    node = helper.make_node("ReduceMean", ["pixel_values", "axes"], ["image_embeds"], keepdims=0)
    weights = {"axes": np.array([2, 3], np.int64)}
    file = save_graph(
        folder / "model.onnx", [node], {"pixel_values": shape}, {"image_embeds": (shape[0], 3)}, weights=weights
    )
    if settings is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return file


def loudness(folder: Path, shape: Sequence[Any] = ("n", "samples"), settings: Any = None) -> Path:
    """An encoder of sounds: [N, samples] to their mean and the mean of their squares, [N, 2]."""
    nodes = [
        helper.make_node("Mul", ["input_values", "input_values"], ["squares"]),
        helper.make_node("ReduceMean", ["input_values", "axes"], ["mean"], keepdims=1),
        helper.make_node("ReduceMean", ["squares", "axes"], ["power"], keepdims=1),
        helper.make_node("Concat", ["mean", "power"], ["wide"], axis=-1),
        helper.make_node("Reshape", ["wide", "two"], ["embeddings"]),
    ]
    weights = {"axes": np.array([-1], np.int64), "two": np.array([-1, 2], np.int64)}
    file = save_graph(folder / "model.onnx", nodes, {"input_values": shape}, {"embeddings": ("m", 2)}, weights=weights)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings or {"sampling_rate": RATE}))
    return file


def write_sound(file: Path, samples: Any, *, rate: int = RATE, width: int = 2) -> Path:
    """A WAV in PCM from samples between -1 and 1: [samples] or [samples, channels]."""
    array = np.asarray(samples, np.float64)
    channels = 1 if array.ndim == 1 else array.shape[1]
    whole = np.round(array.reshape(-1) * (2 ** (8 * width - 1) - 1)).astype("<i4")
    raw = (whole + 128).astype(np.uint8) if width == 1 else whole.view(np.uint8).reshape(-1, 4)[:, :width]
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(raw.tobytes())
    return file


def write_items(data: Path, **columns: Any) -> Path:
    """A dataset folder with these columns in items.parquet; item ids are a, b, c ... and one user has all."""
    data.mkdir(parents=True, exist_ok=True)
    count = len(next(iter(columns.values())))
    ids = columns.pop("item_id", [chr(ord("a") + row) for row in range(count)])
    pl.DataFrame({"item_id": ids, **columns}).write_parquet(data / "items.parquet")
    pl.DataFrame({"user_id": ["u"] * len(ids), "item_id": ids}).write_parquet(data / "interactions.parquet")
    return data


COLOURS = {"red": (1.0, 0.0, 0.0), "lime": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0), "white": (1.0, 1.0, 1.0)}


def write_colours(folder: Path, **files: str) -> Path:
    """Pictures of one colour, name without .png to colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, colour in files.items():
        Image.new("RGB", (8, 6), colour).save(folder / f"{name}.png")
    return folder
