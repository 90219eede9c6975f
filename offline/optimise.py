"""One optimiser step, the same in every training."""

import torch
from torch import Tensor

MAX_GRADIENT_NORM = 5.0


def optimise(optimiser: torch.optim.Optimizer, loss: Tensor, name: str) -> None:
    """One optimiser step.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss of the {name} became {loss.item()}; lower its learning rate in the recipe")
    optimiser.zero_grad()
    loss.backward()
    for group in optimiser.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], MAX_GRADIENT_NORM)
    optimiser.step()
