"""Score the served artefact: rankings come from the exported ONNX through the service's own decoder.

A user without a history is served the popular items (`service.serving.recommender.popular`) and so judged by them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from offline import progress
from offline.artefacts import Catalogue, load_generator
from offline.beyond_accuracy import (
    average_recommendation_popularity,
    catalogue_coverage,
    exposure_gini,
    novelty,
)
from offline.dataset import Dataset, held_out_users, item_table
from offline.dense_search import dense_ranking, first_unseen, moved_by
from offline.metrics import hits, ranking_metrics
from offline.run_folder import RunFolder
from offline.splits import HeldOutSplit
from offline.whole_files import whole_file
from service.constraints import ItemFilter
from service.decoder import BeamDecoder

IntArray = npt.NDArray[np.int64]
BATCH_USERS = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Rankings:
    """What the decoder answers to every user with held-out items, to those without a history as well.

    Attributes:
        users: int64 [U], user rows.
        items: int64 [U, W], item rows, best score first, -1 = dead slot.
        log_prob: float32 [U, W].
        score: float32 [U, W].
    """

    users: IntArray
    items: IntArray
    log_prob: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]

    def reordered(self, key: npt.NDArray[np.floating[Any]]) -> IntArray:
        """The same items by another key [U, W], highest first, dead slots last; ties keep their place."""
        order = np.argsort(np.where(self.items >= 0, -key, np.inf), axis=1, kind="stable")
        return np.take_along_axis(self.items, order, axis=1)


def rank_users(
    decoder: BeamDecoder, dataset: Dataset, split: HeldOutSplit, *, beam_width: int, max_users: int = 0
) -> Rankings:
    """Rank all items for the users that have held-out items in `split`; what they already have is left out.

    Args:
        decoder: the exported graph in the service's decoder.
        dataset: decides histories and targets by the protocol of design section 3.
        split: which held-out items.
        beam_width: beams, and length of each ranking.
        max_users: only that many users, evenly spread; 0 = all.
    """
    histories, users = dataset.histories(split), held_out_users(dataset, split, max_users)
    # One row more than there are items: a leaf position that is no item becomes row `num_items` and counts as illegal.
    leaf_to_row = np.append(np.argsort(decoder.row_to_leaf), decoder.num_items)
    empty = np.empty((0, beam_width), np.float32)
    parts: list[tuple[IntArray, npt.NDArray[np.float32], npt.NDArray[np.float32]]] = [(empty.astype(int), empty, empty)]
    with progress.task(f"rank {split} users", len(users)) as task:
        for start in range(0, len(users), BATCH_USERS):
            batch = [histories.of(int(user)) for user in users[start : start + BATCH_USERS]]
            filters = [ItemFilter(excluded=rows) for rows in batch]
            leaves, log_prob, score = decoder.decode(batch, filters, beam_width=beam_width)
            rows = leaf_to_row[np.clip(leaves, 0, decoder.num_items)]
            parts.append((np.where(leaves >= 0, rows, -1), log_prob, score))
            task.advance(steps=len(batch))
    items, log_prob, score = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = _by_score_then_id(items, score, dataset)
    return Rankings(
        users=users,
        **{
            name: np.take_along_axis(array, order, axis=1)
            for name, array in (("items", items), ("log_prob", log_prob), ("score", score))
        },
    )


def run_dense_ranking(
    run: RunFolder, catalogue: Catalogue, dataset: Dataset, users: IntArray, split: HeldOutSplit
) -> IntArray:
    """What an exhaustive search finds by the dense term that a run serves: int64 [U, 20] (`dense_ranking`)."""
    move = moved_by(load_generator(run).sequence_encoder, catalogue.items)
    return dense_ranking(catalogue.history_state, catalogue.vectors, dataset, users, split, move=move)


def served_rankings(rankings: Rankings, dataset: Dataset, split: HeldOutSplit) -> Rankings:
    """What the service answers: the same, but the popular items, without a score (NaN), to users without a history."""
    cold = without_history(rankings, dataset, split)
    items = rankings.items.copy()
    items[cold] = popular_ranking(dataset, rankings.users[cold], split, items.shape[1])
    log_prob, score = (
        np.where(cold[:, None], np.float32(np.nan), scores) for scores in (rankings.log_prob, rankings.score)
    )
    return Rankings(users=rankings.users, items=items, log_prob=log_prob, score=score)


def without_history(rankings: Rankings, dataset: Dataset, split: HeldOutSplit) -> npt.NDArray[np.bool_]:
    """Which of the ranked users have no history when `split` is predicted: bool [U]."""
    lengths: IntArray = np.diff(dataset.histories(split).offsets)
    return np.asarray(lengths[rankings.users] == 0, bool)


def evaluate(
    rankings: Rankings, dataset: Dataset, split: HeldOutSplit, dense: IntArray | None = None
) -> dict[str, float]:
    """Metrics of the served list, and beside it: the generator alone, dense search, popularity, recall of the beam.

    Users without a history are served, and so counted, with the popular items; `users_without_history` says how many
    they are. The generator alone, dense search and the recall of the beam have the model's own answer to an empty
    history: they say what the model knows. Without users that have held-out items only the counts are there.

    Args:
        rankings: from `rank_users`, at least 20 wide.
        dataset: the dataset.
        split: which held-out items.
        dense: item rows [U, 20] of an exhaustive search with the dense term alone (`dense_ranking`).
    """
    users, targets = rankings.users, dataset.targets(split)
    metrics = _counts(rankings, dataset, split)
    if not len(users):
        return metrics
    served = served_rankings(rankings, dataset, split).items
    metrics |= ranking_metrics(served, users, targets)
    others = {"generator": rankings.reordered(rankings.log_prob), "popularity": popular_ranking(dataset, users, split)}
    if dense is not None:
        others["dense"] = dense
    for name, items in others.items():
        found = ranking_metrics(items, users, targets)
        metrics |= {f"{name}_{metric}": value for metric, value in found.items()}
    wide = rankings.items.shape[1]
    metrics["beam_recall"] = ranking_metrics(rankings.items, users, targets, (wide,))[f"recall@{wide}"]
    return metrics | _beyond(served[:, :20], dataset)


def _counts(rankings: Rankings, dataset: Dataset, split: HeldOutSplit) -> dict[str, float]:
    """What must be 0 in every ranking (illegal, duplicates, seen), and how many users were ranked."""
    return {
        "illegal": float((rankings.items >= dataset.num_items).sum()),
        "duplicates": float(_count_duplicates(rankings.items)),
        "seen": float(hits(rankings.items, rankings.users, dataset.histories(split)).sum()),
        "users": float(len(rankings.users)),
        "users_without_history": float(without_history(rankings, dataset, split).sum()),
    }


def _beyond(top: IntArray, dataset: Dataset) -> dict[str, float]:
    """How much of the catalogue is served, how unevenly, how popular and how new: of lists [U, 20]."""
    counts = dataset.train_counts()
    top = np.where(top < dataset.num_items, top, -1)  # what is no item is counted as illegal, and nothing else
    found = {
        "coverage@20": catalogue_coverage(top, dataset.num_items),
        "gini@20": exposure_gini(top, dataset.num_items),
    }
    if (top >= 0).any():
        found["popularity@20"] = average_recommendation_popularity(top, counts)
        found["novelty@20"] = novelty(top, counts)
    return found


def popular_ranking(dataset: Dataset, users: IntArray, split: HeldOutSplit, num_items: int = 20) -> IntArray:
    """The most interacted items that each user does not have yet: int64 [U, num_items]."""
    order = item_table(dataset).popular_rows()
    return first_unseen(np.broadcast_to(order, (len(users), len(order))), dataset.histories(split), users, num_items)


def write_predictions(rankings: Rankings, dataset: Dataset, path: Path, top: int = 50) -> None:
    """Write (user_id, rank from 1, item_id, score), the best `top` items a user, as parquet, whole or not at all.

    The score is null where there is none, as of the popular items in `served_rankings`.
    """
    items = rankings.items[:, :top]
    row, column = np.nonzero(items >= 0)
    item_ids, user_ids = np.asarray(dataset.item_ids, object), np.asarray(dataset.user_ids, object)
    frame = pl.DataFrame(
        {
            "user_id": pl.Series(user_ids[rankings.users[row]].tolist(), dtype=pl.String),
            "rank": pl.Series(column + 1, dtype=pl.Int32),
            "item_id": pl.Series(item_ids[items[row, column]].tolist(), dtype=pl.String),
            "score": pl.Series(rankings.score[row, column], dtype=pl.Float32).fill_nan(None),
        }
    )
    with whole_file(path) as temporary:
        frame.write_parquet(temporary)


def _by_score_then_id(items: IntArray, score: npt.NDArray[np.float32], dataset: Dataset) -> IntArray:
    """Columns [U, W] by score, highest first, ties by item id: the order in which the service answers."""
    place = np.empty(dataset.num_items + 2, np.int64)  # the last two: rows that are no item, and dead slots (-1)
    place[:-2][np.argsort(np.asarray(dataset.item_ids, dtype=object), kind="stable")] = np.arange(dataset.num_items)
    place[-2:] = dataset.num_items
    return np.lexsort((place[items], -score), axis=-1)


def _count_duplicates(items: IntArray) -> int:
    ordered = np.sort(items, axis=1)
    return int(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).sum())
