"""What validation had decided before, and whether it is decided again: sequence encoder and co-teacher."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from offline.artefacts import load_generator
from offline.errors import BadInputError
from offline.previous_run import PreviousRun
from offline.recipe_settings import Recipe, WarmSettings
from offline.run_folder import RunFolder
from tests.offline.conftest import TrainUntil, write_checkerboard

STILL = WarmSettings(graph_steps=0.02, graph_learning_rate=0.0, generator_steps=0.2, generator_learning_rate=0.0)


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkerboard, every user going through their items in the order of the catalogue."""
    folder = write_checkerboard(tmp_path_factory.mktemp("timed") / "data", features=False)
    log = pl.read_parquet(folder / "interactions.parquet").sort("user_id", "item_id")
    log.with_columns(timestamp=pl.int_range(len(log)) * 1000).write_parquet(folder / "interactions.parquet")
    return folder


def short(**changes: Any) -> Callable[[Recipe], Recipe]:
    """Few steps, and settings of the generator."""

    def change(recipe: Recipe) -> Recipe:
        graph = replace(recipe.graph, num_steps=20, num_quantizer_steps=20)
        rec_ids = replace(recipe.rec_ids, min_code_usage=0.0)
        generator = replace(recipe.generator, num_steps=5, num_sequence_steps=10, **changes)
        return replace(recipe, graph=graph, rec_ids=rec_ids, generator=generator, warm=STILL)

    return change


def shared(run: RunFolder) -> Any:
    return run.read_json("teacher.json")["sequence_share"]


def test_it_goes_on_from_the_encoder_and_its_share(
    until: TrainUntil, timed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cold = until("_make_decoder", timed, tmp_path / "cold", None, short(sequence_shares=(0.75,)))
    assert shared(cold) == PreviousRun(cold).sequence_share() == 0.75
    capsys.readouterr()
    warm = until("_make_decoder", timed, tmp_path / "warm", cold, short(sequence_shares=(0.5, 1.0, 0.0)))
    assert "how far the sequence encoder moves" not in capsys.readouterr().err  # it is not chosen again
    assert shared(warm) == 0.75
    before, after = (load_generator(run).sequence_encoder for run in (cold, warm))
    assert before is not None
    assert after is not None
    for name, weight in before.state_dict().items():
        assert torch.equal(weight, after.state_dict()[name]), name
    steps = [run.read_json("losses.generator.json")["sequence encoder"]["steps"][-1] for run in (cold, warm)]
    assert steps == [10, 2]


def test_what_was_left_out_stays_left_out_however_often_it_is_gone_on_from(
    until: TrainUntil, timed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = until("_make_decoder", timed, tmp_path / "cold", None, short(sequence_shares=(0.0,)))
    for name in ("second", "third"):
        assert shared(run) == 0.0
        assert load_generator(run).sequence_encoder is None
        capsys.readouterr()
        run = until("_make_decoder", timed, tmp_path / name, run, short())
        assert "sequence encoder: left out, as it was there\n" in capsys.readouterr().err
    assert shared(run) == 0.0


@pytest.mark.parametrize("written", [True, False], ids=["nothing to choose", "of a version that did not write it"])
def test_where_nothing_was_chosen_it_starts_cold(
    until: TrainUntil, timed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], written: bool
) -> None:
    """As in a young shop, of whose users too few had an order yet."""
    cold = until("_make_decoder", timed, tmp_path / "cold", None, short(num_sequence_layers=0))
    assert shared(cold) is None
    if not written:
        cold.write_json("teacher.json", {"transition_weight": 0.2})
        cold.record("generator", ("generator.safetensors", "generator.json", "teacher.json"), 1.0)
    capsys.readouterr()
    warm = until("_make_decoder", timed, tmp_path / "warm", cold, short(sequence_shares=(0.5,)))
    said = capsys.readouterr().err
    assert "generator: starts from the previous one" in said
    assert "sequence encoder: cannot go on from 0 layers with 1\n" in said
    assert shared(warm) == 0.5
    assert load_generator(warm).sequence_encoder is not None


def without_judges(data: Path, folder: Path) -> Path:
    """The same log with nobody held out for validation, as in a young shop."""
    log = pl.read_parquet(data / "interactions.parquet").with_columns(split=pl.lit("train"))
    shutil.copytree(data, folder)
    log.write_parquet(folder / "interactions.parquet")
    return folder


@pytest.mark.parametrize("ordered", [True, False])
def test_what_nobody_judged_is_judged_when_it_can_be(
    until: TrainUntil,
    timed: Path,
    checkerboard: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ordered: bool,
) -> None:
    data = timed if ordered else checkerboard
    run = until("_make_decoder", without_judges(data, tmp_path / "young"), tmp_path / "cold", None, short())
    assert run.read_json("teacher.json") == {"co_teacher_share": None, "sequence_share": None}
    name = "transition counts" if ordered else "EASE"
    for number, is_judged in enumerate((True, False)):
        capsys.readouterr()
        run = until("_make_decoder", data, tmp_path / f"warm{number}", run, short())
        said = capsys.readouterr().err
        assert (f"share of {name} in the teacher, by validation" in said) == is_judged
        assert ("how far the sequence encoder moves history states, by validation" in said) == (is_judged and ordered)
        assert isinstance(run.read_json("teacher.json")["co_teacher_share"], float)
        assert isinstance(shared(run), float) == ordered


@pytest.mark.parametrize("share", ["x", 1.5, True, [0.5]])
def test_a_share_that_is_none_is_refused(own_run: RunFolder, share: Any) -> None:
    own_run.write_json("teacher.json", {"co_teacher_share": share, "sequence_share": None})
    own_run.record("generator", ("generator.safetensors", "generator.json", "teacher.json"), 1.0)
    with pytest.raises(BadInputError, match=r"teacher.json: co_teacher_share is .*, not from 0 to 1; train the run ag"):
        PreviousRun(own_run).co_teacher_share()
    assert PreviousRun(own_run).sequence_share() is None
