"""The `demo` job: data, training, publishing, the service and a first answer, with nothing to set up."""

import json
import os
import re
import shlex
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import typer

from offline import progress
from offline.dataset import Dataset, load_dataset
from offline.errors import BadInputError, JobError
from offline.load_histories import load_histories
from offline.local_service import NUM_ITEMS, ask, ended_by_sigterm, free_port, service, wait_for_interrupt
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
    with ended_by_sigterm():
        dataset = load_dataset(folder, seed=seed)
        connect(redis_url, home).close()  # a Redis that cannot be used is noticed before the training
        digest = fingerprint(folder)
        run = RunFolder(home / "demo" / f"run-{dataset.name}-{recipe}-{seed}-{digest[:8]}")
        metrics = train(folder, run, recipe, seed)
        namespace = demo_namespace(dataset.name, digest)
        found = serve_run(dataset, run, metrics, namespace, check=check, port=port, home=home, redis_url=redis_url)
    if found is not None:
        progress.result(found)


def serve_run(
    dataset: Dataset,
    run: RunFolder,
    metrics: dict[str, float],
    namespace: str,
    *,
    check: bool,
    port: int,
    home: Path,
    redis_url: str | None,
) -> dict[str, Any] | None:
    """Publish a finished run, serve it on loopback, show a first answer and how to go on; then until Ctrl-C.

    Returns:
        With `check`, which stops after the first answer, its `summary`.

    Raises:
        BadInputError: no port is free, or there is no user to ask for.
        JobError: the service did not start or did not answer from this run.
    """
    version = _publish(dataset, run, namespace, home, redis_url)
    user_id = showcase_user(dataset)
    with service(namespace, home, redis_url, free_port(port)) as address:
        answer = ask(address, user_id, version)
        _show(dataset, user_id, address, answer, metrics)
        _show_how_to_go_on(namespace, home, redis_url, address)
        if not check:
            progress.say("The service is running; end it with Ctrl-C.")
            wait_for_interrupt()
    return summary(dataset, metrics, answer, _history(dataset, user_id)) if check else None


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
