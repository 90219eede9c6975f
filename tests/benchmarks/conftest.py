"""A line of a study and the figures of a run, made up, and a small dataset in memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from offline.dataset import Dataset, Interactions

Line = dict[str, Any]
RANKED = ("recall@5", "ndcg@5", "recall@10", "ndcg@10", "recall@20", "ndcg@20")
BEYOND = ("coverage@20", "gini@20", "popularity@20", "novelty@20", "cold_item_recall@20", "cold_user_recall@20")


def figures_of(value: float) -> dict[str, float | None]:
    return {**dict.fromkeys(RANKED, value), **dict.fromkeys(BEYOND, value), "calibration_error@20": None}


def run_of(value: float) -> dict[str, Any]:
    """What `measure_run` returns: the generator alone has half of the served list, dense search .01 more than it."""
    return {
        "lists": {
            "served": figures_of(value),
            "generator": figures_of(value / 2),
            "dense": figures_of(value + 0.01),
        },
        "beam": {"width": 50, "recall": 0.6, "dense_share": 0.8},
        "checks": {"illegal": 0.0, "duplicates": 0.0, "seen": 0.0},
        "users": 10,
        "users_without_history": 0,
        "dense_weight": 8.0,
        "rank_seconds": 1.0,
        "rec_ids": {},
        "stage_seconds": {"graph": 30.0, "rec_ids": 30.0, "generator": 120.0, "decoder": 60.0, "metrics": 5.0},
        "training_seconds": 240.0,
        "peak_bytes": 2**30,
        "reused": False,
    }


@pytest.fixture
def make_run() -> Callable[[float], dict[str, Any]]:
    return run_of


@pytest.fixture
def make_line() -> Callable[..., Line]:
    """One line of a study; `value` is the served figure."""

    def make(variant: str, value: float, **changes: Any) -> Line:
        about = {"variant": variant, "group": "" if variant == "full" else "graph", "dataset": "made", "seed": 0}
        about |= {"dataset_sha256": "d", "base": "standard", "base_sha256": "b", "recipe_sha256": variant}
        return {**about, **run_of(value), "commit": "c1", "sources_sha256": "s1", "date": "2026-11-21", **changes}

    return make


@pytest.fixture(scope="session")
def small() -> Dataset:
    """12 users who have half of 40 items, with time and two modalities."""
    users = np.repeat(np.arange(12), 8)
    items = np.random.default_rng(0).integers(0, 40, len(users))
    none = Interactions(np.empty(0, np.int64), np.empty(0, np.int64))
    return Dataset(
        name="made",
        user_ids=tuple(f"user-{row:02d}" for row in range(12)),
        item_ids=tuple(f"item-{row:02d}" for row in range(40)),
        titles=("",) * 40,
        categories=((),) * 40,
        features={name: np.ones((40, 2), np.float32) for name in ("audio", "text")},
        train=Interactions(users, items),
        valid=none,
        test=none,
        has_time=True,
    )
