"""Several processes that train one run together: who they are, and what they tell each other.

Every process loads the dataset, draws the same batches and computes the gradient of its parts of each; gradients are
added up (torch's DistributedDataParallel), so all hold the same weights after every step. Whatever is decided or drawn
but once is the first one's, and it alone writes files. `torchrun` starts them and says by the environment who is who.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from io import StringIO

import torch
import torch.distributed as dist
from torch import Tensor

from offline.devices import DeviceName, training_device
from offline.errors import BadInputError, JobError

ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LONGEST_WAIT = timedelta(days=2)
"""For the first process, which does some things alone; one that has ended is noticed at once."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number.
        count: how many there are.
        accumulate: parts that each cuts its share of a batch into, to need less memory.
        device: what this process trains on.
    """

    rank: int = 0
    count: int = 1
    accumulate: int = 1
    device: torch.device = field(default_factory=training_device)

    @property
    def is_first(self) -> bool:
        """Whether it is the one that decides and writes."""
        return self.rank == 0

    @property
    def num_parts(self) -> int:
        """Parts of every batch."""
        return self.count * self.accumulate

    @property
    def parts(self) -> range:
        """The parts that are this process's."""
        return range(self.rank * self.accumulate, (self.rank + 1) * self.accumulate)

    def agree(self, number: float) -> float:
        """What the first process says."""
        if self.count == 1:
            return number
        said = torch.tensor(number, dtype=torch.float64, device=self.device)
        self.take_over([said])
        return said.item()

    def take_over(self, tensors: list[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        if self.count > 1:
            with torch.no_grad(), told_when_one_ends():
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)

    def total(self, number: Tensor) -> Tensor:
        """The sum of what all processes say, a scalar."""
        if self.count > 1:
            with told_when_one_ends():
                dist.all_reduce(number)
        return number


_current: ContextVar[Processes | None] = ContextVar("processes that train together", default=None)


def current() -> Processes:
    """Those that this process trains with; it is alone where nobody has said otherwise."""
    return _current.get() or _alone()


@cache
def _alone() -> Processes:
    """Made once: every step asks, and to look for a device anew takes time."""
    return Processes()


def share(size: int, part: int, num_parts: int) -> slice:
    """Which of `size` rows belong to a part; parts differ by one row at most, and none has fewer than 0."""
    return slice(size * part // num_parts, size * (part + 1) // num_parts)


def require_enough(name: str, size: int) -> None:
    """Refuse to cut batches into more parts than they have rows.

    Raises:
        BadInputError: some parts would always be empty.
    """
    processes = current()
    if processes.num_parts > size:
        raise BadInputError(
            f"{processes.count} processes with --accumulate {processes.accumulate} cut a batch into "
            f"{processes.num_parts} parts, but a batch of the {name} has {size} rows; take fewer processes or a "
            "smaller --accumulate"
        )


@contextmanager
def joined(accumulate: int = 1, device: DeviceName = "auto") -> Iterator[Processes]:
    """Train together with the processes that the environment names, or alone where it names none.

    Only the first one is heard on standard error meanwhile.

    Raises:
        BadInputError: the environment names only part of what is needed, or nonsense, or there is no such device.
        JobError: the others cannot be reached, or one of them has ended.
    """
    rank, count = _from_environment()
    processes = Processes(rank, count, accumulate, training_device(device))
    token = _current.set(processes)
    try:
        if count > 1:
            with told_when_one_ends():
                backend = "gloo" if processes.device.type == "cpu" else "nccl"
                dist.init_process_group(backend, rank=rank, world_size=count, timeout=LONGEST_WAIT)
        with redirect_stderr(sys.stderr if processes.is_first else StringIO()):
            yield processes
    finally:
        _current.reset(token)
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def alone(device: DeviceName = "auto") -> Iterator[None]:
    """Train by this process alone, whatever the environment says.

    Raises:
        BadInputError: there is no such device.
    """
    token = _current.set(Processes(device=training_device(device)))
    try:
        yield
    finally:
        _current.reset(token)


def processes_on_this_machine() -> int:
    """How many of them share its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if current().count > 1 else 1


def _from_environment() -> tuple[int, int]:
    """Rank and number of processes; 0 and 1 where the environment says nothing."""
    if not {"RANK", "WORLD_SIZE"} & os.environ.keys():
        return 0, 1
    missing = [name for name in ENVIRONMENT if not os.environ.get(name)]
    cure = "start the processes with torchrun, which sets all of them, or unset RANK and WORLD_SIZE to train alone"
    if missing:
        raise BadInputError(f"the environment says that several processes train, but {missing[0]} is not set; {cure}")
    try:
        rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except ValueError as error:
        raise BadInputError(f"RANK and WORLD_SIZE must be numbers ({error}); {cure}") from error
    if not 0 <= rank < count:
        raise BadInputError(f"RANK={rank} is none of the {count} processes of WORLD_SIZE={count}; {cure}")
    return rank, count


@contextmanager
def told_when_one_ends() -> Iterator[None]:
    """Torch's error of a connection that ended, as an error of the job."""
    try:
        yield
    except RuntimeError as error:
        processes = current()
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):  # gloo's own are plain RuntimeErrors
            raise
        raise JobError(
            f"process {processes.rank} of {processes.count} lost the others: one of them has ended, see what it said "
            f"({str(error).splitlines()[0]}); call the same again, finished stages are kept"
        ) from error
