"""Loss curves: what the loops of a stage say of their steps, kept at a size that a plot can show."""

import json
from typing import Any

import pytest

from offline import progress
from offline.losses import MOST_POINTS, Curve, recorded
from offline.run_folder import RunFolder


def curve_of(losses: list[float]) -> dict[str, Any]:
    curve = Curve()
    for loss in losses:
        curve.add(loss)
    return dict(curve.as_json())


def test_a_short_curve_has_a_point_for_every_step() -> None:
    assert curve_of([3.0, 2.5, 2.25]) == {"steps": [1, 2, 3], "loss": [3.0, 2.5, 2.25]}
    assert curve_of([]) == {"steps": [], "loss": []}


def test_a_long_curve_has_means_over_windows() -> None:
    """401 steps are windows of three, and one of two at the end."""
    found = curve_of([float(step) for step in range(401)])
    assert len(found["steps"]) == len(found["loss"]) == 134
    assert (found["steps"][:2], found["steps"][-1]) == ([3, 6], 401)
    assert (found["loss"][:2], found["loss"][-1]) == ([1.0, 4.0], 399.5)


@pytest.mark.parametrize("steps", [1, 199, 200, 201, 399, 12_345])
def test_no_curve_has_more_points_than_a_plot_shows(steps: int) -> None:
    found = curve_of([1.0] * steps)
    assert 1 <= len(found["loss"]) <= MOST_POINTS
    assert found["steps"][-1] == steps


def train(name: str, *losses: float) -> None:
    with progress.task(name, len(losses)) as task:
        for loss in losses:
            task.advance(loss=loss)


def test_whatever_trains_inside_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    found: list[Any] = []
    with recorded(found.append):
        train("graph", 2.0, 1.0)
        train("content", 0.5)
        train("content", 0.25)
        with progress.task("rank users", 2) as task:
            task.advance(steps=2)  # no training
    train("elsewhere", 9.0)
    assert found == [
        {
            "graph": {"steps": [1, 2], "loss": [2.0, 1.0]},
            "content": {"steps": [1], "loss": [0.5]},
            "content (2)": {"steps": [1], "loss": [0.25]},
        }
    ]
    assert "graph: 2/2 loss 1.0000 (0 s)\n" in capsys.readouterr().err


def test_an_error_leaves_no_curves() -> None:
    found: list[Any] = []

    def fail() -> None:
        with recorded(found.append):
            train("graph", 2.0)
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        fail()
    assert found == []


def test_every_training_of_a_run_leaves_its_curve(run: RunFolder) -> None:
    recipe = run.read_json("run.json")["recipe"]
    steps = {
        "graph": {"graph encoder, temperature 0.3": recipe["graph"]["num_steps"]},
        "rec_ids": {"residual quantizer": recipe["graph"]["num_quantizer_steps"]},
        "generator": {"generator": recipe["generator"]["num_steps"]},
    }
    for stage, wanted in steps.items():
        curves = run.read_json(f"losses.{stage}.json")
        assert {name: curve["steps"][-1] for name, curve in curves.items()} == wanted
        for curve in curves.values():
            assert len(curve["steps"]) == len(curve["loss"]) <= MOST_POINTS
            assert curve["steps"] == sorted(set(curve["steps"]))
            assert curve["loss"][-1] < curve["loss"][0]
        entry = json.loads((run.folder / "stages.json").read_text())[stage]
        assert f"losses.{stage}.json" in entry["sha256"]
