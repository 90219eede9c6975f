"""Ranking metrics (design, section 3): recall@K = hits / test items, ndcg@K against min(test items, K); means of users.

Users without held-out items are skipped.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from offline.dataset import Dataset, Histories, held_out_users

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

LEAST_USERS = 30
"""Of fewer the deviation says little: that of one user is 0, and so is that of two whose gains happen to be equal."""

ROUNDING = 1e-9
"""Qualities that differ by less are the same; where all gains are equal nothing else would tell."""


def hits(ranking: IntArray, users: IntArray, targets: Histories) -> npt.NDArray[np.bool_]:
    """Whether each ranked item is held out for its user.

    Args:
        ranking: item rows [U, K] of the users, best first, -1 where the list ends.
        users: user rows [U].
        targets: held-out items per user.

    Returns:
        bool [U, K].
    """
    num_items = int(max(ranking.max(initial=0), targets.items.max(initial=0))) + 1
    owners = np.repeat(np.arange(len(targets.offsets) - 1), np.diff(targets.offsets))
    wanted = np.unique(owners * num_items + targets.items)
    return (ranking >= 0) & np.isin(users[:, None] * num_items + ranking, wanted)


def ranking_metrics(
    ranking: IntArray, users: IntArray, targets: Histories, cutoffs: Sequence[int] = (5, 10, 20)
) -> dict[str, float]:
    """`recall@K` and `ndcg@K` of rankings [U, at least max(cutoffs)].

    Raises:
        ValueError: no user has a held-out item, or a list shorter than a cutoff was given.
    """
    by_user = metrics_by_user(ranking, users, targets, cutoffs)
    return {name: float(values.mean()) for name, values in by_user.items()}


def metrics_by_user(
    ranking: IntArray, users: IntArray, targets: Histories, cutoffs: Sequence[int]
) -> dict[str, FloatArray]:
    """Like `ranking_metrics`, each user's own: [U]."""
    if ranking.shape[1] < max(cutoffs):
        raise ValueError(f"rankings hold {ranking.shape[1]} items a user, fewer than the cutoff {max(cutoffs)}")
    counts = np.array([len(np.unique(targets.of(int(user)))) for user in users])
    if not len(users) or not counts.all():
        raise ValueError("every evaluated user needs a held-out item; leave the others out")
    found = hits(ranking, users, targets)
    discounts = 1.0 / np.log2(np.arange(2, max(cutoffs) + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    metrics: dict[str, FloatArray] = {}
    for cutoff in cutoffs:
        top = found[:, :cutoff]
        metrics[f"recall@{cutoff}"] = top.sum(1) / counts
        metrics[f"ndcg@{cutoff}"] = top @ discounts[:cutoff] / ideal[np.minimum(counts, cutoff)]
    return metrics


def quality_by_user(ranking: IntArray, users: IntArray, targets: Histories) -> FloatArray:
    """Each user's recall@20 + ndcg@20, [U]: what everything that validation chooses is chosen by."""
    found = metrics_by_user(ranking, users, targets, (20,))
    return found["recall@20"] + found["ndcg@20"]


def preferred(qualities: Mapping[float, FloatArray]) -> float:
    """The first choice, unless others are clearly better: then the best of them.

    Clearly means that the mean over the users is higher by more than two standard errors of the paired difference.
    The best on a few thousand users is otherwise a matter of chance: on `tiktok` that cost .005 of recall. Fewer than
    `LEAST_USERS` users leave it at the first choice.

    Args:
        qualities: choice to the quality of the same users, [U] each; at least one.
    """
    first, *others = qualities
    better = [other for other in others if _clearly_exceeds(qualities[other], qualities[first])]
    return max(better, key=lambda choice: qualities[choice].mean(), default=first)


def can_choose(dataset: Dataset) -> bool:
    """Whether enough users are held out for validation to prefer anything but the first choice."""
    return len(held_out_users(dataset, "valid")) >= LEAST_USERS


def described(qualities: Mapping[float, FloatArray]) -> str:
    """Choices and their mean qualities, for the log."""
    return ", ".join(f"{choice:g}: {quality.mean():.4f}" for choice, quality in qualities.items())


def _clearly_exceeds(challenger: FloatArray, holder: FloatArray) -> bool:
    gain = challenger - holder
    if len(gain) < LEAST_USERS:
        return False
    return bool(gain.mean() > max(2 * gain.std() / len(gain) ** 0.5, ROUNDING))
