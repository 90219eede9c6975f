"""Training in rounds that ends where validation stops improving, and keeps the best round."""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from offline import progress


class Stopping(NamedTuple):
    """When training ends.

    Attributes:
        most_rounds: the limit.
        patience: rounds without a better one after which it ends.
        rounds_without_validation: how many there are where nothing says when to stop.
        short_rounds: how many of the first are shorter; patience begins after them, or they would end it too early.
    """

    most_rounds: int
    patience: int
    rounds_without_validation: int
    short_rounds: int = 0


def train_in_rounds(
    module: nn.Module, one_round: Callable[[], float], quality: Callable[[], float] | None, stopping: Stopping
) -> int:
    """Train, leave `module` with the parameters of its best round, and return how many rounds those took.

    Args:
        module: what is trained.
        one_round: trains a round, returns its mean loss.
        quality: of the module as it is, higher is better; None where there is no validation.
        stopping: when to end.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    best, best_round, kept = -math.inf, 0, None
    rounds = stopping.most_rounds if quality else stopping.rounds_without_validation
    with progress.task(f"train {type(module).__name__}", rounds) as task:
        for number in range(1, rounds + 1):
            loss = one_round()
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss of {type(module).__name__} became {loss} in round {number}")
            task.advance(f"loss {loss:.3f}, best round {best_round}")
            if quality is None:
                best_round = number
            elif (found := quality()) > best:
                best, best_round, kept = found, number, copy.deepcopy(module.state_dict())
            elif number - max(best_round, stopping.short_rounds) >= stopping.patience:
                break
    if kept is not None:
        module.load_state_dict(kept)
    return best_round
