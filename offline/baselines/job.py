"""The `baselines` job: every peer on one dataset, under the protocol that MMGRec is evaluated by."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from offline import progress
from offline.baselines.choice import choose
from offline.baselines.ranking import rank_users
from offline.baselines.registry import REGISTRY
from offline.beyond_accuracy import beyond_accuracy
from offline.dataset import Dataset, held_out_users, require_held_out
from offline.errors import BadInputError
from offline.metrics import ranking_metrics
from offline.peak_memory import PeakMemory
from offline.splits import HeldOutSplit


@dataclass(frozen=True, kw_only=True)
class PeerResult:
    """What one peer reached.

    Attributes:
        name: in the registry.
        settings: what it was fitted with, chosen on validation where `validation` is a number.
        validation: recall@20 + ndcg@20 on (at most 4000 users of) validation.
        metrics: recall and ndcg at 5, 10, 20; then `offline.beyond_accuracy`, None where there is nothing to measure.
        seconds: choosing, fitting and ranking.
        peak_bytes: largest resident set of the process meanwhile.
    """

    name: str
    settings: dict[str, Any]
    validation: float | None
    metrics: dict[str, float | None]
    seconds: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """All peers on one dataset; `skipped` maps those that cannot run on it to the reason."""

    dataset: str
    split: HeldOutSplit
    seed: int
    users: int
    history: str
    peers: tuple[PeerResult, ...]
    skipped: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        return asdict(self)


def run_baselines(dataset: Dataset, split: HeldOutSplit, names: Sequence[str] = (), *, seed: int = 0) -> Report:
    """Fit and rank the named peers, or all.

    Args:
        dataset: loaded with the same seed as the runs that it is compared with, where its split is drawn.
        split: held-out interactions to score.
        names: of the registry; empty = all.
        seed: of weights and sampling.

    Raises:
        BadInputError: a name is unknown, or nobody has held-out items in the split.
        FloatingPointError: a loss or score is not finite.
    """
    names = _known(names)
    require_held_out(dataset, split)
    results, skipped = [], {}
    for name in names:
        if reason := REGISTRY[name].unfit(dataset):
            skipped[name] = reason
            progress.say(f"{name}: skipped, {reason}")
        else:
            results.append(_measure(name, dataset, split, seed))
    grown = dataset.has_time and split == "test"
    return Report(
        dataset=dataset.name,
        split=split,
        seed=seed,
        users=len(held_out_users(dataset, split)),
        history="train + valid" if grown else "train",
        peers=tuple(results),
        skipped=skipped,
    )


def _known(names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if name not in REGISTRY:
            raise BadInputError(f"--only: no peer is called {name!r}; take some of {', '.join(REGISTRY)}")
    return [name for name in REGISTRY if name in names or not names]


def _measure(name: str, dataset: Dataset, split: HeldOutSplit, seed: int) -> PeerResult:
    memory = PeakMemory()
    started = time.monotonic()
    peer, validation = choose(name, REGISTRY[name], dataset, seed=seed)
    rankings = rank_users(peer, dataset, split)
    seconds, peak = time.monotonic() - started, memory.bytes()
    targets = dataset.targets(split)
    metrics: dict[str, float | None] = {**ranking_metrics(rankings.items, rankings.users, targets)}
    log_probs = rankings.scores if peer.gives_log_probs else None
    metrics |= beyond_accuracy(rankings.items, rankings.users, dataset, targets, log_probs)
    progress.say(f"{name}: recall@20 {metrics['recall@20']:.4f}, {seconds:.0f} s")
    return PeerResult(
        name=name,
        settings=peer.settings(),
        validation=validation,
        metrics=metrics,
        seconds=round(seconds, 2),
        peak_bytes=peak,
    )
