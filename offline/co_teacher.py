"""What teaches beside the graph encoder: transition counts where the data has time, EASE where histories are sets.

Both know things that vectors of a hundred columns do not hold: what followed what, and what goes with which item in
particular. Neither is a stage of its own: they are fitted when the teacher is chosen, and leave nothing in the run.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from offline import progress
from offline.baselines.choice import choose
from offline.baselines.peer import FloatArray, Peer
from offline.baselines.registry import REGISTRY
from offline.baselines.transitions import Transitions
from offline.dataset import Dataset, Histories
from offline.recipe_settings import GeneratorSettings

MOST_ITEMS_OF_EASE = 10_000
"""Three to five squares of weights are inverted, in the cube of the items each: about a minute at this size."""


class CoTeacher(NamedTuple):
    """A fitted peer, and how its scores become masses.

    Attributes:
        name: for the log.
        peer: fitted.
        power: of its positive scores. The higher, the more of the distribution falls to the best items.
    """

    name: str
    peer: Peer
    power: float

    def masses(self, histories: Histories) -> FloatArray:
        """What goes with every history, not summing to one: [B, N], none negative; all zero where nothing is known."""
        scores = self.peer.scores(histories, np.arange(len(histories.offsets) - 1))
        return np.asarray(np.maximum(scores, 0.0) ** self.power, np.float32)


def fit_transitions(dataset: Dataset, seed: int) -> CoTeacher | None:
    """Transition counts, whose scores are counts of a kind; None where there are not even two interactions."""
    if len(dataset.train.users) < 2:
        return None
    transitions = Transitions()
    transitions.fit(dataset, seed=seed)
    return CoTeacher("transition counts", transitions, 1.0)


def fit_ease(dataset: Dataset, seed: int) -> CoTeacher | None:
    """EASE, its regularisation chosen on validation; None where its dense square of weights takes too long.

    Of the powers 1, 2 and 3 of its scores the second gives held-out items the highest likelihood where EASE is good
    (docs/experiments.md).
    """
    if dataset.num_items > MOST_ITEMS_OF_EASE:
        progress.say(
            f"EASE does not teach: the catalogue has {dataset.num_items} items, more than {MOST_ITEMS_OF_EASE}"
        )
        return None
    return CoTeacher("EASE", choose("ease", REGISTRY["ease"], dataset, seed=seed).peer, 2.0)


Fit = Callable[[Dataset, int], CoTeacher | None]


def co_teacher_of(dataset: Dataset, settings: GeneratorSettings) -> tuple[Fit, tuple[float, ...]]:
    """What can teach beside the graph encoder on such data, and the shares of the recipe to choose from."""
    if dataset.has_time:
        return fit_transitions, settings.transition_weights
    return fit_ease, settings.ease_weights
