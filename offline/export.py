"""The trained generator as one ONNX file: the whole beam search, checked against torch before anybody gets it."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.export import Dim

from model.beam_decoder import Constraints, ExportedBeamDecoder
from model.generator import Generator
from model.trie_softmax import TrieLevel
from offline.errors import JobError
from offline.trie_tensors import trie_levels
from service.contract.decoder_graph import input_names, output_names
from service.contract.trie import Trie

OPSET = 18
DENSE_WEIGHT = "dense_weight"
EXPORTED_WEIGHT = 0.6180339887
"""Stands in the graph during the export: the exporter folds a factor of 0 or 1 away, and its constant with it. Equal
constants become one, so it is a number that nothing else in the graph has (a share of .5 is common)."""


def export_decoder(
    generator: Generator, trie: Trie, items: Tensor, dense_weight: float, *, dtype: torch.dtype = torch.float32
) -> bytes:
    """Export the beam search of a generator; batch, history, beam width and catalogue stay dynamic.

    Args:
        generator: in eval mode.
        trie: any catalogue of the same levels, as an example.
        items: its item vectors, float32 [num_items, F].
        dense_weight: factor of the dense term in `score`.
        dtype: of weights, item vectors and activations; float16 is for CUDA.

    Returns:
        The ONNX file (opset 18).
    """
    decoder = ExportedBeamDecoder(copy.deepcopy(generator).to(dtype), EXPORTED_WEIGHT).eval()
    auto = Dim.AUTO
    num_levels = generator.num_levels
    batch, history = 2, min(2, generator.config.max_history)
    vectors, leaf_to_row = _at_least_two(items).to(dtype), _at_least_two(torch.from_numpy(trie.leaf_to_row))
    levels = tuple(TrieLevel(*map(_at_least_two, level)) for level in trie_levels(trie))
    example = (
        torch.zeros(batch, history, dtype=torch.long),
        torch.arange(3),
        Constraints(
            torch.zeros(batch, dtype=torch.long),
            torch.zeros(batch, 1, dtype=torch.bool),
            tuple(torch.full((batch, 2), -1, dtype=torch.int32) for _ in levels),
            tuple(torch.ones(2, len(level.tokens), dtype=torch.bool) for level in levels),
        ),
        vectors,
        leaf_to_row,
        levels,
    )
    by_level = tuple({0: auto, 1: auto} for _ in levels)
    shapes = (
        {0: auto, 1: auto},
        {0: auto},
        Constraints({0: auto}, {0: auto}, by_level, by_level),  # type: ignore[arg-type]
        {0: auto},
        {0: auto},
        tuple(TrieLevel({0: auto}, {0: auto}, {0: auto}) for _ in levels),  # type: ignore[arg-type]
    )
    with _quiet():
        program = torch.onnx.export(
            decoder,
            example,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=shapes,
            input_names=input_names(num_levels),
            output_names=output_names(num_levels),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # traces with paths of this machine, nine tenths of a small file
    return set_dense_weight(bytes(model.SerializeToString()), dense_weight)


def set_dense_weight(decoder: bytes, dense_weight: float) -> bytes:
    """The same decoder with another factor of the dense term.

    Raises:
        JobError: the graph does not carry the factor as a named constant.
    """
    graph = onnx.load_from_string(decoder)
    for initializer in graph.graph.initializer:
        if initializer.name == DENSE_WEIGHT:
            initializer.CopyFrom(numpy_helper.from_array(np.array(dense_weight, np.float32), DENSE_WEIGHT))
            return bytes(graph.SerializeToString())
    raise JobError(f"the exported decoder has no constant {DENSE_WEIGHT!r}; export it with this version of torch again")


def _at_least_two(tensor: Tensor) -> Tensor:
    """Axes of length 0 or 1 would be baked into the export as constants; an example may be longer than the truth."""
    return tensor if len(tensor) > 1 else tensor.repeat(2, *(1 for _ in tensor.shape[1:]))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks on every channel; its errors still come as exceptions."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)
