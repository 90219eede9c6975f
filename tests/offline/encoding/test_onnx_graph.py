"""Encoders in ONNX: which input and output are taken, in which form, and what cannot be used."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from offline.encoding.model_files import onnx_files
from offline.encoding.onnx_graph import OnnxGraph
from offline.errors import BadInputError, JobError
from tests.offline.encoding.made_encoders import (
    COLOURS,
    PLAIN_IMAGES,
    mean_colour,
    save_graph,
    write_colours,
    write_items,
)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Three pictures of one colour."""
    write_colours(tmp_path / "shop", a="red", b="lime", c="white")
    return write_items(tmp_path / "shop", image_file=["a.png", "b.png", "c.png"])


EXPECTED = np.array([COLOURS["red"], COLOURS["lime"], COLOURS["white"]], np.float32)


def encoded(job, shop: Path, encoder: Path, *more: object) -> np.ndarray:
    job("encode", "--data", shop, "--modality", "image", "--encoder", encoder, *more).result  # noqa: B018
    return np.load(shop / "features" / "image.npy", allow_pickle=False)


def refused(job, shop: Path, encoder: Path, *more: object) -> str:
    ended = job("encode", "--data", shop, "--modality", "image", "--encoder", encoder, *more)
    assert (ended.code, ended.out) == (2, ""), ended.err
    assert not (shop / "features" / "image.npy").exists()
    return str(ended.err)


@pytest.mark.parametrize(
    ("shape", "flags"),
    [
        (("n", 3, 4, 4), ()),
        (("n", 3, "h", "w"), ()),
        ((1, 3, 4, 4), ()),
        ((2, 3, 4, 4), ()),  # the last batch is filled up
        ((64, 3, 4, 4), ()),
        (("n", "c", "h", "w"), ("--input-layout", "nchw")),
    ],
)
def test_batches_and_sizes_that_graphs_fix_or_leave_open(job, shop: Path, tmp_path: Path, shape: Any, flags) -> None:
    np.testing.assert_allclose(encoded(job, shop, mean_colour(tmp_path / "encoder", shape), *flags), EXPECTED)


def test_colours_may_come_last(job, shop: Path, tmp_path: Path) -> None:
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    axes = {"axes": np.array([1, 2], np.int64)}
    for name, shape in (("fixed", ("n", 4, 4, 3)), ("open", ("n", "h", "w", 3))):
        file = save_graph(tmp_path / name / "m.onnx", [node], {"x": shape}, {"y": ("n", 3)}, weights=axes)
        (file.parent / "preprocessor_config.json").write_text(json.dumps(PLAIN_IMAGES))
        np.testing.assert_allclose(encoded(job, shop, file), EXPECTED)


@pytest.mark.parametrize(("kind", "highest"), [(TensorProto.UINT8, 255), (TensorProto.FLOAT16, 1)])
def test_graphs_that_take_bytes_or_halves(job, shop: Path, tmp_path: Path, kind: int, highest: int) -> None:
    """Who takes bytes normalises by itself."""
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["y"], keepdims=0),
    ]
    axes = {"axes": np.array([2, 3], np.int64)}
    shapes: Any = ({"x": ("n", 3, 4, 4)}, {"y": ("n", 3)})
    file = save_graph(tmp_path / "encoder" / "model.onnx", nodes, *shapes, weights=axes, types={"x": kind})
    (file.parent / "preprocessor_config.json").write_text(json.dumps(PLAIN_IMAGES))
    np.testing.assert_allclose(encoded(job, shop, file), EXPECTED * highest)


def graph_of_outputs(folder: Path, names: tuple[str, ...]) -> Path:
    """All that vision towers give: the map [N, 3, 4, 4], tokens [N, 16, 3], two vectors, one of them twice as long."""
    nodes = [
        helper.make_node("Reshape", ["pixel_values", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["tokens", "axes"], ["pooler_output"], keepdims=0),
        helper.make_node("Add", ["pooler_output", "pooler_output"], ["logits"]),
        helper.make_node("Identity", ["pixel_values"], ["map"]),
    ]
    weights = {"flat": np.array([0, 3, 16], np.int64), "axes": np.array([1], np.int64)}
    shapes: dict[str, Any] = {"map": ("n", 3, 4, 4), "tokens": ("n", 16, 3), "logits": ("n", 3)}
    shapes["pooler_output"] = ("n", 3)
    outputs = {name: shapes[name] for name in names}
    file = save_graph(folder / "model.onnx", nodes, {"pixel_values": ("n", 3, 4, 4)}, outputs, weights=weights)
    (folder / "preprocessor_config.json").write_text(json.dumps(PLAIN_IMAGES))
    return file


@pytest.mark.parametrize(
    ("outputs", "flags", "factor"),
    [
        (("map", "tokens", "logits", "pooler_output"), (), 1),  # a vector with a name that is meant
        (("logits", "tokens"), (), 2),  # any vector before tokens
        (("map", "tokens"), (), 1),  # the mean of the tokens
        (("pooler_output", "logits"), ("--output", "logits"), 2),
        (("pooler_output", "tokens"), ("--output", "tokens"), 1),
    ],
)
def test_which_output_is_taken(job, shop: Path, tmp_path: Path, outputs: Any, flags: Any, factor: int) -> None:
    file = graph_of_outputs(tmp_path / "encoder", outputs)
    np.testing.assert_allclose(encoded(job, shop, file, *flags), EXPECTED * factor)


def test_outputs_that_are_no_vectors(job, shop: Path, tmp_path: Path) -> None:
    file = graph_of_outputs(tmp_path / "encoder", ("map",))
    assert "no output is [N, dim] or [N, tokens, dim], they are {'map': (3, 3, 4, 4)}" in refused(job, shop, file)
    assert "has no output 'mean'; --output is one of map" in refused(job, shop, file, "--output", "mean")


def test_vectors_that_are_not_finite_are_refused_and_not_kept(job, shop: Path, tmp_path: Path) -> None:
    """log(0) for every colour that a picture lacks."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("Log", ["mean"], ["y"]),
    ]
    axes = {"axes": np.array([2, 3], np.int64)}
    shapes: Any = ({"x": ("n", 3, 4, 4)}, {"y": ("n", 3)})
    file = save_graph(tmp_path / "encoder" / "model.onnx", nodes, *shapes, weights=axes)
    (file.parent / "preprocessor_config.json").write_text(json.dumps(PLAIN_IMAGES))
    for _ in range(2):
        assert "gave values that are not finite for 2 of 3 contents" in refused(job, shop, file)


def test_vectors_of_several_lengths_are_refused(job, shop: Path, tmp_path: Path) -> None:
    """One value per colour that is there: red gives 1, white 3."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("NonZero", ["mean"], ["where"]),
        helper.make_node("Cast", ["where"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["floats", "zero", "one", "zero"], ["y"]),
    ]
    weights = {"axes": np.array([2, 3], np.int64), "zero": np.array([0], np.int64), "one": np.array([1], np.int64)}
    shapes: Any = ({"x": (1, 3, 4, 4)}, {"y": (1, "dim")})
    file = save_graph(tmp_path / "encoder" / "model.onnx", nodes, *shapes, weights=weights)
    (file.parent / "preprocessor_config.json").write_text(json.dumps(PLAIN_IMAGES))
    assert "gave vectors of 1 and of 3 numbers; take one whose output has one" in refused(job, shop, file, "--batch", 1)


def test_values_that_float16_cannot_hold(job, shop: Path, tmp_path: Path) -> None:
    settings = {**PLAIN_IMAGES, "image_std": [1e-6, 1, 1]}
    file = mean_colour(tmp_path / "encoder", settings=settings)
    message = refused(job, shop, file, "--dtype", "float16")
    assert "gives 1e+06, which float16 cannot hold; take --dtype float32" in message
    assert encoded(job, shop, file)[0, 0] == pytest.approx(1e6)


BAD_SHAPES = {
    "vectors": (("n", 48), "input 'pixel_values' has 2 axes ['n', 48], but images have 4"),
    "grey": (("n", 1, 4, 4), "has shape [None, 1, 4, 4], which is no nchw RGB image"),
}


@pytest.mark.parametrize(("shape", "message"), BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_inputs_that_take_no_pictures(job, shop: Path, tmp_path: Path, shape: Any, message: str) -> None:
    node = helper.make_node("Flatten", ["pixel_values"], ["y"])
    file = save_graph(tmp_path / "encoder" / "model.onnx", [node], {"pixel_values": shape}, {"y": ("n", "d")})
    assert message in refused(job, shop, file, "--mean", "0,0,0", "--std", "1,1,1")


def test_graphs_that_want_more_than_a_picture(job, shop: Path, tmp_path: Path) -> None:
    node = helper.make_node("Add", ["pixel_values", "input_ids"], ["y"])
    inputs: Any = {"pixel_values": ("n", 3, 4, 4), "input_ids": ("n", 3, 4, 4)}
    file = save_graph(tmp_path / "encoder" / "model.onnx", [node], inputs, {"y": ("n", 3, 4, 4)})
    assert "takes pixel_values, input_ids, and only images can be given; export the part" in refused(job, shop, file)


def test_graphs_that_do_not_run_on_what_they_say(job, shop: Path, tmp_path: Path) -> None:
    """A size that only shows inside: the graph says any, and wants 8 x 8."""
    node = helper.make_node("MatMul", ["pixel_values", "square"], ["y"])
    weights = {"square": np.ones((8, 8), np.float32)}
    shapes: Any = ({"pixel_values": ("n", 3, "h", "w")}, {"y": ("n", 3, "h", "w")})
    file = save_graph(tmp_path / "encoder" / "model.onnx", [node], *shapes, weights=weights)
    (file.parent / "preprocessor_config.json").write_text(json.dumps(PLAIN_IMAGES))
    assert "does not run on inputs of shape {'pixel_values': (3, 3, 4, 4)}" in refused(job, shop, file)


def test_files_that_are_no_graphs(job, shop: Path, tmp_path: Path) -> None:
    whole = mean_colour(tmp_path / "encoder")
    for content in (b"", b"no graph", whole.read_bytes()[:100]):
        whole.write_bytes(content)
        assert "model.onnx: cannot be opened as an ONNX graph" in refused(job, shop, whole)


def test_settings_beside_the_graph_that_are_damaged(job, shop: Path, tmp_path: Path) -> None:
    file = mean_colour(tmp_path / "encoder")
    for content in ("{", "[1]", "3"):
        (file.parent / "preprocessor_config.json").write_text(content)
        assert "preprocessor_config.json: is no JSON object" in refused(job, shop, file)
    other = tmp_path / "other.json"
    assert "other.json: no such file" in refused(job, shop, file, "--preprocessor", other)
    other.write_text(json.dumps(PLAIN_IMAGES))
    np.testing.assert_allclose(encoded(job, shop, file, "--preprocessor", other), EXPECTED)


def test_weights_in_a_file_beside_count(job, shop: Path, tmp_path: Path) -> None:
    """A graph above 2 GB keeps them there."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "table"], ["y"]),
    ]
    weights = {"axes": np.array([2, 3], np.int64), "table": np.eye(3, 512, dtype=np.float32)}
    shapes: Any = ({"x": ("n", 3, 4, 4)}, {"y": ("n", 512)})
    file = save_graph(tmp_path / "encoder" / "model.onnx", nodes, *shapes, weights=weights)
    onnx.save(onnx.load(file), file, save_as_external_data=True, location="model.onnx_data", size_threshold=1024)
    (file.parent / "preprocessor_config.json").write_text(json.dumps(PLAIN_IMAGES))
    np.testing.assert_allclose(encoded(job, shop, file)[:, :3], EXPECTED)
    assert [name for name, _ in onnx_files(str(file)).weights()] == ["graph", "model.onnx_data"]


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    import onnxruntime

    from service.device import cuda_device_present

    if cuda_device_present():
        pytest.skip("there is a CUDA device")
    with pytest.raises(JobError, match=r"--device cuda: (onnxruntime would run on CPU|this onnxruntime has no CUDA)"):
        OnnxGraph(mean_colour(tmp_path), "cuda")
    assert onnxruntime.__name__ in sys.modules


def test_a_graph_says_what_it_takes(tmp_path: Path) -> None:
    graph = OnnxGraph(mean_colour(tmp_path), "cpu")
    assert graph.only_input((4,), "images") == "pixel_values"
    assert graph.shape_of("pixel_values") == [None, 3, 4, 4]
    assert graph.type_of("pixel_values") == np.float32
    with pytest.raises(BadInputError, match="but sounds have 2 or 3"):
        graph.only_input((2, 3), "sounds")
