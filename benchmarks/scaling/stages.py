"""All stages of one size: the jobs themselves on a made-up log, with a few steps of every training.

What the full recipe would take is projected from that: seconds beside the loops, and seconds a step times its steps.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import redis

from benchmarks.running.redis_process import own_redis
from benchmarks.scaling.interactions import write_log
from benchmarks.scaling.measured_run import Measured, MeasuredRun, Stopwatch
from offline.dataset import Dataset, Interactions, load_dataset
from offline.publish import publish
from offline.recipe_settings import Recipe
from offline.recipes import standard
from offline.run_folder import RunFolder
from offline.train import train_recipe
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore


class Plan(NamedTuple):
    """How much of every training is done.

    Attributes:
        sizes: interactions of the logs.
        steps: of the graph encoder and of the generator.
        quantizer_steps: of the quantizer.
        interactions_per_test_user: of the log, for each test user that is ranked, so that their number grows with it.
    """

    sizes: tuple[int, ...]
    steps: int
    quantizer_steps: int
    interactions_per_test_user: int


FULL = Plan((1_000_000, 2_000_000, 4_000_000, 8_000_000), steps=4, quantizer_steps=4, interactions_per_test_user=1000)
QUICK = Plan((50_000, 100_000), steps=4, quantizer_steps=2, interactions_per_test_user=250)

UNITS = {
    "load": "interactions",
    "graph": "interactions",
    "rec_ids": "items",
    "generator": "users",
    "decoder": "items",
    "metrics": "users ranked",
    "publish": "items",
}
"""What a stage's throughput is counted in."""

LOOPS = {
    "graph encoder": "graph",
    "content to keys": "graph",
    "residual quantizer": "rec_ids",
    "sequence encoder": "generator",
    "generator": "generator",
}
"""Which stage a loop belongs to, by how its name begins."""


def measure(interactions: int, plan: Plan, *, seed: int, has_time: bool) -> dict[str, Any]:
    """Every stage on a log of that size; to be called in a process of its own."""
    with TemporaryDirectory(prefix="mmgrec-scaling-") as folder:
        data, stopwatch = Path(folder, "log"), Stopwatch()
        write_log(interactions, data, seed=seed, has_time=has_time)
        with stopwatch.part("load"):
            dataset = load_dataset(data, seed=seed)
        full = comparable(dataset, seed)
        run = MeasuredRun(RunFolder(Path(folder, "run")), stopwatch)
        with stopwatch.listening():
            train_recipe(data, with_test_users(dataset, most_test_users(dataset, plan)), run, shortened(full, plan))
        with own_redis() as url, redis.Redis.from_url(url) as client, stopwatch.part("publish"):
            publish(run, ReleaseStore(client, RedisKeys("bench"), blobs_url=str(Path(folder, "blobs"))))
    return described(dataset, full, stopwatch, plan) | {"load_average": os.getloadavg()[0]}


def comparable(dataset: Dataset, seed: int) -> Recipe:
    """`standard` with the same members at every size, and without choices by validation, which looks at 4,000 users."""
    recipe = standard(dataset, seed)
    graph = replace(recipe.graph, members=("fused", "aligned"), temperatures=recipe.graph.temperatures[:1])
    first = {
        name: getattr(recipe.generator, name)[:1] for name in ("transition_weights", "ease_weights", "sequence_shares")
    }
    generator = replace(recipe.generator, **first)
    return replace(recipe, graph=graph, generator=generator, dense_weights=recipe.dense_weights[:1])


def shortened(recipe: Recipe, plan: Plan) -> Recipe:
    """The recipe with the plan's steps, and without floors for Rec-IDs, which so few steps cannot keep."""
    graph = replace(recipe.graph, num_steps=plan.steps, num_alignment_steps=plan.steps)
    return replace(
        recipe,
        graph=replace(graph, num_quantizer_steps=plan.quantizer_steps),
        rec_ids=replace(recipe.rec_ids, min_code_usage=0.0),
        generator=replace(recipe.generator, num_steps=plan.steps, num_sequence_steps=plan.steps),
    )


def most_test_users(dataset: Dataset, plan: Plan) -> int:
    """How many test users are ranked, if there are as many."""
    return max(1, num_interactions(dataset) // plan.interactions_per_test_user)


def num_interactions(dataset: Dataset) -> int:
    """Of all parts together."""
    return sum(len(part.users) for part in (dataset.train, dataset.valid, dataset.test))


def with_test_users(dataset: Dataset, most_users: int) -> Dataset:
    """The dataset with that many test users, evenly spread."""
    users = np.unique(dataset.test.users)
    if len(users) <= most_users:
        return dataset
    kept = np.isin(dataset.test.users, users[np.linspace(0, len(users) - 1, most_users).astype(np.int64)])
    return replace(dataset, test=Interactions(dataset.test.users[kept], dataset.test.items[kept]))


def described(dataset: Dataset, full: Recipe, stopwatch: Stopwatch, plan: Plan) -> dict[str, Any]:
    """Seconds, throughput and memory of every stage, and what the full recipe would take."""
    counts = {
        "interactions": num_interactions(dataset),
        "users": dataset.num_users,
        "items": dataset.num_items,
        "users ranked": min(most_test_users(dataset, plan), len(np.unique(dataset.test.users))),
    }
    wanted = {
        "graph encoder": full.graph.num_steps,
        "content to keys": full.graph.num_alignment_steps,
        "residual quantizer": full.graph.num_quantizer_steps,
        "sequence encoder": full.generator.num_sequence_steps,
        "generator": full.generator.num_steps,
    }
    stages = {
        name: stage_of(stopwatch.parts[name], loops_of(name, stopwatch, wanted), counts[unit], unit.replace(" ", "_"))
        for name, unit in UNITS.items()
    }
    return {**{name.replace(" ", "_"): value for name, value in counts.items()}, "stages": stages}


def stage_of(measured: Measured, loops: dict[str, dict[str, Any]], count: int, unit: str) -> dict[str, Any]:
    """The figures of one stage."""

    def projected(done: float, kind: str) -> float:
        rest = (loop[f"{kind}_per_step"] * (loop["recipe_steps"] - loop["steps"]) for loop in loops.values())
        return done + float(sum(rest))

    seconds = projected(measured.seconds, "seconds")
    return {
        "seconds": round(measured.seconds, 3),
        "loops": loops,
        "projected_seconds": round(seconds, 3),
        "projected_cpu_seconds": round(projected(measured.cpu_seconds, "cpu_seconds"), 3),
        f"{unit}_per_second": round(count / seconds, 1),
        "peak_mib": round(measured.peak_bytes / 2**20),
    }


def loops_of(stage: str, stopwatch: Stopwatch, wanted: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """The loops of a training stage, by name."""
    found = {}
    for name, loop in stopwatch.loops.items():
        start = next((each for each in wanted if name.startswith(each) and LOOPS[each] == stage), None)
        if start is not None and loop.steps:
            found[name] = {
                "steps": loop.steps,
                "seconds_per_step": round(loop.seconds / loop.steps, 4),
                "cpu_seconds_per_step": round(loop.cpu_seconds / loop.steps, 4),
                "recipe_steps": wanted[start],
            }
    return found
