"""Who is compared by `try`: four peers and MMGRec, each with the qualities of the same users."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offline import progress
from offline.baselines.choice import choose
from offline.baselines.ranking import rank_users as rank_by_peer
from offline.baselines.registry import REGISTRY
from offline.dataset import Dataset, held_out_users
from offline.evaluate import rank_users, served_rankings
from offline.metrics import metrics_by_user
from service.decoder import BeamDecoder

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

MMGREC = "MMGRec"
SASREC = "SASRec"
PEERS = {"popularity": "popularity", "item-kNN": "item-knn", "transitions": "transitions", SASREC: "sasrec"}
"""Name as it is shown to name in the registry of peers."""
BY_SIMPLICITY = (*PEERS, MMGREC)
"""What costs least to build and run comes first."""
MOST_QUALITY = 2.0
"""recall@20 + ndcg@20 of one user at most."""
MOST_USERS = 10_000
"""Users that are compared, evenly spread: with so many, an interval is far narrower than what matters."""
QUICK = "because of --quick"


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """What one of them reached with each user, [U] in the same order for all.

    Attributes:
        name: one of `BY_SIMPLICITY`.
        recall: recall@20.
        ndcg: ndcg@20.
        seconds: fitting, choosing of settings and ranking; for MMGRec the training.
    """

    name: str
    recall: FloatArray
    ndcg: FloatArray
    seconds: float

    @property
    def quality(self) -> FloatArray:
        """recall@20 + ndcg@20, by which everything here is chosen (`offline.metrics.quality_by_user`)."""
        return self.recall + self.ndcg


def runnable_peers(dataset: Dataset, *, quick: bool) -> tuple[list[str], dict[str, str]]:
    """The peers that can run on a dataset, and the others with the reason."""
    skipped = {}
    for name, entry in PEERS.items():
        if quick and name == SASREC:
            skipped[name] = QUICK
        elif reason := REGISTRY[entry].unfit(dataset):
            skipped[name] = reason
    return [name for name in PEERS if name not in skipped], skipped


def compared_users(dataset: Dataset) -> IntArray:
    """User rows [U] with held-out items, at most `MOST_USERS`."""
    return held_out_users(dataset, "test", MOST_USERS)


def fit_peer(name: str, dataset: Dataset, *, seed: int) -> Contender:
    """Choose a peer's settings on validation, fit it and rank all items.

    Raises:
        FloatingPointError: a loss or score is not finite.
    """
    started = time.monotonic()
    peer = choose(PEERS[name], REGISTRY[PEERS[name]], dataset, seed=seed).peer
    rankings = rank_by_peer(peer, dataset, "test", max_users=MOST_USERS)
    found = _contender(name, rankings.items, dataset, time.monotonic() - started)
    progress.say(f"{name}: recall@20 {found.recall.mean():.4f} ({found.seconds:.0f} s)")
    return found


def judge_mmgrec(decoder: BeamDecoder, dataset: Dataset, train_seconds: float) -> Contender:
    """What the service will answer with this decoder, at its default beam width."""
    width = decoder.settings.beam_widths[0]
    rankings = rank_users(decoder, dataset, "test", beam_width=width, max_users=MOST_USERS)
    return _contender(MMGREC, served_rankings(rankings, dataset, "test").items, dataset, train_seconds)


def _contender(name: str, items: IntArray, dataset: Dataset, seconds: float) -> Contender:
    found = metrics_by_user(items, compared_users(dataset), dataset.targets("test"), (20,))
    return Contender(name=name, recall=found["recall@20"], ndcg=found["ndcg@20"], seconds=seconds)
