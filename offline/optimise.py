"""One optimiser step, the same in every training, by one process or by several."""

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from offline import processes
from offline.errors import JobError
from offline.processes import told_when_one_ends

MAX_GRADIENT_NORM = 5.0


def one_cycle(
    module: nn.Module, learning_rate: float, weight_decay: float, num_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    """AdamW and its schedule for so many steps: up to the rate within 100 of them or a tenth, then down to nothing."""
    optimiser = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=weight_decay)
    warmup = min(100, num_steps // 10 + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=num_steps + 1, pct_start=warmup / num_steps
    )
    return optimiser, schedule


def optimise(optimiser: torch.optim.Optimizer, loss: Tensor, name: str) -> None:
    """One optimiser step by this process alone, whoever else there is.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    optimiser.zero_grad()
    loss.backward()
    _take_step(optimiser, loss, name)


class Learner:
    """Optimiser steps on a loss that is computed in parts.

    Args:
        loss: a module whose call gives the loss of a part, a scalar; those of all parts, in all processes, add up to
            the loss of the batch.
        optimiser: of the weights that learn.
        name: of what learns, for errors.
    """

    def __init__(self, loss: nn.Module, optimiser: torch.optim.Optimizer, name: str) -> None:
        self._optimiser = optimiser
        self._name = name
        self._processes = processes.current()
        self._loss = loss
        if self._processes.count > 1:
            with told_when_one_ends():
                self._loss = _together(loss)

    def step(self, parts: Sequence[Any]) -> float:
        """One step on this process's parts of a batch; gives the loss of the whole batch.

        Raises:
            FloatingPointError: the loss is not finite.
            JobError: another process has ended, or the device's memory is full.
        """
        self._optimiser.zero_grad()
        total = torch.zeros(())
        for number, part in enumerate(parts):
            exchanged = number == len(parts) - 1  # gradients are added up here first, and between processes once
            with nullcontext() if exchanged else self._without_exchange(), told_when_one_ends():
                loss = self._backward(part)
            total = total + loss.detach()
        total = self._processes.total(total)
        _take_step(self._optimiser, total, self._name)
        return total.item()

    def _backward(self, part: Any) -> Tensor:
        try:
            loss: Tensor = self._loss(part)
            # The exchange takes the mean over the processes, where the parts' losses are a sum.
            (loss * self._processes.count).backward()
        except torch.OutOfMemoryError as error:
            raise JobError(
                f"the memory of {self._processes.device} does not hold a batch of the {self._name} ("
                f"{str(error).partition('.')[0]}): cut batches by --accumulate, or take --device cpu; finished stages "
                "are kept"
            ) from error
        return loss

    def _without_exchange(self) -> Any:
        return self._loss.no_sync() if isinstance(self._loss, DistributedDataParallel) else nullcontext()


def _together(loss: nn.Module) -> DistributedDataParallel:
    """The loss with gradients that are added up over the processes.

    Buffers are the same everywhere by themselves. Not every loss meets every weight: those of the codes wait while the
    graph encoder learns.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        return DistributedDataParallel(loss, broadcast_buffers=False, find_unused_parameters=True)


def _take_step(optimiser: torch.optim.Optimizer, loss: Tensor, name: str) -> None:
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss of the {name} became {loss.item()}; lower its learning rate in the recipe")
    for group in optimiser.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], MAX_GRADIENT_NORM)
    optimiser.step()
