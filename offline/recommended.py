"""What the `metrics` stage keeps of its rankings, in `recommended.npz`: exposure of every item, and a few examples.

The rankings themselves are as large as the users are many; a report needs only these. No user id is kept.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offline.dataset import Dataset
from offline.errors import BadInputError
from offline.evaluate import Rankings, served_rankings
from offline.metrics import hits
from offline.run_folder import RunFolder

IntArray = npt.NDArray[np.int64]

RECOMMENDED = "recommended"
TOP = 20
"""Items of a list that count as recommended, as in recall@20."""
EXAMPLES, EXAMPLE_TOP, EXAMPLE_HISTORY = 64, 10, 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Recommended:
    """What the served artefact answered to the users of the test split.

    Attributes:
        exposure: int64 [N], in how many of the top-20 lists each item stands.
        lists: how many lists there were.
        histories: item rows of up to 64 users, evenly spread, oldest first, at most the 200 newest of each.
        items: int64 [E, 10], what these users were answered, best first, -1 where the list ends.
        found: bool [E, 10], whether the user has the item in the test split.
    """

    exposure: IntArray
    lists: int
    histories: tuple[IntArray, ...]
    items: IntArray
    found: npt.NDArray[np.bool_]


def keep_recommended(rankings: Rankings, dataset: Dataset, run: RunFolder) -> None:
    """Write what a report needs of the rankings of the test split."""
    served = served_rankings(rankings, dataset, "test")
    legal = np.where(served.items < dataset.num_items, served.items, -1)
    top = legal[:, :TOP]
    evenly = np.linspace(0, len(served.users) - 1, min(EXAMPLES, len(served.users))).astype(np.int64)
    chosen = np.unique(evenly)
    users = served.users[chosen]
    items = legal[chosen, :EXAMPLE_TOP]
    histories = dataset.histories("test")
    rows = [histories.of(int(user))[-EXAMPLE_HISTORY:] for user in users]
    run.save_arrays(
        RECOMMENDED,
        {
            "exposure": np.bincount(top[top >= 0], minlength=dataset.num_items).astype(np.int64),
            "lists": np.array(len(top), np.int64),
            "history": np.concatenate([np.zeros(0, np.int64), *rows]),
            "history_start": np.cumsum([0, *map(len, rows)]).astype(np.int64),
            "items": items,
            "found": hits(items, users, dataset.targets("test")),
        },
    )


def load_recommended(run: RunFolder, num_items: int) -> Recommended | None:
    """What the run kept; None where it was scored by a version that kept nothing.

    Raises:
        BadInputError: the file is damaged or of another catalogue.
    """
    if not (run.folder / f"{RECOMMENDED}.npz").exists():
        return None
    arrays = run.load_arrays(RECOMMENDED)
    try:
        starts = arrays["history_start"]
        kept = Recommended(
            exposure=arrays["exposure"],
            lists=int(arrays["lists"]),
            histories=tuple(np.split(arrays["history"], starts[1:-1])) if len(starts) > 1 else (),
            items=arrays["items"],
            found=arrays["found"],
        )
        fits = kept.exposure.shape == (num_items,) and kept.items.shape == kept.found.shape
        fits = fits and len(kept.items) == len(kept.histories)
        fits = fits and max(kept.items.max(initial=-1), arrays["history"].max(initial=-1)) < num_items
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise _damaged(run, str(error)) from error
    if not fits:
        raise _damaged(run, f"its arrays do not fit a catalogue of {num_items} items")
    return kept


def _damaged(run: RunFolder, why: str) -> BadInputError:
    return BadInputError(f"{run.folder / RECOMMENDED}.npz cannot be used ({why}); train the run again")
