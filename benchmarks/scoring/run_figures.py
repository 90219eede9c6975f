"""The three lists of a finished run, scored alike: what is served, the generator alone, exhaustive dense search.

Letters: U = users with held-out items, W = beam width, K = length of a list.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from offline.artefacts import load_catalogue, open_run_decoder
from offline.beyond_accuracy import beyond_accuracy
from offline.dataset import Dataset
from offline.evaluate import Rankings, evaluate, rank_users, run_dense_ranking, served_rankings
from offline.metrics import ranking_metrics
from offline.run_folder import RunFolder

IntArray = npt.NDArray[np.int64]
Figures = Mapping[str, float | None]

LIST_LENGTH = 20
CHECKS = ("illegal", "duplicates", "seen")
"""Counts that are zero in a sound answer."""


class RankedLists(NamedTuple):
    """Item rows int64 [U, K], best first, -1 where a list ends, and log-probabilities [U, K] where there are any.

    A log-probability is NaN where an item is listed without one.
    """

    items: IntArray
    log_probs: npt.NDArray[np.float32] | None


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """How good one run is on the test split.

    Attributes:
        lists: "served", "generator" and "dense", each with recall and ndcg at 5, 10, 20 and `offline.beyond_accuracy`.
        beam: its width, the recall of all that it holds, and the share of the best 20 of dense search among that.
        checks: illegal, repeated and already seen items in the answers, each 0 in a sound run.
        users: that were ranked.
        users_without_history: of these, who are served the popular items.
        dense_weight: what validation chose.
        rank_seconds: decoding for all users in batches.
    """

    lists: dict[str, Figures]
    beam: dict[str, float]
    checks: dict[str, float]
    users: int
    users_without_history: int
    dense_weight: float
    rank_seconds: float


def score_run(dataset: Dataset, run: RunFolder, beam_width: int | None = None) -> RunFigures:
    """Rank the test users with the run's exported decoder, through the service's own class.

    Args:
        dataset: that the run was trained on, loaded with its seed.
        run: whose stage "decoder" is finished.
        beam_width: None = the default serving tier.

    Raises:
        BadInputError: the run has no finished decoder, or a damaged one.
    """
    catalogue, targets = load_catalogue(run), dataset.targets("test")
    decoder = open_run_decoder(run, catalogue)
    width = beam_width or decoder.settings.beam_widths[0]
    started = time.monotonic()
    rankings = at_least_as_wide(rank_users(decoder, dataset, "test", beam_width=width), LIST_LENGTH)
    seconds = time.monotonic() - started
    dense = run_dense_ranking(run, catalogue, dataset, rankings.users, "test")
    found = evaluate(rankings, dataset, "test", dense)
    lists: dict[str, Figures] = {
        name: {
            **ranking_metrics(ranked.items, rankings.users, targets),
            **beyond_accuracy(ranked.items, rankings.users, dataset, targets, ranked.log_probs),
        }
        for name, ranked in lists_of(rankings, served_rankings(rankings, dataset, "test"), dense).items()
    }
    return RunFigures(
        lists=lists,
        beam={"width": width, "recall": found["beam_recall"], "dense_share": dense_share(rankings.items, dense)},
        checks={name: found[name] for name in CHECKS},
        users=len(rankings.users),
        users_without_history=int(found["users_without_history"]),
        dense_weight=decoder.settings.dense_weight,
        rank_seconds=round(seconds, 2),
    )


def lists_of(rankings: Rankings, served: Rankings, dense: IntArray) -> dict[str, RankedLists]:
    """The first 20 of each list; served and generator hold the same beams in another order, but for popular items."""
    certain = np.where(rankings.items >= 0, rankings.log_prob, -np.inf)
    return {
        "served": RankedLists(served.items[:, :LIST_LENGTH], served.log_prob[:, :LIST_LENGTH]),
        "generator": RankedLists(
            rankings.reordered(rankings.log_prob)[:, :LIST_LENGTH], -np.sort(-certain, axis=1)[:, :LIST_LENGTH]
        ),
        "dense": RankedLists(dense[:, :LIST_LENGTH], None),
    }


def dense_share(beams: IntArray, dense: IntArray) -> float:
    """How much of the dense lists [U, K] the beams [U, W] hold: a share of each list, then the mean of the users.

    Users with an empty dense list have seen everything, and are skipped; 0 when nobody is left.
    """
    listed = dense >= 0
    kept = listed.any(axis=1)
    if not kept.any():
        return 0.0
    held = np.array([np.isin(wanted, beam) for wanted, beam in zip(dense[kept], beams[kept], strict=True)])
    return float(((held & listed[kept]).sum(axis=1) / listed[kept].sum(axis=1)).mean())


def at_least_as_wide(rankings: Rankings, width: int) -> Rankings:
    """The same rankings with dead slots behind them, so that a narrow beam is scored at the usual cutoffs."""
    missing = width - rankings.items.shape[1]
    if missing <= 0:
        return rankings
    behind = ((0, 0), (0, missing))
    return Rankings(
        users=rankings.users,
        items=np.pad(rankings.items, behind, constant_values=-1),
        log_prob=np.pad(rankings.log_prob, behind, constant_values=-np.inf),
        score=np.pad(rankings.score, behind, constant_values=-np.inf),
    )
