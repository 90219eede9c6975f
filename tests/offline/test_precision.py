"""The `export` job on the trained checkerboard: every precision answers nearly alike, and the run stays a whole run."""

import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import offline.precision as precision_module
from offline.artefacts import open_run_decoder
from offline.dataset import load_dataset
from offline.errors import BadInputError
from offline.precision import export_run, overlap
from offline.run_folder import RunFolder
from offline.train import train
from service.constraints import ItemFilter


@pytest.fixture
def run(trained: tuple[Path, Path], tmp_path: Path) -> RunFolder:
    shutil.copytree(trained[1], tmp_path / "run")
    return RunFolder(tmp_path / "run")


def graph_of(run: RunFolder) -> Any:
    return onnx.load_from_string(run.decoder.read_bytes()).graph


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_another_precision(
    trained: tuple[Path, Path], run: RunFolder, precision: Any, caplog: pytest.LogCaptureFixture
) -> None:
    data = trained[0]
    dataset = load_dataset(data, seed=0)
    before, exact = run.read_json("metrics.json"), open_run_decoder(run)
    metrics = export_run(dataset, run, precision)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []

    operators = Counter(node.op_type for node in graph_of(run).node)
    kinds = {entry.name: entry.type.tensor_type.elem_type for entry in graph_of(run).input}
    if precision == "int8":
        assert operators["QuantizeLinear"] > 10
    else:
        assert kinds["item_vectors"] == onnx.TensorProto.FLOAT16
    told = {entry.name: entry.type.tensor_type.elem_type for entry in graph_of(run).output}
    whole = {name for name in told if name == "leaves" or name.startswith("nodes_")}
    assert {kind for name, kind in told.items() if name not in whole} == {onnx.TensorProto.FLOAT}
    assert {told[name] for name in whole} == {onnx.TensorProto.INT64}

    histories = [dataset.histories("test").of(user) for user in range(dataset.num_users)]
    assert metrics["overlap@20"] == overlap(exact, open_run_decoder(run), histories)
    assert metrics["overlap@20"] >= 0.95
    assert run.read_json("parity.json")["precision"] == precision
    assert run.read_json("metrics.json")["train_seconds"] == pytest.approx(before["train_seconds"], abs=0.01)
    found = {name: value for name, value in metrics.items() if name != "overlap@20"}
    again = train(data, run, "tiny", 0)  # nothing is done again
    assert {name: value for name, value in again.items() if name != "train_seconds"} == found
    if precision == "int8":
        check_answers_alone_and_in_a_batch(open_run_decoder(run), histories[:8])
        export_run(dataset, run, "fp32")  # from the generator: the int8 file cannot give it back
        assert overlap(exact, open_run_decoder(run), histories) == 1.0


def check_answers_alone_and_in_a_batch(decoder: Any, histories: Any) -> None:
    """Static scales: no request changes another's answer."""
    filters = [ItemFilter(excluded=rows) for rows in histories]
    together = decoder.decode(histories, filters, beam_width=50)
    for row, (history, wanted) in enumerate(zip(histories, filters, strict=True)):
        alone = decoder.decode([history], [wanted], beam_width=50)
        assert np.array_equal(alone.alive[0], together.alive[row])
        assert np.allclose(alone.score[0][alone.alive[0]], together.score[row][together.alive[row]], atol=1e-4)


def test_an_unfinished_run_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds no finished run"):
        export_run(load_dataset(trained[0], seed=0), RunFolder(tmp_path), "int8")


@pytest.mark.parametrize("stopped_at", ["write_metrics", "write_json", "record"])
def test_a_decoder_never_keeps_the_metrics_of_another(
    trained: tuple[Path, Path], run: RunFolder, stopped_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped anywhere behind the decoder's file: the run is unfinished, and training it again mends it."""
    data = trained[0]
    before, digest = run.read_json("metrics.json"), run.decoder.read_bytes()

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        target = (precision_module, "write_metrics") if stopped_at == "write_metrics" else (RunFolder, stopped_at)
        patch.setattr(*target, stop)
        with pytest.raises(KeyboardInterrupt):
            export_run(load_dataset(data, seed=0), run, "int8")
    assert run.decoder.read_bytes() != digest
    with pytest.raises(BadInputError, match="stage 'metrics' is missing"):
        run.require("metrics")
    if stopped_at != "write_json":  # the others mend alike; one long export is enough
        return
    mended = train(data, run, "tiny", 0)
    assert run.read_json("parity.json")["precision"] == "fp32"
    assert mended["recall@20"] == before["recall@20"]


def test_a_damaged_decoder_is_exported_from_the_generator(trained: tuple[Path, Path], run: RunFolder) -> None:
    run.decoder.write_bytes(run.decoder.read_bytes()[:1000])
    metrics = export_run(load_dataset(trained[0], seed=0), run, "int8")
    assert metrics["overlap@20"] >= 0.95
    run.require("metrics")
