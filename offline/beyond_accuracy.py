"""What recall does not say of recommendations: how much of the catalogue they use, how popular, how new, how honest.

Every function takes rankings as item rows int64 [U, K], best first, -1 where a list ends: those of
`offline.evaluate.Rankings` and of the baselines alike. `train_counts` is `Dataset.train_counts()`, [N].
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from offline.dataset import Dataset, Histories
from offline.metrics import hits, ranking_metrics

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating[Any]]

COLD_ITEM_COUNT = 5
"""An item is cold with at most so many training interactions."""
COLD_USER_COUNT = 3
"""A user is cold with at most so many training interactions."""


def catalogue_coverage(ranking: IntArray, num_items: int) -> float:
    """Share of the catalogue that stands in at least one list (Ge et al. 2010, "Beyond accuracy")."""
    return len(np.unique(ranking[ranking >= 0])) / num_items


def exposure_gini(ranking: IntArray, num_items: int) -> float:
    """Gini index of how often each item is recommended: 0 = all equally often, 1 = one item has every place.

    `Σ_j (2j - N - 1) p_j / (N - 1)` with the shares p in ascending order (Shani & Gunawardana 2011, "Evaluating
    Recommendation Systems", section 8.3). 0 for a catalogue of one item and for empty lists.
    """
    exposure = np.sort(np.bincount(ranking[ranking >= 0], minlength=num_items))
    if num_items < 2 or not exposure.any():
        return 0.0
    places = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float(places @ exposure / exposure.sum() / (num_items - 1))


def average_recommendation_popularity(ranking: IntArray, train_counts: IntArray) -> float:
    """Training interactions of a recommended item: mean of each list, then of the lists (Yin et al. 2012).

    Raises:
        ValueError: there is no list with an item in it.
    """
    return _mean_of_lists(ranking, train_counts.astype(np.float64))


def novelty(ranking: IntArray, train_counts: IntArray) -> float:
    """Mean self-information of a recommended item in bits, `-log2 p`: mean of each list, then of the lists.

    p = the item's share of the training interactions with one added to every count, so that an item without any is
    finite (Zhou et al. 2010, arXiv 0808.2670; Castells et al. 2015, "Novelty and Diversity in Recommender Systems").

    Raises:
        ValueError: there is no list with an item in it.
    """
    shares = (train_counts + 1) / (train_counts + 1).sum()
    return _mean_of_lists(ranking, -np.log2(shares))


def expected_calibration_error(probabilities: FloatArray, outcomes: FloatArray, num_bins: int = 15) -> float:
    """How far predicted probabilities are from what happens: `Σ_bins |bin| / n · |mean probability - mean outcome|`.

    Guo et al. 2017 (arXiv 1706.04599), with bins of equal *size* and not of equal width (Nixon et al. 2019, arXiv
    1904.01685): probabilities of single items are small, and bins of equal width would put all of them in the first.

    Args:
        probabilities: [n], in [0, 1].
        outcomes: [n], what happened, in [0, 1]; a share where several things happened at once.
        num_bins: bins; fewer when there are fewer predictions.

    Raises:
        ValueError: no predictions, or not as many outcomes.
    """
    if not len(probabilities) or len(probabilities) != len(outcomes):
        raise ValueError(
            f"{len(probabilities)} probabilities for {len(outcomes)} outcomes; give one each, at least one"
        )
    order = np.argsort(probabilities, kind="stable")
    bins = np.array_split(order, min(num_bins, len(order)))
    gaps = [len(rows) * abs(float(probabilities[rows].mean() - outcomes[rows].mean())) for rows in bins]
    return sum(gaps) / len(order)


def list_calibration_error(
    ranking: IntArray, log_probs: FloatArray, users: IntArray, targets: Histories, num_bins: int = 15
) -> float:
    """Expected calibration error of the log-probabilities that stand beside ranked items, [U, K].

    The claim: a held-out interaction of the user is this item with probability `exp(log_prob)`. The outcome: the share
    of the user's held-out items that it is, so 1 / their number on a hit. It says nothing of items beyond the lists.
    Items with a log-probability of NaN (the popular ones that a user without a history is served) claim nothing.

    Raises:
        ValueError: there is no list with an item that claims something.
    """
    listed = (ranking >= 0) & ~np.isnan(log_probs)
    counts = np.array([len(np.unique(targets.of(int(user)))) for user in users])
    outcomes = hits(ranking, users, targets) / np.maximum(counts, 1)[:, None]
    return expected_calibration_error(np.exp(log_probs[listed].astype(np.float64)), outcomes[listed], num_bins)


def item_recall(
    ranking: IntArray, users: IntArray, targets: Histories, train_counts: IntArray, *, fewest: int = 0, most: int
) -> float | None:
    """Recall@K over held-out items with `fewest` to `most` training interactions alone; None where there are none.

    Users without such a held-out item are skipped; their lists are not shortened, so items of other counts compete.
    """
    owners = np.repeat(np.arange(len(targets.offsets) - 1), np.diff(targets.offsets))
    counts = train_counts[targets.items]
    kept = (counts >= fewest) & (counts <= most)
    sizes = np.bincount(owners[kept], minlength=len(targets.offsets) - 1)
    wanted = Histories(np.concatenate([[0], np.cumsum(sizes)]), targets.items[kept])
    return _recall(ranking, users, wanted, sizes[users] > 0)


def user_recall(
    ranking: IntArray, users: IntArray, targets: Histories, user_counts: IntArray, *, fewest: int = 0, most: int
) -> float | None:
    """Recall@K of the users with `fewest` to `most` training interactions (`user_counts`, one per user row).

    None where no ranked user has that many.
    """
    counts = user_counts[users]
    return _recall(ranking, users, targets, (counts >= fewest) & (counts <= most))


def beyond_accuracy(
    ranking: IntArray, users: IntArray, dataset: Dataset, targets: Histories, log_probs: FloatArray | None = None
) -> dict[str, float | None]:
    """All of the above for the first K items of each list, K = 20 or what the lists hold; None = nothing to measure.

    Args:
        ranking: item rows [U, K'], best first.
        users: user rows [U].
        dataset: whose training interactions are counted.
        targets: held-out items.
        log_probs: [U, K'] over the whole catalogue; None where the scores are no log-probabilities, NaN for an item
            that has none.
    """
    top = ranking[:, :20]
    item_counts = dataset.train_counts()
    user_counts = np.bincount(dataset.train.users, minlength=dataset.num_users)
    listed = bool((top >= 0).any())
    calibration = None
    if log_probs is not None and ((top >= 0) & ~np.isnan(log_probs[:, :20])).any():
        calibration = list_calibration_error(top, log_probs[:, :20], users, targets)
    return {
        "coverage@20": catalogue_coverage(top, dataset.num_items),
        "gini@20": exposure_gini(top, dataset.num_items),
        "popularity@20": average_recommendation_popularity(top, item_counts) if listed else None,
        "novelty@20": novelty(top, item_counts) if listed else None,
        "calibration_error@20": calibration,
        "cold_item_recall@20": item_recall(top, users, targets, item_counts, most=COLD_ITEM_COUNT),
        "cold_user_recall@20": user_recall(top, users, targets, user_counts, most=COLD_USER_COUNT),
    }


def _recall(ranking: IntArray, users: IntArray, targets: Histories, kept: npt.NDArray[np.bool_]) -> float | None:
    if not kept.any():
        return None
    width = ranking.shape[1]
    return ranking_metrics(ranking[kept], users[kept], targets, (width,))[f"recall@{width}"]


def _mean_of_lists(ranking: IntArray, values: npt.NDArray[np.float64]) -> float:
    listed = ranking >= 0
    lengths = listed.sum(axis=1)
    if not lengths.any():
        raise ValueError("no list holds an item, so there is no mean; rank at least one user")
    sums = np.where(listed, values[ranking.clip(min=0)], 0.0).sum(axis=1)
    return float((sums[lengths > 0] / lengths[lengths > 0]).mean())
