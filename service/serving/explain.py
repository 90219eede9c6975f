"""Why an item is in an answer: what its Rec-ID shares with the history, and how likely each of its tokens was."""

import numpy as np
import numpy.typing as npt

from service.releases.release import Int64Array, Release
from service.schemas.recommend import Explanation
from service.serving.prepare import Prepared

MAX_SHARED_WITH = 3
"""Items of the history that an explanation names."""


def explain(
    rows: Int64Array, prepared: Prepared, release: Release, level_log_probs: npt.NDArray[np.float32] | None
) -> list[Explanation]:
    """Explain the items of one answer.

    Args:
        rows: int64 [n], the items.
        prepared: the request; of its history what the model looks at counts.
        release: what was decoded with.
        level_log_probs: float32 [n, levels], or None where it is not known.
    """
    newest_first = prepared.history[::-1][: release.manifest.model.max_history]
    rec_ids, of_history = rec_ids_of(rows, release), rec_ids_of(newest_first, release)
    equal = rec_ids[:, None, :] == of_history[None, :, :]  # (n, history, levels)
    shared = equal.cumprod(axis=2).sum(axis=2)
    shared[rows[:, None] == newest_first[None, :]] = 0  # that it is itself explains nothing
    most = shared.max(axis=1, initial=0)
    item_ids = release.items.item_ids
    explanations = []
    for at, levels in enumerate(most.tolist()):
        near = newest_first[shared[at] == levels][:MAX_SHARED_WITH] if levels else newest_first[:0]
        explanations.append(
            Explanation(
                rec_id=rec_ids[at].tolist(),
                shared_levels=levels,
                shared_with=[item_ids[row] for row in near.tolist()],
                level_log_probs=None if level_log_probs is None else level_log_probs[at].tolist(),
            )
        )
    return explanations


def rec_ids_of(rows: Int64Array, release: Release) -> npt.NDArray[np.int32]:
    """Rec-IDs of item rows: int32 [n, levels]."""
    return release.trie.rec_ids_at(release.trie.row_to_leaf()[rows])
