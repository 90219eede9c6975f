"""Several processes against one: the same weights, one writer, and what happens when one of them ends."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from offline import processes as module
from offline.errors import BadInputError
from offline.memory_needs import require_memory
from offline.processes import Processes, current, joined, require_enough, share
from offline.recipes import tiny
from offline.run_folder import RunFolder
from tests.free_port import free_port
from tests.offline.conftest import Job, dataset_of
from tests.offline.trained_together import train_all

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "offline" / "trained_together.py"
LIMIT_SECONDS = 240


def run_together(arguments: Sequence[object], count: int = 2) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each process; what torchrun would set stands in their environment."""
    port = str(free_port())
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    shared |= {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": str(count), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    started = [
        subprocess.Popen(
            command,
            env={**shared, "RANK": str(rank)},
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=LIMIT_SECONDS) for process in started]
    return [(process.returncode, *each) for process, each in zip(started, said, strict=True)]


@pytest.fixture(scope="module")
def alone() -> dict[str, np.ndarray]:
    """Weights of all trainings by one process, in float64 (see `trained_together`)."""
    return in_float64(1)


def in_float64(accumulate: int) -> dict[str, np.ndarray]:
    torch.set_default_dtype(torch.float64)
    try:
        with joined(accumulate):
            return train_all()
    finally:
        torch.set_default_dtype(torch.float32)


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, weights in expected.items():
        error = np.linalg.norm(found[name] - weights) / max(np.linalg.norm(weights), 1e-30)
        assert error < 1e-9, f"{name}: {error}"  # asked for are 1e-5


def test_two_processes_come_to_the_weights_of_one(alone: dict[str, np.ndarray], tmp_path: Path) -> None:
    """Sets, sequences, sampled graphs, BPR, joint codes, quantizer with k-means and revival, generator: 20 steps each.

    Two processes with two parts each: four parts of eight users, and of one user in the last batch of a round.
    """
    (code, _, said), (other_code, _, other_said) = run_together([PROGRAM, tmp_path / "weights.npz", 2])
    assert (code, other_code) == (0, 0), said + other_said
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as found:
        assert_equal(dict(found), alone)
    assert "generator: 20/20" in said
    assert "generator" not in other_said  # one is heard


def test_parts_one_after_the_other_come_to_the_same_weights(alone: dict[str, np.ndarray]) -> None:
    assert_equal(in_float64(3), alone)


def test_weights_would_differ_if_batches_did(alone: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison notices when a part is left out."""
    monkeypatch.setattr(Processes, "parts", property(lambda self: range(self.num_parts - 1)))
    with pytest.raises(AssertionError, match="graph, sets"):
        assert_equal(in_float64(3), alone)


def test_a_process_that_ends_ends_the_others_with_a_reason(tmp_path: Path) -> None:
    (code, _, said), (other_code, _, _) = run_together([PROGRAM, tmp_path / "weights.npz", 1, "die"])
    assert other_code == 9
    assert code == 1
    assert "process 0 of 2 lost the others: one of them has ended" in said
    assert "Traceback" not in said
    assert not (tmp_path / "weights.npz").exists()


def test_one_of_two_processes_writes_and_speaks(trained: tuple[Path, Path], own_run: RunFolder) -> None:
    """A run that one process has trained goes on by two: the last stage is done again, by one."""
    before = own_run.read_json("metrics.json")
    own_run.reopen("metrics")
    arguments = ["train", "--data", trained[0], "--run", own_run.folder, "--recipe", "tiny", "--seed", 0]
    (code, out, said), (other_code, other_out, other_said) = run_together(["-m", "offline", *arguments])
    assert (code, other_code) == (0, 0), said + other_said
    assert other_out == other_said == ""
    after = json.loads(out)
    assert {name: after[name] for name in ("recall@20", "ndcg@20")} == {
        name: before[name] for name in ("recall@20", "ndcg@20")
    }
    assert own_run.is_whole("metrics", ["metrics.json"])


def test_bad_input_of_one_is_said_by_it(trained: tuple[Path, Path], own_run: RunFolder) -> None:
    """The folder holds a run of another seed: the first process says so, the other that the first has ended."""
    arguments = ["train", "--data", trained[0], "--run", own_run.folder, "--recipe", "tiny", "--seed", 1]
    (code, _, said), (other_code, _, other_said) = run_together(["-m", "offline", *arguments])
    assert code == 2
    assert "holds a run that differs in recipe.seed" in said
    assert other_code == 1
    assert "process 1 of 2 lost the others" in other_said


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"RANK": "0"}, "WORLD_SIZE is not set"),
        ({"WORLD_SIZE": "2"}, "RANK is not set"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR is not set"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": ""}, "MASTER_PORT is not set"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK=2 is none of the 2 processes"),
        ({"RANK": "-1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK=-1 is none"),
        ({"RANK": "one", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "must be numbers"),
    ],
)
def test_an_environment_set_by_halves_is_refused(
    environment: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch, job: Job, tmp_path: Path
) -> None:
    for name in module.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ended = job("train", "--data", tmp_path, "--run", tmp_path / "run")
    assert ended.code == 2
    assert problem in ended.err
    assert "torchrun" in ended.err
    assert current() == Processes()


def test_one_process_of_torchrun_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(module.ENVIRONMENT, ("0", "1", "127.0.0.1", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with joined() as processes:
        assert processes == current() == Processes()
        assert not torch.distributed.is_initialized()


def test_more_parts_than_users_in_a_batch_are_refused() -> None:
    with joined(accumulate=9), pytest.raises(BadInputError, match=r"9 parts, but a batch of the generator has 8 rows"):
        require_enough("generator", 8)
    with joined(accumulate=8):
        require_enough("generator", 8)


def test_processes_share_the_memory_of_their_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dataset_of([[0, 1]], [[]], [[]], num_items=3)
    monkeypatch.setattr("offline.memory_needs.available_bytes", lambda: 3 * 2**30)
    monkeypatch.setattr("offline.memory_needs.training_bytes", lambda *_: 2 * 2**30)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    require_memory(dataset, tiny(dataset, 0))
    monkeypatch.setattr("offline.processes.current", lambda: Processes(0, 2))
    with pytest.raises(BadInputError, match=r"need about 4\.0 GiB.*or start fewer than 2 processes on it$"):
        require_memory(dataset, tiny(dataset, 0))


@pytest.mark.parametrize(("size", "num_parts"), [(0, 3), (1, 4), (7, 3), (8, 8), (100, 7)])
def test_shares_are_even_and_cover_everything(size: int, num_parts: int) -> None:
    parts = [range(size)[share(size, part, num_parts)] for part in range(num_parts)]
    assert [row for part in parts for row in part] == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
