"""The `demo` job: data, training, publishing, the service and a first answer, with nothing to set up."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import typer

from offline import progress
from offline.dataset import Dataset, load_dataset
from offline.errors import BadInputError, JobError
from offline.load_histories import load_histories
from offline.publish import publish
from offline.redis_connection import connect, job_lock, without_password
from offline.run_folder import RunFolder, fingerprint
from offline.shop import SHOWCASE_USER, build_shop
from offline.train import train
from offline.user_histories import user_histories
from service.contract.item_table import MAX_ID_LENGTH
from service.contract.redis_keys import RedisKeys
from service.contract.redis_server import DEFAULT_HOME, resolve_home
from service.contract.release_store import ReleaseStore

HOST = "127.0.0.1"
PORTS_TRIED = 50
START_LIMIT_SECONDS = 120.0
NUM_ITEMS = 10


def run_demo(
    data: Path | None,
    *,
    check: bool,
    port: int,
    home: Path,
    redis_url: str | None,
    seed: int,
    recipe: str | None = None,
) -> None:
    """Train on a dataset (or on the built-in shop), publish, serve on loopback, and print a first answer.

    With `check` the service stops after it and the last line printed is one JSON object. However the demo ends, SIGTERM
    included, the service ends with it; the private Redis keeps running. The recipe is by default `tiny` for the shop
    and `standard` for a dataset.

    Raises:
        BadInputError: the dataset cannot be used.
        JobError: a step failed; the message names it.
        RedisServerError: `home` cannot be resolved.
    """
    home = resolve_home(home)
    folder = data if data is not None else _shop_folder(home, seed)
    recipe = recipe or ("tiny" if data is None else "standard")
    with _ended_by_sigterm():
        dataset = load_dataset(folder, seed=seed)
        connect(redis_url, home).close()  # a Redis that cannot be used is noticed before the training
        digest = fingerprint(folder)
        run = RunFolder(home / "demo" / f"run-{dataset.name}-{recipe}-{seed}-{digest[:8]}")
        metrics = train(folder, run, recipe, seed)
        namespace = demo_namespace(dataset.name, digest)
        version = _publish(dataset, run, namespace, home, redis_url)
        user_id = showcase_user(dataset)
        with _service(namespace, home, redis_url, _free_port(port)) as address:
            answer = _ask(address, user_id, version)
            _show(dataset, user_id, address, answer, metrics)
            _show_how_to_go_on(namespace, home, redis_url, address)
            if not check:
                progress.say("The service is running; end it with Ctrl-C.")
                _wait_for_interrupt()
    if check:
        progress.result(summary(dataset, metrics, answer, _history(dataset, user_id)))


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does: what it has opened is closed, the service above all."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _publish(dataset: Dataset, run: RunFolder, namespace: str, home: Path, redis_url: str | None) -> str:
    """The run becomes the active release, and the dataset's histories are loaded; returns the version."""
    client, keys = connect(redis_url, home), RedisKeys(namespace)
    with job_lock(client, keys, "publish"):
        version = publish(run, ReleaseStore(client, keys))
    load_histories(user_histories(dataset), client, keys)
    progress.say(f"published release {version} in namespace {namespace}")
    return version


def summary(
    dataset: Dataset, metrics: dict[str, float], answer: dict[str, Any], history_ids: Collection[str]
) -> dict[str, Any]:
    """What `CHECK=1` prints as its last line (issue 2); `history_ids` are the items that the user already has.

    Raises:
        JobError: the answer is empty, repeats an item, or names one that the catalogue does not have or the user has.
    """
    item_ids = [item["item_id"] for item in answer["items"]]
    if not item_ids or len(set(item_ids)) != len(item_ids) or not set(item_ids) <= set(dataset.item_ids):
        raise JobError(f"the service answered {item_ids}: empty, repeated or unknown items; see its log above")
    if seen := sorted(set(item_ids) & set(history_ids)):
        raise JobError(f"the service answered {item_ids}: the user already has {seen}; see its log above")
    return {
        "dataset": dataset.name,
        "users": dataset.num_users,
        "items": dataset.num_items,
        "train_seconds": round(metrics["train_seconds"], 1),
        **{name: _rounded(metrics, name) for name in ("recall@20", "ndcg@20")},
        **{name: _rounded(metrics, name) for name in ("generator_recall@20", "popularity_recall@20")},
        **{name: int(metrics[name]) for name in ("illegal", "duplicates", "seen")},
        "answer": [{key: item[key] for key in ("item_id", "title", "score")} for item in answer["items"]],
    }


def _rounded(metrics: dict[str, float], name: str) -> float | None:
    """A metric to four digits; None where the dataset holds nothing out, so that there is none."""
    return round(metrics[name], 4) if name in metrics else None


def demo_namespace(dataset: str, digest: str) -> str:
    """Each dataset has a namespace of its own, so that one demo does not replace another's release.

    Args:
        dataset: its name; what a namespace cannot hold of it becomes '-'.
        digest: its fingerprint, which tells apart datasets whose names are alike.
    """
    return "-".join(("demo", re.sub(r"[^A-Za-z0-9._-]+", "-", dataset), digest[:8]))


def showcase_user(dataset: Dataset) -> str:
    """The shop's user of striped blue mugs; elsewhere the one with the median history among those of at least five.

    Where nobody has five items, the longest histories count. Users that the service would refuse or answer without the
    model are left out: ids longer than its limit, no items.

    Raises:
        BadInputError: nobody is left.
    """
    if SHOWCASE_USER in dataset.user_ids:
        return SHOWCASE_USER
    counts = np.diff(dataset.full_history().offsets)
    counts = np.where([0 < len(user_id) <= MAX_ID_LENGTH for user_id in dataset.user_ids], counts, 0)
    active = np.flatnonzero(counts >= max(1, min(5, counts.max())))
    if not len(active):
        raise BadInputError(f"{dataset.name}: no user has both items and an id of at most {MAX_ID_LENGTH} characters")
    return dataset.user_ids[int(active[np.argsort(counts[active], kind="stable")[len(active) // 2]])]


def _history(dataset: Dataset, user_id: str) -> list[str]:
    """Item ids of everything that a user did."""
    return [dataset.item_ids[row] for row in dataset.full_history().of(dataset.user_ids.index(user_id))]


def _shop_folder(home: Path, seed: int) -> Path:
    folder = home / "demo" / f"shop-{seed}"
    if not (folder / "interactions.parquet").exists():
        progress.say(f"drawing a small shop of generated items into {folder} (give DATA=folder for your own)")
        build_shop(folder, seed=seed)
    return folder


def _free_port(first: int) -> int:
    """The first free port from `first` on."""
    last = min(first + PORTS_TRIED, 65536)
    for port in range(first, last):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                progress.say(f"port {port} is taken, trying the next")
                continue
            return port
    raise BadInputError(f"no free port between {first} and {last - 1} on {HOST}; name another with PORT=")


@contextmanager
def _service(namespace: str, home: Path, redis_url: str | None, port: int) -> Iterator[str]:
    """The real service in a process of its own; yields its address once it is ready, stops it at the end."""
    command = [sys.executable, "-m", "service", "--host", HOST, "--port", str(port), "--home", str(home)]
    environment = {"MMGREC_LOG_FORMAT": "text", **os.environ, "MMGREC_NAMESPACE": namespace}
    environment["MMGREC_DRAIN_GRACE_SECONDS"] = "0"
    if redis_url is not None:
        environment["MMGREC_REDIS_URL"] = redis_url
    process = subprocess.Popen(command, env=environment)
    try:
        address = f"http://{HOST}:{port}"
        _wait_until_ready(process, address)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", address: str) -> None:
    deadline, last = time.monotonic() + START_LIMIT_SECONDS, ""
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise JobError(f"the service ended with exit code {process.returncode}; its own lines above say why")
        try:
            _get(f"{address}/health/ready")
            return
        except urllib.error.HTTPError as error:
            last = error.read().decode(errors="replace")
        except OSError as error:
            last = str(error)
        time.sleep(0.1)
    raise JobError(f"the service was not ready within {START_LIMIT_SECONDS:.0f} s: {last}")


def _get(address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return dict(json.load(response))


def _ask(address: str, user_id: str, version: str) -> dict[str, Any]:
    """A first answer, which must come from the release just published.

    Raises:
        JobError: the service refused, or answered from something else.
    """
    try:
        answer = _get(f"{address}/recommend", {"user_id": user_id, "n": NUM_ITEMS})
    except urllib.error.HTTPError as error:
        raise JobError(f"the service answered {error.code}: {error.read().decode(errors='replace')}") from error
    if answer["release"] != version or answer["source"] != "model":
        raise JobError(f"expected an answer of the model from release {version}, got {answer}")
    return answer


def _show(dataset: Dataset, user_id: str, address: str, answer: dict[str, Any], metrics: dict[str, float]) -> None:
    rows = dataset.full_history().of(dataset.user_ids.index(user_id))
    had = [dataset.titles[row] or dataset.item_ids[row] for row in rows[-12:]]
    typer.echo(f"\nUser {user_id} has {len(rows)} items, among them: {', '.join(had)}")
    typer.echo("\nRecommended:")
    for item in answer["items"]:
        typer.echo(f"  {item['rank']:>2}. {item.get('title') or item['item_id']}  (score {item['score']:.3f})")
    if "recall@20" in metrics:
        typer.echo(
            f"\nHeld-out test: recall@20 {metrics['recall@20']:.3f} "
            f"(generator alone {metrics['generator_recall@20']:.3f}, popularity {metrics['popularity_recall@20']:.3f})"
        )
    body = shlex.quote(json.dumps({"user_id": user_id, "n": NUM_ITEMS}))
    typer.echo("\nAsk it yourself:")
    typer.echo(f"  curl -s {address}/recommend -H 'Content-Type: application/json' -d {body}")
    typer.echo(f"  {address}/docs")


def _show_how_to_go_on(namespace: str, home: Path, redis_url: str | None, address: str) -> None:
    here, variables, jobs_alone = ["--namespace", namespace], "", []
    if redis_url is None and home != resolve_home(DEFAULT_HOME):
        here += ["--home", str(home)]
    if redis_url is not None and redis_url != os.environ.get("MMGREC_REDIS_URL"):
        shown = redis_url if redis_url == without_password(redis_url) else "YOUR_REDIS_URL"
        variables = f"MMGREC_REDIS_URL={shlex.quote(shown)} "  # a secret is no flag of the service
        jobs_alone = ["--redis-url", shown]
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    serve = [str(python), "-m", "service", *here, "--port", str(urlsplit(address).port)]
    typer.echo(f"\nServe it again later:\n  {variables}{shlex.join(serve)}")
    releases = [str(python), "-m", "offline", "releases", *here, *jobs_alone]
    typer.echo(f"\nList its releases:\n  {shlex.join(releases)}\n")


def _wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        progress.say("stopping")
