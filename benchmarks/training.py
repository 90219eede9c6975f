"""Train a dataset with a recipe from nothing, and hold the result against the bar of issue 2.

    .venv/bin/python -m benchmarks.training --data ../shared/data/lastfm-2k

Prints one JSON object: the metrics of the exported ONNX through the service's decoder, seconds of training and of the
whole job, and whether the bar is met (recall@20 of at least 0.36 in at most 600 seconds, nothing illegal, repeated or
seen). Exit status 1 when it is not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIN_RECALL = 0.36
MAX_TRAIN_SECONDS = 600.0


def main() -> int:
    """Run the job in a process of its own, as a user would."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/lastfm-2k"), help="dataset folder")
    parser.add_argument("--recipe", default="standard", help="recipe of the run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(
            json.dumps({"benchmark": "training", "skipped": f"{arguments.data} does not exist; name one with --data"})
        )
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "offline", "train", "--data", str(arguments.data), "--run", f"{folder}/run"]
        command += ["--recipe", arguments.recipe, "--seed", str(arguments.seed)]
        ended = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    metrics = json.loads(ended.stdout)
    clean = not (metrics["illegal"] or metrics["duplicates"] or metrics["seen"])
    passed = clean and metrics["recall@20"] >= MIN_RECALL and metrics["train_seconds"] <= MAX_TRAIN_SECONDS
    about = {
        "benchmark": "training",
        "dataset": arguments.data.name,
        "recipe": arguments.recipe,
        "seed": arguments.seed,
    }
    seconds = {"job_seconds": round(time.monotonic() - started, 1)}
    print(json.dumps({**about, **metrics, **seconds, "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
