"""The two-taste checkerboard: a dataset whose right answers are known by eye, and one trained run of it.

60 users and 60 items. Even users like even items, odd users odd ones, and user u has everything of that taste but item
u: the diagonal is withheld, it stands nowhere in the dataset. So whoever asks for user u must get item u first.
"""

import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
import redis

from offline import train as train_module
from offline.__main__ import main
from offline.artefacts import Catalogue
from offline.assign import assign_rec_ids
from offline.dataset import Dataset, Histories, Interactions, load_dataset
from offline.item_features import item_features
from offline.recipe_settings import Recipe
from offline.recipes import tiny
from offline.run_folder import RunFolder
from offline.train import train, train_recipe
from offline.train_graph_rqvae import train_graph, train_rq_vae
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.contract.trie import build_trie

SIZE = 60
SEED = 0

TrainUntil = Callable[..., RunFolder]


def user_id(row: int) -> str:
    return f"user-{row:02d}"


def item_id(row: int) -> str:
    return f"item-{row:02d}"


def taste(row: int) -> str:
    return "odd" if row % 2 else "even"


def write_checkerboard(folder: Path, *, features: bool = True) -> Path:
    folder.mkdir(parents=True)
    pairs = [(user, item) for user in range(SIZE) for item in range(user % 2, SIZE, 2) if item != user]
    interactions = {"user_id": [user_id(user) for user, _ in pairs], "item_id": [item_id(item) for _, item in pairs]}
    pl.DataFrame(interactions).write_parquet(folder / "interactions.parquet")
    items = {
        "item_id": [item_id(row) for row in range(SIZE)],
        "title": [f"The {taste(row)} thing {row}" for row in range(SIZE)],
        "categories": [[taste(row), "thing"] for row in range(SIZE)],
    }
    pl.DataFrame(items).write_parquet(folder / "items.parquet")
    if features:
        (folder / "features").mkdir()
        random, sign = np.random.default_rng(SEED), np.where(np.arange(SIZE) % 2, -1.0, 1.0)[:, None]
        for modality, dim in (("image", 6), ("text", 4)):
            vectors = sign + random.normal(size=(SIZE, dim))
            np.save(folder / "features" / f"{modality}.npy", vectors.astype(np.float32))
    return folder


@functools.cache
def trained_checkerboard(base: Path) -> tuple[Path, Path]:
    """Dataset folder and run folder below `base`, trained once per session with the `tiny` recipe as it is."""
    data = write_checkerboard(base / "checkerboard")
    train(data, RunFolder(base / "checkerboard-run"), "tiny", SEED)
    return data, base / "checkerboard-run"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def keys(namespace: str) -> RedisKeys:
    return RedisKeys(namespace)


@pytest.fixture
def store(client: redis.Redis, keys: RedisKeys) -> ReleaseStore:
    return ReleaseStore(client, keys)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return trained_checkerboard(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def checkerboard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset folder alone, for tests that train nothing."""
    return write_checkerboard(tmp_path_factory.mktemp("data") / "checkerboard")


@pytest.fixture
def bare_checkerboard(tmp_path: Path) -> Path:
    """A copy without features/, the test's own."""
    return write_checkerboard(tmp_path / "bare", features=False)


@pytest.fixture(scope="session")
def run(trained: tuple[Path, Path]) -> RunFolder:
    """The trained run; read it only."""
    return RunFolder(trained[1])


@pytest.fixture
def own_run(trained: tuple[Path, Path], tmp_path: Path) -> RunFolder:
    """A copy of the trained run that the test may damage."""
    return RunFolder(shutil.copytree(trained[1], tmp_path / "run"))


class StoppedError(RuntimeError):
    """In place of a kill."""


def stop(*_: object) -> None:
    raise StoppedError


@pytest.fixture
def until(monkeypatch: pytest.MonkeyPatch) -> TrainUntil:
    """Train the `tiny` recipe, changed, until a function of `offline.train` is reached, where the job dies."""

    def train_and_die(
        name: str, data: Path, folder: Path, previous: RunFolder | None, change: Callable[[Recipe], Recipe]
    ) -> RunFolder:
        dataset = load_dataset(data)
        with monkeypatch.context() as patch:
            patch.setattr(train_module, name, stop)
            with pytest.raises(StoppedError):
                train_recipe(data, dataset, RunFolder(folder), change(tiny(dataset, 0)), previous=previous)
        return RunFolder(folder)

    return train_and_die


@pytest.fixture(scope="session")
def dataset(checkerboard: Path) -> Dataset:
    return load_dataset(checkerboard, seed=SEED)


def histories_of(lists: Iterable[Iterable[int]]) -> Histories:
    rows = [list(items) for items in lists]
    return Histories(np.cumsum([0, *map(len, rows)]), np.array([item for row in rows for item in row], np.int64))


@pytest.fixture(scope="session")
def make_histories() -> Callable[[Iterable[Iterable[int]]], Histories]:
    """Lists of item rows, one per user, as `Histories`."""
    return histories_of


def _interactions(lists: list[list[int]]) -> Interactions:
    users = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    return Interactions(users, np.array([item for items in lists for item in items], np.int64))


def dataset_of(
    train: list[list[int]], valid: list[list[int]], test: list[list[int]], *, num_items: int, has_time: bool = False
) -> Dataset:
    """A dataset in memory from lists of item rows, one per user."""
    return Dataset(
        name="made",
        user_ids=tuple(map(user_id, range(len(train)))),
        item_ids=tuple(map(item_id, range(num_items))),
        titles=tuple(f"Title {row}" for row in range(num_items)),
        categories=((),) * num_items,
        features={},
        train=_interactions(train),
        valid=_interactions(valid),
        test=_interactions(test),
        has_time=has_time,
    )


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., Dataset]:
    """A dataset in memory from lists of item rows, one per user: `train`, `valid`, `test`."""
    return dataset_of


def write_dataset(folder: Path, interactions: dict[str, Any], items: dict[str, Any]) -> Path:
    """The two files of a dataset folder, from their columns."""
    folder.mkdir(parents=True)
    pl.DataFrame(interactions).write_parquet(folder / "interactions.parquet")
    pl.DataFrame(items).write_parquet(folder / "items.parquet")
    return folder


def item_ids_by_user(histories: Histories, dataset: Dataset) -> dict[str, list[str]]:
    """User id -> item ids, the users that have any."""
    named = {user: [dataset.item_ids[item] for item in histories.of(row)] for row, user in enumerate(dataset.user_ids)}
    return {user: items for user, items in named.items() if items}


def catalogue_of(dataset: Dataset, recipe: Recipe) -> Catalogue:
    """The stages `graph` and `rec_ids` in memory."""
    features = item_features(dataset, recipe)
    trained = train_graph(dataset, features, recipe)
    model, quantized = train_rq_vae(trained.model, trained.vectors.keys, lambda: features, recipe)
    rec_ids, space, _ = assign_rec_ids(model, quantized, dataset, recipe.rec_ids)
    trie, temperature = build_trie(rec_ids, space), trained.model.config.temperature
    return Catalogue(trie, space, trained.vectors, trained.history_state, temperature)


class Ended(NamedTuple):
    """How a job ended: exit code, and what it wrote on standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object that a job prints when it succeeds."""
        assert self.code == 0, self.err
        return dict(json.loads(self.out))


Job = Callable[..., Ended]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Job:
    """Run `python -m offline ...` in this process, which spares the seconds that importing torch takes."""
    for name in [name for name in os.environ if name.startswith("MMGREC_")]:
        monkeypatch.delenv(name)

    def run_job(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["python -m offline", *map(str, arguments)])
        capsys.readouterr()
        try:
            code = main()
        except SystemExit as ended:  # typer's own way out
            code = int(ended.code or 0)
        return Ended(code, *capsys.readouterr())

    return run_job
