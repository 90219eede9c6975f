"""The whole search is one run of one plain graph: no Python between the steps, no control flow, no own operators."""

import gc
import weakref
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from service.contract.decoder_graph import OUTPUT_NAMES, input_names, output_names
from tests.decoder.worlds import VOCABULARIES, Request, World, draw_rec_ids, draw_request, same_lists

MakeWorld = Callable[..., World]
WAYS_TO_RUN = ("run", "run_async", "run_with_iobinding", "run_with_ort_values", "run_with_ortvaluevector")


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(draw_rec_ids(np.random.default_rng(0), VOCABULARIES, 300))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every run of any real onnxruntime session from here on, by the method that was called."""
    called: list[str] = []

    def counted(name: str) -> Callable[..., object]:
        original = getattr(ort.InferenceSession, name)

        def run(*arguments: object, **options: object) -> object:
            called.append(name)
            return original(*arguments, **options)

        return run

    for name in WAYS_TO_RUN:
        monkeypatch.setattr(ort.InferenceSession, name, counted(name))
    return called


def test_every_way_to_run_a_session_is_counted() -> None:
    """A version of onnxruntime with another one would slip past the tests below."""
    found = {name for name in dir(ort.InferenceSession) if name.startswith("run")}
    assert found == set(WAYS_TO_RUN)


@pytest.mark.parametrize("batch", [1, 40])
def test_one_run_per_batch(world: World, runs: list[str], batch: int) -> None:
    """With every kind of filter in it, and whatever the beam width."""
    random = np.random.default_rng(batch)
    for beam_width in (1, 20, 300):
        runs.clear()
        world.decode([draw_request(random, world) for _ in range(batch)], beam_width)
        assert runs == ["run_with_iobinding"]


def test_as_many_filters_as_the_tables_hold_take_one_run(world: World, runs: list[str]) -> None:
    """Requests without a filter, and candidates with one, take no room in the tables."""
    capacity = world.decoder.constraints.tables.capacity
    filters = [frozenset([number, number + 1]) for number in range(capacity)]
    requests = [Request([1], (), None, allowed) for allowed in filters]
    requests += [Request([1]), Request([1], (), [5, 200], frozenset([200]))]
    decoded = world.decode(requests, 5)
    assert runs == ["run_with_iobinding"]
    assert decoded.alive.sum(axis=1).tolist() == [*[2] * capacity, 5, 1]
    world.decode([*requests, Request([1], (), None, frozenset([250]))], 5)
    assert len(runs) > 2  # one filter too many


def test_the_graph_has_no_control_flow_and_standard_operators_alone(onnx_bytes: bytes) -> None:
    graph = onnx.load_from_string(onnx_bytes)
    onnx.checker.check_model(graph)
    operators = {node.op_type for node in graph.graph.node}
    assert operators & {"Loop", "If", "Scan", "SequenceMap"} == set()
    assert {"TopK", "MatMul"} <= operators  # the look is not into an empty list
    assert {node.domain for node in graph.graph.node} == {""}
    assert len(graph.functions) == 0
    assert not any(attribute.HasField("g") for node in graph.graph.node for attribute in node.attribute)
    assert [(each.domain, each.version) for each in graph.opset_import] == [("", 18)]


def test_inputs_and_outputs_have_the_names_of_the_contract(onnx_bytes: bytes) -> None:
    graph = onnx.load_from_string(onnx_bytes).graph
    assert [node.name for node in graph.input] == input_names(num_levels=3)
    assert [node.name for node in graph.output] == output_names(num_levels=3)
    assert output_names(num_levels=3)[:3] == list(OUTPUT_NAMES)


def test_the_number_of_threads_changes_no_answer(world: World) -> None:
    requests = [draw_request(np.random.default_rng(seed), world) for seed in range(12)]
    one, two = world.decode(requests, 30), world.decode(requests, 30, world.decoder_of(world.onnx, threads=2))
    assert same_lists(one, two)


def test_a_decoder_that_nobody_holds_is_gone_at_once(world: World) -> None:
    """With releases of gigabytes the collector of cycles comes too late."""
    decoder = world.decoder_of(world.onnx)
    world.decode([Request([1])], 5, decoder)
    gone = weakref.ref(decoder)
    gc.disable()
    try:
        del decoder
        assert gone() is None
    finally:
        gc.enable()
