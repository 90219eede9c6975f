"""Items that appear after training, recommended: issue 6, "cold-start quality is measured".

    .venv/bin/python -m benchmarks.cold_start --data ../shared/data/tiktok [--seed 0] [--run-folder DIR]

Takes a tenth of the items out of a dataset together with their interactions, trains the recipe on the rest, publishes
it into a Redis of its own, and adds the items by `add-items`: once by their content alone, once with their training
interactions beside it. Then every user who has one of them in the test split and anything else in the history is asked
for 20 items, through the served decoder at its default tier, from the whole catalogue and from the new items alone.
Beside it stand content-kNN (benchmarks.scoring.cold_peers) and popularity on the same users. Prints one JSON object;
what is going on stands on stderr. With --run-folder the training is kept there and taken from there.
Without --data nothing is measured.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import redis

from benchmarks.running.redis_process import own_redis
from benchmarks.scoring.cold_peers import ContentKnn
from benchmarks.scoring.cold_world import ColdWorld, choose_cold, write_new, write_without_cold
from offline import progress
from offline.catalogue_changes.add_items import add_items
from offline.catalogue_changes.base_release import BaseRelease, open_base
from offline.catalogue_changes.successor import Target
from offline.dataset import load_dataset
from offline.exit_codes import exit_code_of
from offline.metrics import ranking_metrics
from offline.publish import publish
from offline.run_folder import RunFolder
from offline.train import train
from service.constraints import ItemFilter
from service.contract.manifest import DECODER_ARRAY
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.decoder import BeamDecoder

IntArray = npt.NDArray[np.int64]

BATCH_USERS = 64
LENGTH = 20


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="dataset folder with features/")
    parser.add_argument("--recipe", default="standard", help="recipe of the run (default standard)")
    parser.add_argument("--share", type=float, default=0.1, help="of the items that appear later")
    parser.add_argument("--seed", type=int, default=0, help="which items, and the training")
    parser.add_argument("--run-folder", type=Path, metavar="DIR", help="keep the training here")
    arguments = parser.parse_args(argv)
    if arguments.data is None:
        print(json.dumps({"benchmark": "cold_start", "skipped": "takes minutes; name --data DIR"}))
        return 0
    world = choose_cold(load_dataset(arguments.data, seed=arguments.seed), arguments.share, arguments.seed)
    with tempfile.TemporaryDirectory(prefix="mm") as made:
        folder = arguments.run_folder or Path(made)
        without = write_without_cold(world, folder / "without")
        run = RunFolder(folder / "run")
        trained = train(without, run, arguments.recipe, arguments.seed)
        report = {
            "benchmark": "cold_start",
            "dataset": world.dataset.name,
            "recipe": arguments.recipe,
            "seed": arguments.seed,
            "items": {"known": int((~world.cold).sum()), "new": int(world.cold.sum())},
            "known_items": {name: trained[name] for name in ("recall@20", "ndcg@20")},
            **judged(world, run, write_new(world, folder / "new")),
        }
    print(json.dumps(report))
    return 0


def judged(world: ColdWorld, run: RunFolder, new: Path) -> dict[str, Any]:
    """Add the new items in both ways, and score what is served and the peers."""
    targets, histories = world.held_out(("test",)), world.histories()
    users = np.flatnonzero((np.diff(targets.offsets) > 0) & (np.diff(histories.offsets) > 0))
    known = world.dataset.train_counts() * ~world.cold
    peers = {"content_knn": ContentKnn(world.dataset, ~world.cold).scores(histories, users)}
    peers["popularity"] = np.broadcast_to(known.astype(np.float32), (len(users), len(known)))
    with own_redis() as url, redis.Redis.from_url(url) as client:
        target = Target(store=ReleaseStore(client, RedisKeys()))
        base = publish(run, target.store)
        answers = {}
        for name, interactions in (("by_content", False), ("with_interactions", True)):
            add_items(new, target, version=base, interactions=interactions)
            answers[name] = open_base(target.store)

    def measured(items: IntArray) -> dict[str, float]:
        return {name: round(value, 5) for name, value in ranking_metrics(items, users, targets, (LENGTH,)).items()}

    found: dict[str, Any] = {"users": len(users), "interactions": int(np.diff(targets.offsets)[users].sum())}
    for among, allowed in (("whole_catalogue", np.ones(len(known), bool)), ("new_items_alone", world.cold)):
        found[among] = {name: measured(served(world, release, users, allowed)) for name, release in answers.items()}
        for name, scores in peers.items():
            found[among][name] = measured(best(world, scores, users, allowed))
    return found


def served(world: ColdWorld, release: BaseRelease, users: IntArray, allowed: npt.NDArray[np.bool_]) -> IntArray:
    """Dataset rows [U, 20] of what the release answers, -1 where the list ends."""
    onnx = release.unchanged[DECODER_ARRAY].tobytes()
    decoder = BeamDecoder(onnx, trie=release.trie, item_vectors=release.vectors, settings=release.manifest.model)
    row_of = release.items.row_of()
    to_release = np.array([row_of[item_id] for item_id in world.dataset.item_ids])
    to_dataset = np.append(np.argsort(to_release)[release.trie.leaf_to_row], -1)
    candidates = None if allowed.all() else to_release[allowed]
    histories, parts = world.histories(), []
    with progress.task("recommend", len(users)) as task:
        for start in range(0, len(users), BATCH_USERS):
            batch = [to_release[histories.of(int(user))] for user in users[start : start + BATCH_USERS]]
            filters = [ItemFilter(excluded=rows, candidates=candidates) for rows in batch]
            leaves = decoder.decode(batch, filters, beam_width=release.manifest.model.beam_widths[0]).leaves
            parts.append(to_dataset[leaves[:, :LENGTH]])  # a dead slot is -1, and so the last
            task.advance(steps=len(batch))
    return np.concatenate(parts)


def best(
    world: ColdWorld, scores: npt.NDArray[np.float32], users: IntArray, allowed: npt.NDArray[np.bool_]
) -> IntArray:
    """Dataset rows [U, 20] of the highest scores, without what the user has; ties in the order of the rows."""
    histories, kept = world.histories(), np.where(allowed, scores, -np.inf)
    for row, user in enumerate(users):
        kept[row, histories.of(int(user))] = -np.inf
    return np.argsort(-kept, axis=1, kind="stable")[:, :LENGTH]


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
