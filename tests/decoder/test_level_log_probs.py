"""What every token of an answer weighed: beside looking at every item, and from graphs that do not tell."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.decoder_graph import OUTPUT_NAMES
from tests.decoder.worlds import CLOSE, Request, World, as_rows, catalogues, draw_request, few_examples

MakeWorld = Callable[..., World]


@few_examples
@given(data=st.data(), catalogue=catalogues())
def test_tokens_weigh_what_looking_at_every_item_says(
    make_world: MakeWorld, data: st.DataObject, catalogue: Any
) -> None:
    world = make_world(*catalogue)
    random = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    request, beam_width = draw_request(random, world), data.draw(st.sampled_from([1, 5, 20]))
    found = world.decode([request], beam_width)
    leaves = found.leaves[0][found.alive[0]]
    rows = world.trie.leaf_to_row[leaves].astype(np.int64)
    told = world.decoder.level_log_probs(as_rows(request.history), rows, beam_width)
    assert told is not None
    assert told.shape == (len(leaves), 3)
    assert np.allclose(told, world.exhaustive(request.history).by_level[leaves], atol=CLOSE)
    assert np.allclose(told.sum(axis=1), found.log_prob[0][: len(leaves)], atol=CLOSE)


def test_a_graph_of_before_decodes_and_tells_nothing(make_world: MakeWorld, onnx_bytes: bytes) -> None:
    world = make_world(np.array([[0, 0, 0], [0, 1, 0], [1, 1, 1]], np.int32))
    graph = onnx.load_from_string(onnx_bytes)
    del graph.graph.output[len(OUTPUT_NAMES) :]
    older = world.decoder_of(graph.SerializeToString())
    request = Request([1])
    assert np.array_equal(world.decode([request], 3, older).leaves, world.decode([request], 3).leaves)
    assert older.level_log_probs(as_rows([1]), as_rows([0, 2]), 3) is None


def test_a_run_that_explains_leaves_the_next_one_as_it_was(make_world: MakeWorld) -> None:
    world = make_world(np.array([[0, 0, 0], [0, 1, 0], [1, 1, 1]], np.int32))
    before = world.decode([Request([1]), Request([2])], 3)
    world.decoder.level_log_probs(as_rows([1]), as_rows([0, 2]), 3)
    after = world.decode([Request([1]), Request([2])], 3)
    for one, other in zip(before, after, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("rows", [[3], [-1]])
def test_items_outside_the_catalogue_are_refused(make_world: MakeWorld, rows: list[int]) -> None:
    world = make_world(np.array([[0, 0, 0], [0, 1, 0], [1, 1, 1]], np.int32))
    with pytest.raises(ValueError, match=r"limit is 0\.\.2"):
        world.decoder.level_log_probs(as_rows([1]), as_rows(rows), 3)
