"""A shop whose nights are retrained by the real job over a real Redis; training alone is spared."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from offline.run_folder import RunFolder
from service.contract.event_stream import StoredEvent
from service.contract.redis_keys import RedisKeys, event_partition
from service.contract.release_store import ReleaseStore

STEPS = ["archive", "snapshot", "start", "train", "compare", "report", "publish", "trim"]
NOW = 20_000 * 86_400_000  # midnight of 2024-10-04


class Nights:
    """A dataset folder, its runs, a namespace, and what one night after the other makes of them."""

    def __init__(self, job: Any, url: str, namespace: str, folder: Path, trained: tuple[Path, Path]) -> None:
        self.job, self.url, self.keys = job, url, RedisKeys(namespace)
        self.client = redis.Redis.from_url(url)
        self.store = ReleaseStore(self.client, self.keys)
        self.data = Path(shutil.copytree(trained[0], folder / "shop"))
        self.runs = folder / "runs"
        self.trained = trained[1]
        self.trainings: list[Path] = []
        self.starts: list[str | None] = []
        self.after_training: Callable[[RunFolder], None] = lambda _: None
        self.events = 0

    def train(
        self, data: Path, dataset: Any, run: RunFolder, recipe: Any, *, previous: RunFolder | None
    ) -> dict[str, float]:
        """In the place of `train_recipe`: a finished run of the same 60 items."""
        if not (run.folder / "stages.json").exists():
            self.trainings.append(data)
            self.starts.append(None if previous is None else previous.folder.name)
            shutil.copytree(self.trained, run.folder, dirs_exist_ok=True)
        self.after_training(run)
        return dict(run.read_json("metrics.json"))

    def night(self, *flags: object) -> Any:
        return self.job(
            *("retrain", "--data", self.data, "--runs", self.runs, "--recipe", "tiny"),
            *("--redis-url", self.url, "--namespace", self.keys.namespace, *flags),
        )

    def happen(self, *items: str, user: str = "user-00") -> None:
        for item in items:
            self.events += 1
            fields: dict[Any, Any] = StoredEvent(user, item, NOW, event_id=f"e-{self.events}").fields()
            self.client.xadd(self.keys.events(event_partition(user, 4)), fields)

    @property
    def active(self) -> str | None:
        return self.store.active_version()

    def entries(self) -> int:
        return sum(int(self.client.xlen(self.keys.events(partition))) for partition in range(4))


def refused(ended: Any) -> dict[str, Any]:
    """The summary of a night that the gate ended, with one line that says so."""
    assert (ended.code, ended.err.splitlines()[-1][:24]) == (3, "error: the gate refused "), ended.err
    summary: dict[str, Any] = json.loads(ended.out)
    assert summary["result"] == "refused"
    for reason in summary["gate"]["reasons"]:
        assert reason["text"] in ended.err.splitlines()[-1]
    return summary


def reasons(summary: dict[str, Any]) -> list[str]:
    return [reason["name"] for reason in summary["gate"]["reasons"]]
