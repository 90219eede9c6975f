"""The graph encoder on samples of the graph beside the whole graph: quality of its vectors, time and memory.

    .venv/bin/python -m benchmarks.sampled_graph --data DIR [--fan-outs 0,4,8,16] [--steps 160] [--seed 0] [--json]

Trains the graph encoder of the `standard` recipe, one member of each kind, for so many steps at every fan-out (0 = the
whole graph), each in a process of its own, and scores exhaustive search with its vectors on the validation split.
Prints one JSON object. Without --data nothing is measured. A busy machine spoils the seconds: `load_average` tells.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.scoring.isolated import isolated
from offline.exit_codes import exit_code_of


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="dataset folder")
    parser.add_argument("--fan-outs", default="0,4,8,16", help="with commas between; 0 = the whole graph")
    parser.add_argument("--steps", type=int, default=160, help="of the graph encoder (default 160)")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--json", action="store_true", help="as always; there is no other output")
    arguments = parser.parse_args(argv)
    if arguments.data is None:
        print(json.dumps({"benchmark": "sampled_graph", "skipped": "takes minutes; name --data DIR"}))
        return 0
    fan_outs = [int(number) for number in arguments.fan_outs.split(",")]
    return exit_code_of(lambda: print(json.dumps(report(arguments.data, fan_outs, arguments.steps, arguments.seed))))


def report(data: Path, fan_outs: list[int], num_steps: int, seed: int) -> dict[str, Any]:
    """Every fan-out."""
    found = {str(fan_out): isolated(trained, data, fan_out, num_steps, seed) for fan_out in fan_outs}
    return {"benchmark": "sampled_graph", "dataset": data.resolve().name, "steps": num_steps, "fan_outs": found}


def trained(data: Path, fan_out: int, num_steps: int, seed: int) -> dict[str, Any]:
    """One training and the quality of its vectors."""
    from offline.dataset import MOST_VALIDATION_USERS, held_out_users, load_dataset
    from offline.dense_search import dense_ranking
    from offline.item_features import item_features
    from offline.metrics import ranking_metrics
    from offline.peak_memory import peak_bytes
    from offline.recipes import standard
    from offline.train_graph_encoder import train_graph_encoder

    dataset = load_dataset(data, seed=seed, judged_by="valid")
    recipe = standard(dataset, seed)
    graph = replace(recipe.graph, members=("fused", "aligned"), num_steps=num_steps, fan_out=fan_out)
    recipe = replace(recipe, graph=graph)
    started = time.perf_counter()
    model = train_graph_encoder(dataset, item_features(dataset, recipe), recipe, graph.temperatures[0])
    seconds = time.perf_counter() - started
    users = held_out_users(dataset, "valid", MOST_VALIDATION_USERS)
    ranking = dense_ranking(model.history_state, model.vectors, dataset, users, "valid")
    return {
        **ranking_metrics(ranking, users, dataset.targets("valid")),
        "seconds": round(seconds, 1),
        "peak_mib": round(peak_bytes() / 2**20),
        "load_average": os.getloadavg()[0],
    }


if __name__ == "__main__":
    sys.exit(main())
