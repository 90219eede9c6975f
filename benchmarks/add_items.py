"""How long new items take to get into a large served catalogue, without a restart: issue 6, "Must show".

    .venv/bin/python -m benchmarks.add_items [--items 1000000] [--new 1000] [--quick] [--seed 0]

Makes a catalogue (float32 vectors of 256 columns, ids, titles, two categories an item) and an untrained item encoder
for images and texts, publishes them into a Redis of its own on a socket, and starts `python -m service` there. Then it
runs `python -m offline add-items` as its own process with a folder of new items, asks the service all the while, and
removes as many items again. Prints one JSON object: seconds of the job and of its steps, bytes written and shared, how
long the service took until it answered from the new release, and what became of the requests meanwhile. What is going
on stands on stderr. A million items need 12 GB of memory. --quick: 100,000 items.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import redis
import torch
import torch.nn.functional as F

from benchmarks.decoding.catalogue import Catalogue, make_catalogue
from benchmarks.decoding.graphs import PendingGraphs
from benchmarks.decoding.subject import SETTINGS
from benchmarks.running.made_up_release import release_arrays, write_release
from benchmarks.running.redis_process import own_redis
from benchmarks.running.service_process import ServiceProcess, running_service
from benchmarks.start import item_table
from model.item_encoder import MOST_CONTENT_COLUMNS, MOST_LANDMARKS, ItemEncoder, ItemEncoderConfig
from offline.checkpoint import module_bytes
from service.contract.manifest import ITEM_ENCODER_ARRAY
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore

BAR_SECONDS = 30.0
FEATURE_DIMS = {"image": 512, "text": 384}
VERSION = "20260101-made-up"
WAIT_SECONDS = 300.0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000, help="size of the catalogue")
    parser.add_argument("--new", type=int, default=1_000, help="new items")
    parser.add_argument("--quick", action="store_true", help="100,000 items")
    parser.add_argument("--seed", type=int, default=0, help="seed of catalogue and weights")
    arguments = parser.parse_args()
    num_items = 100_000 if arguments.quick else arguments.items
    load_before = os.getloadavg()
    with own_redis() as url, tempfile.TemporaryDirectory(prefix="mm") as made:
        folder = Path(made)
        publish(url, num_items, arguments.seed)
        data = write_new_items(folder / "new", arguments.new, arguments.seed)
        progress("starting the service")
        with running_service(folder, {"REDIS_URL": url}) as service:
            added = changed(service, url, ["add-items", "--data", str(data)])
            (folder / "ids").write_text("\n".join(f"item-{row * 7:08d}" for row in range(arguments.new)))
            removed = changed(service, url, ["remove-items", "--items", str(folder / "ids")])
            alive = service.process.poll() is None
    report = {
        "benchmark": "add_items",
        "items": num_items,
        "new": arguments.new,
        "add": added,
        "remove": removed,
        "bar": {"limit": BAR_SECONDS, "met": added["job_seconds"] <= BAR_SECONDS and alive},
        "machine": {"cores": os.cpu_count(), "load_average": {"before": load_before, "after": os.getloadavg()}},
        "seed": arguments.seed,
    }
    print(json.dumps(report))
    return 0


def progress(text: str) -> None:
    """Say what is going on."""
    print(text, file=sys.stderr, flush=True)


def publish(url: str, num_items: int, seed: int) -> None:
    """The made-up catalogue with an item encoder, active."""
    progress(f"making a catalogue of {num_items} items, and exporting the model unless it is cached")
    graphs = PendingGraphs(seed)
    catalogue = make_catalogue(num_items, seed)
    encoder = made_up_encoder(catalogue, seed)
    arrays = release_arrays(
        np.frombuffer(graphs.wait().decoder, np.uint8),
        catalogue.trie,
        catalogue.item_vectors,
        item_table(catalogue, seed),
    )
    arrays[ITEM_ENCODER_ARRAY] = np.frombuffer(module_bytes(encoder), np.uint8)
    progress("publishing it")
    with redis.Redis.from_url(url) as client:
        store = ReleaseStore(client, RedisKeys())
        write_release(store, VERSION, arrays, SETTINGS, asdict(encoder.config))
        store.activate(VERSION)


def made_up_encoder(catalogue: Catalogue, seed: int) -> ItemEncoder:
    """An encoder with random weights; as many landmarks as there may be, with random content and items' keys."""
    torch.manual_seed(seed)
    num_landmarks, dim = min(MOST_LANDMARKS, catalogue.num_items), SETTINGS.vector_dim // 2
    encoder = ItemEncoder(
        ItemEncoderConfig(
            feature_dims=FEATURE_DIMS,
            content_dim=MOST_CONTENT_COLUMNS,
            num_landmarks=num_landmarks,
            dim=dim,
            latent_dim=64,
            num_levels=len(SETTINGS.codebook_sizes),
            codebook_size=SETTINGS.codebook_sizes[0],
            max_history=SETTINGS.max_history,
        )
    ).eval()
    content = {name: torch.randn(num_landmarks, columns) for name, columns in FEATURE_DIMS.items()}
    keys = F.normalize(torch.from_numpy(catalogue.item_vectors[:num_landmarks, :dim]), dim=1)
    encoder.remember(content, keys)
    with torch.no_grad():
        encoder.quantizer.initialise(encoder.latent(keys[:4096]), torch.Generator().manual_seed(seed))
    return encoder


def write_new_items(folder: Path, num_new: int, seed: int) -> Path:
    """A folder of items that the catalogue does not have."""
    (folder / "features").mkdir(parents=True)
    random = np.random.default_rng(seed)
    for name, dim in FEATURE_DIMS.items():
        np.save(folder / "features" / f"{name}.npy", random.standard_normal((num_new, dim), np.float32))
    columns = {
        "item_id": [f"new-{row:06d}" for row in range(num_new)],
        "title": [f"The title of the new item number {row}" for row in range(num_new)],
        "categories": [["category-1", "new"]] * num_new,
    }
    pl.DataFrame(columns).write_parquet(folder / "items.parquet")
    return folder


def changed(service: ServiceProcess, url: str, job: list[str]) -> dict[str, Any]:
    """Run a job as its own process; wait until the service answers from what it published."""
    progress(f"running {job[0]}")
    asked = _Asking(service.url)
    asked.start()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "offline", *job, "--redis-url", url], stdout=subprocess.PIPE, check=False
    )
    job_seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{job} ended with {done.returncode}")
    result = json.loads(done.stdout)
    while asked.releases[-1:] != [result["version"]]:
        if time.monotonic() > started + WAIT_SECONDS:
            raise RuntimeError(f"the service does not serve {result['version']}: {asked.releases[-1:]}")
        time.sleep(0.05)
    served_seconds = time.monotonic() - started
    asked.stop()
    return {
        "job_seconds": round(job_seconds, 2),
        "job_cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "served_after_seconds": round(served_seconds, 2),
        "job": result,
        "requests_meanwhile": {"answered": len(asked.releases), "failed": asked.failed},
    }


class _Asking(threading.Thread):
    """Asks the service for recommendations, one request after the other.

    Attributes:
        releases: that the answers came from.
        failed: what was said to requests that got no answer.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.releases: list[str] = []
        self.failed: list[str] = []
        self._ended = threading.Event()
        body = json.dumps({"history": ["item-00000003", "item-00000030"], "n": 10}).encode()
        headers = {"Content-Type": "application/json"}
        self._request = urllib.request.Request(f"{url}/recommend", body, headers)

    def run(self) -> None:
        """Until `stop`."""
        while not self._ended.wait(0.02):
            try:
                with urllib.request.urlopen(self._request, timeout=30) as answer:
                    self.releases.append(json.load(answer)["release"])
            except (OSError, urllib.error.URLError) as error:
                self.failed.append(str(error))

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self.join()


if __name__ == "__main__":
    sys.exit(main())
