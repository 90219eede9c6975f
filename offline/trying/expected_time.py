"""A rough guess of how long `try` will take, said before it begins.

Fitted by hand to runs of the `standard` recipe on three datasets of 1,400 to 12,000 items (docs/experiments.md) on one
or two cores of a busy machine. Right within a factor of two or three, which is enough to choose coffee or lunch.
"""

from collections.abc import Sequence

import numpy as np

from offline.dataset import MOST_VALIDATION_USERS, Dataset
from offline.recipe_settings import Recipe
from offline.trying.contenders import MMGREC, SASREC

GRAPH_SECONDS = 60.0
STEP_SECONDS, SMALL_STEP_SECONDS = 0.35, 0.03
"""Of the generator with 128 columns, and with fewer."""
CATALOGUE_SECONDS = 1e-8
"""Of a step, for each user of a batch and item: the teacher is dense in the catalogue."""
VALIDATION_SECONDS = 2e-8
"""For each user and item that a setting is tried on."""
SETTINGS_WITH_TIME, SETTINGS = 55, 8
SOFTMAX_SECONDS = 2e-8
"""Of SASRec, for each position and item; forward and backward."""
POSITION_SECONDS = 2e-5
ROUNDS = 20


def expected_seconds(dataset: Dataset, recipe: Recipe, peers: Sequence[str]) -> dict[str, float]:
    """Seconds of the simple peers together ("peers"), of SASRec where it runs, and of MMGRec."""
    users = min(dataset.num_users, MOST_VALIDATION_USERS)
    settings = SETTINGS_WITH_TIME if dataset.has_time else SETTINGS
    found = {"peers": 2 + settings * users * dataset.num_items * VALIDATION_SECONDS}
    if SASREC in peers:
        lengths = np.minimum(np.diff(dataset.histories("valid").offsets), 50)
        positions = lengths.sum() * max(1.0, 2000 / dataset.num_users)
        each = float(positions) * (POSITION_SECONDS + SOFTMAX_SECONDS * dataset.num_items)
        found[SASREC] = ROUNDS * (each + users * dataset.num_items * VALIDATION_SECONDS)
    generator = recipe.generator
    step = STEP_SECONDS if generator.dim >= 128 else SMALL_STEP_SECONDS
    step += CATALOGUE_SECONDS * generator.batch_users * dataset.num_items
    start = GRAPH_SECONDS if generator.dim >= 128 else GRAPH_SECONDS / 10
    found[MMGREC] = start + step * generator.num_steps
    return found


def in_words(expected: dict[str, float]) -> str:
    """`about 1 minute for the peers, 4 minutes for SASRec, ...`."""
    parts = [
        f"{_minutes(seconds)} for {'the peers' if name == 'peers' else name}" for name, seconds in expected.items()
    ]
    hint = "; --quick leaves SASRec out" if SASREC in expected else ""
    return f"this will take about {', '.join(parts[:-1])} and {parts[-1]} on two idle cores (roughly{hint})"


def _minutes(seconds: float) -> str:
    if seconds < 50:
        return f"{max(5, round(seconds / 5) * 5)} seconds"
    minutes = round(seconds / 60)
    if minutes >= 100:
        return f"{round(minutes / 60)} hours"
    return "1 minute" if minutes == 1 else f"{minutes} minutes"
