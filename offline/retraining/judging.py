"""What the gate of `retrain` measures: the candidate beside the served release, its speed, and recent histories."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import redis

from offline.dataset import Dataset, held_out_users
from offline.retraining.comparison import compare, rows_of
from offline.retraining.gate import Reason, latency_reasons, promises_of, quality_reasons, replay_reasons
from offline.retraining.latency import median_milliseconds
from offline.retraining.replay import replay
from offline.retraining.served_release import OpenDecoder
from offline.run_folder import RunFolder
from service.contract.redis_keys import RedisKeys

TIMED_HISTORIES = 40
MOST_TIMINGS = 3
"""A candidate that seems slow is timed again: a busy machine must not cost a night, and what is slow stays slow."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the caller allows.

    Attributes:
        tolerance: share of the served release's recall and NDCG that may be lost.
        latency_budget_ms: most that the median answer may take; None for no such limit.
    """

    tolerance: float
    latency_budget_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says.

    Attributes:
        reasons: against the candidate; none when it passes.
        facts: what was measured, for manifest and report.
    """

    reasons: tuple[Reason, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def publishes(self, force: bool) -> bool:
        """Whether the candidate is published."""
        return not self.reasons or (force and not any(reason.final for reason in self.reasons))

    def as_json(self, force: bool) -> dict[str, Any]:
        """As the manifest and the summary have it."""
        return {
            **self.facts,
            "passed": not self.reasons,
            "forced": bool(self.reasons) and self.publishes(force),
            "reasons": [reason.as_json() for reason in self.reasons],
        }


def judge(
    run: RunFolder,
    candidate: OpenDecoder,
    served: OpenDecoder | None,
    dataset: Dataset,
    comparison: dict[str, Any],
    limits: Limits,
) -> Verdict:
    """Everything that needs no Redis.

    Args:
        run: finished.
        candidate: its decoder.
        served: what is served now; None when nothing is.
        dataset: of the run.
        comparison: of the two (`compare_with`).
        limits: of the caller.
    """
    broken, facts = promises_of(run, candidate.decoder)
    if broken:
        return Verdict(reasons=tuple(broken), facts=facts)
    too_slow, latencies = _judge_latency(candidate, served, dataset, limits.latency_budget_ms)
    reasons = (*quality_reasons(comparison, limits.tolerance), *too_slow)
    return Verdict(reasons=reasons, facts={**facts, "comparison": comparison, "latency_ms": latencies})


def judge_replay(candidate: OpenDecoder, client: redis.Redis, keys: RedisKeys, user_ids: Sequence[str]) -> Verdict:
    """The answers to recent histories in Redis."""
    counts = replay(candidate, client, keys, user_ids)
    return Verdict(reasons=tuple(replay_reasons(counts)), facts={"replay": counts})


def compare_with(served: OpenDecoder | None, candidate: OpenDecoder, dataset: Dataset) -> dict[str, Any]:
    """See `compare`; nothing where nothing is served."""
    return {} if served is None else compare(candidate, served, dataset)


def _judge_latency(
    candidate: OpenDecoder, served: OpenDecoder | None, dataset: Dataset, budget_ms: float | None
) -> tuple[list[Reason], dict[str, float]]:
    """What speaks against its speed every time that it is timed, and the last times."""
    for _ in range(MOST_TIMINGS):
        latencies = _latencies(candidate, served, dataset)
        reasons = latency_reasons(latencies["new"], latencies.get("served"), budget_ms)
        if not reasons:
            break
    return reasons, latencies


def _latencies(candidate: OpenDecoder, served: OpenDecoder | None, dataset: Dataset) -> dict[str, float]:
    all_histories = dataset.histories("test")
    histories = [all_histories.of(int(user)) for user in held_out_users(dataset, "test", TIMED_HISTORIES)]
    histories = histories or [np.zeros(0, np.int64)]
    if served is None:
        return {"new": median_milliseconds([candidate.decoder], [histories])[0]}
    rows = rows_of(served.item_ids, dataset.item_ids)
    theirs = [rows[history][rows[history] >= 0] for history in histories]
    new, old = median_milliseconds([candidate.decoder, served.decoder], [histories, theirs])
    return {"new": new, "served": old}
