"""Where training runs: what is chosen, what is moved, and that a training on another device leaves the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from offline.devices import CPU, moved, training_device
from offline.errors import BadInputError, JobError
from offline.optimise import Learner
from offline.processes import Processes, joined
from tests.offline.conftest import Job

ROOT = Path(__file__).parents[2]
META = torch.device("meta")


class Pair(NamedTuple):
    first: Tensor
    second: tuple[Tensor | None, int]


def test_everything_with_a_tensor_in_it_is_moved_and_the_rest_stays() -> None:
    module, tensor = nn.Linear(2, 3), torch.ones(2)
    pair, (other,), named, nothing = moved((Pair(tensor, (tensor, 7)), [tensor], {"a": (tensor,)}, None), META)
    assert isinstance(pair, Pair)
    assert {pair.first.device, other.device, named["a"][0].device} == {META}
    assert pair.second[0] is not None
    assert (pair.second[0].device, pair.second[1], nothing) == (META, 7, None)
    assert moved(module, META) is module
    assert module.weight.device == META
    assert moved(tensor, CPU) is tensor


def test_without_a_cuda_device_the_cpu_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training_device() == training_device("cpu") == Processes().device == CPU
    with pytest.raises(BadInputError, match=r"--device cuda: .*--device auto"), joined(device="cuda"):
        pass


def test_each_process_of_torchrun_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: None)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert training_device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert training_device("cuda") == torch.device("cuda", 1)
    assert taken == [torch.device("cuda", 0), torch.device("cuda", 1)]
    assert training_device("cpu") == CPU


def test_a_training_on_another_device_leaves_the_same_weights_on_the_cpu() -> None:
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests" / "offline" / "trained_elsewhere.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert errors.keys() == {"sets", "sequences", "bpr"}
    assert max(errors.values()) < 1e-9, errors


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_job_says_what_is_missing(job: Job, tmp_path: Path) -> None:
    ended = job("train", "--data", tmp_path, "--run", tmp_path / "run", "--device", "cuda")
    assert ended.code == 2
    assert "--device cuda" in ended.err
    assert "--device auto" in ended.err


def test_a_full_memory_of_a_device_is_an_error_with_its_cure() -> None:
    weight = nn.Parameter(torch.ones(1))

    class Greedy(nn.Module):
        def forward(self, part: int) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    learner = Learner(Greedy(), torch.optim.Adam([weight]), "generator")
    with pytest.raises(
        JobError, match=r"cpu does not hold a batch of the generator \(CUDA out of memory\).*accumulate"
    ):
        learner.step([0])
