"""MMGRec and every peer on some datasets, as one JSON object."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.scoring.dataset_titles import titles
from benchmarks.scoring.isolated import isolated
from benchmarks.scoring.over_seeds import Spread, spread, spreads
from benchmarks.scoring.provenance import WorkFolder, machine, sources
from benchmarks.scoring.quality_bars import judge
from benchmarks.scoring.quality_measurements import describe, measure_peer, measure_run
from offline import progress
from offline.baselines.registry import REGISTRY
from offline.errors import BadInputError
from offline.recipes import RECIPES

Json = dict[str, Any]

LISTS = ("served", "generator", "dense")
HEADLINE = tuple(f"{metric}@{cutoff}" for cutoff in (5, 10, 20) for metric in ("recall", "ndcg"))


class Plan(NamedTuple):
    """What to measure.

    Attributes:
        data: dataset folders.
        recipe: of the runs.
        seeds: of the runs.
        peers: of the registry.
        peer_seeds: of the peers.
        work: where runs and results of peers are kept.
    """

    data: Sequence[Path]
    recipe: str
    seeds: Sequence[int]
    peers: Sequence[str]
    peer_seeds: Sequence[int]
    work: WorkFolder


def quality(plan: Plan) -> Json:
    """Measure all of a plan; every dataset is looked at first, and one that was named twice is measured once.

    `datasets` has them by name; where several are called the same, by `key`.

    Raises:
        BadInputError: an unknown recipe or peer, a dataset that cannot be used, or a run folder that holds another run.
    """
    _require_known("recipe", [plan.recipe], RECIPES)
    _require_known("peer", plan.peers, REGISTRY)
    about = {"benchmark": "quality", "recipe": plan.recipe, "seeds": list(plan.seeds), **sources()}
    described = [(data, isolated(describe, data)) for data in plan.data]
    folders = {found["key"]: (data, found) for data, found in described}
    called = titles({key: found["name"] for key, (_, found) in folders.items()})
    datasets = {called[key]: _dataset(data, found, plan) for key, (data, found) in folders.items()}
    return {**about, "machine": machine(), "datasets": datasets}


def _require_known(kind: str, names: Sequence[str], known: Mapping[str, object]) -> None:
    for name in names:
        if name not in known:
            raise BadInputError(f"no {kind} is called {name!r}; take some of {', '.join(known)}")


def _dataset(data: Path, described: Json, plan: Plan) -> Json:
    key = described["key"]
    runs = {}
    for seed in plan.seeds:
        progress.say(f"{key}: recipe {plan.recipe}, seed {seed}")
        runs[seed] = isolated(measure_run, data, plan.recipe, seed, plan.work.run(key, plan.recipe, seed))
    peers = {name: {seed: _peer(data, key, name, seed, plan.work) for seed in plan.peer_seeds} for name in plan.peers}
    return {"dataset": described, **summary(described["name"], runs, peers)}


def _peer(data: Path, key: str, name: str, seed: int, work: WorkFolder) -> Json:
    progress.say(f"{key}: {name}, seed {seed}")
    return isolated(measure_peer, data, name, seed, work.peer(key, name, seed))


def summary(dataset: str, runs: Mapping[int, Json], peers: Mapping[str, Mapping[int, Json]]) -> Json:
    """Rows of MMGRec and of the peers over the seeds, the beam, the training, the bars; and every seed's figures.

    Args:
        dataset: name of its folder, which the bars go by.
        runs: seed to what `measure_run` returns.
        peers: peer to seed to what `measure_peer` returns.
    """
    measured = list(runs.values())
    rows = {name: spreads([run["lists"][name] for run in measured]) for name in LISTS}
    fitted = {
        name: [found["result"] for found in by_seed.values() if found["result"] is not None]
        for name, by_seed in peers.items()
    }
    peer_rows = {name: _peer_row(results) for name, results in fitted.items() if results}
    training = _training(measured)
    return {
        "rows": rows,
        "peers": peer_rows,
        "skipped": {name: _reason(by_seed) for name, by_seed in peers.items() if not fitted[name]},
        "beam": spreads([run["beam"] for run in measured]),
        "checks": {name: sum(run["checks"][name] for run in measured) for name in measured[0]["checks"]},
        "training": training,
        "against_best_peer": _against_best_peer(rows, peer_rows),
        "verdict": judge(dataset, {**rows, "training": training}, len(runs)),
        "by_seed": {"mmgrec": dict(runs), "peers": {name: dict(by_seed) for name, by_seed in peers.items()}},
    }


def _training(runs: Sequence[Json]) -> Json:
    return {
        "minutes": spread([run["training_seconds"] / 60 for run in runs]),
        "peak_bytes": spread([run["peak_bytes"] for run in runs]),
        "rank_seconds": spread([run["rank_seconds"] for run in runs]),
        "stage_seconds": spreads([run["stage_seconds"] for run in runs]),
        "dense_weight": [run["dense_weight"] for run in runs],
    }


def _peer_row(results: Sequence[Json]) -> Json:
    return {
        **spreads([result["metrics"] for result in results]),
        "seconds": spread([result["seconds"] for result in results]),
        "peak_bytes": spread([result["peak_bytes"] for result in results]),
        "settings": [result["settings"] for result in results],
    }


def _reason(by_seed: Mapping[int, Json]) -> str | None:
    return next((found["skipped"] for found in by_seed.values()), None)


def _against_best_peer(rows: Mapping[str, Mapping[str, Spread]], peers: Mapping[str, Json]) -> Json:
    """For every headline metric the best peer, and how far each of MMGRec's lists is above it."""
    if not peers:
        return {}
    return {metric: _margin(metric, rows, peers) for metric in HEADLINE}


def _margin(metric: str, rows: Mapping[str, Mapping[str, Spread]], peers: Mapping[str, Json]) -> Json:
    values = {name: peer[metric]["mean"] for name, peer in peers.items()}
    best = max(values, key=values.__getitem__)
    means = {name: row[metric]["mean"] for name, row in rows.items()}
    return {"peer": best, "value": values[best], **{name: mean - values[best] for name, mean in means.items()}}
