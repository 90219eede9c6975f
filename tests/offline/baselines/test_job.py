"""`python -m offline baselines`: the table, the JSON, what is skipped and what is refused."""

import json
from pathlib import Path

import polars as pl
import pytest

from offline.baselines import ease, lightgcn, registry, sasrec
from offline.baselines.early_stopping import Stopping
from offline.baselines.registry import REGISTRY

FAST = ("popularity", "item-knn", "ease")
COLUMNS = ("R@5", "R@10", "R@20", "N@5", "N@10", "N@20", "s", "MiB")


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lightgcn, sasrec):
        monkeypatch.setattr(module, "STOPPING", Stopping(most_rounds=2, patience=1, rounds_without_validation=1))


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    """Twelve users walk round a ring of ten items; the next one is always known."""
    log = [(f"u{user}", f"i{(user + step) % 10}", step) for user in range(12) for step in range(6)]
    frame = pl.DataFrame(log, schema=["user_id", "item_id", "timestamp"], orient="row")
    (tmp_path / "ring").mkdir()
    frame.write_parquet(tmp_path / "ring" / "interactions.parquet")
    pl.DataFrame({"item_id": [f"i{row}" for row in range(10)]}).write_parquet(tmp_path / "ring" / "items.parquet")
    return tmp_path / "ring"


def test_without_time_what_needs_order_is_skipped(job, checkerboard: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "peers.json"
    ended = job("baselines", "--data", checkerboard, "--json", path)
    assert ended.code == 0, ended.err
    found = json.loads(path.read_text())
    assert (found["dataset"], found["split"], found["users"], found["seed"]) == ("checkerboard", "test", 60, 0)
    assert found["history"] == "train"
    assert [peer["name"] for peer in found["peers"]] == ["popularity", "item-knn", "ease", "lightgcn"]
    assert set(found["skipped"]) == {"transitions", "sasrec"}
    assert "transitions: skipped, the dataset has no timestamp" in ended.out
    by_name = {peer["name"]: peer for peer in found["peers"]}
    assert by_name["ease"]["metrics"]["recall@20"] == 1.0  # all of the user's taste, and no more than 20 left
    assert by_name["ease"]["settings"]["regularisation"] in (20.0, 100.0, 300.0, 1000.0, 3000.0)
    for peer in found["peers"]:
        assert {f"{name}@{cutoff}" for name in ("recall", "ndcg") for cutoff in (5, 10, 20)} <= set(peer["metrics"])
        assert peer["metrics"]["coverage@20"] > 0
        assert peer["seconds"] >= 0
        assert peer["peak_bytes"] > 2**20


def test_with_time_all_run_and_the_history_grows(job, sequences: Path, tmp_path: Path) -> None:
    ended = job("baselines", "--data", sequences, "--json", tmp_path / "peers.json")
    found = json.loads((tmp_path / "peers.json").read_text())
    assert (found["history"], found["skipped"]) == ("train + valid", {})
    assert [peer["name"] for peer in found["peers"]] == list(REGISTRY)
    by_name = {peer["name"]: peer["metrics"] for peer in found["peers"]}
    assert by_name["transitions"]["recall@5"] == 1.0
    head = next(line for line in ended.out.splitlines() if line.startswith("peer"))
    assert set(COLUMNS) <= set(head.split())
    assert all(any(line.startswith(f"{name} ") for line in ended.out.splitlines()) for name in REGISTRY)


def test_only_the_named_ones_run_on_the_named_split(job, sequences: Path) -> None:
    ended = job("baselines", "--data", sequences, "--only", "ease,popularity", "--split", "valid")
    lines = ended.out.splitlines()
    assert lines[0] == "ring, valid: 12 users, all items ranked, train left out"
    assert [line.split()[0] for line in lines[2:4]] == ["popularity", "ease"]
    assert "item-knn" not in ended.out


def test_the_same_seed_gives_the_same_figures(job, sequences: Path, tmp_path: Path) -> None:
    metrics = []
    for number in range(2):
        path = tmp_path / f"{number}.json"
        assert job("baselines", "--data", sequences, "--only", "lightgcn,sasrec", "--json", path).code == 0
        metrics.append([peer["metrics"] for peer in json.loads(path.read_text())["peers"]])
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        (ease, "ease", "the catalogue has 10 items, more than 5"),
        (sasrec, "sasrec", "the catalogue has 10 items, more than 5"),
        (lightgcn, "lightgcn", "48 training interactions, more than 5"),
    ],
)
def test_too_large_is_skipped_with_a_reason(job, sequences: Path, monkeypatch, module, name: str, said: str) -> None:
    monkeypatch.setattr(module, "MOST_EDGES" if name == "lightgcn" else "MOST_ITEMS", 5)
    ended = job("baselines", "--data", sequences, "--only", name)
    assert ended.code == 0
    assert f"{name}: skipped, {said}" in ended.out


def test_ease_without_memory_is_skipped_with_a_reason(job, sequences: Path, monkeypatch) -> None:
    """The others run; a machine that is killed says nothing."""
    monkeypatch.setattr(ease, "needed_bytes", lambda num_items: num_items * 2**30)
    monkeypatch.setattr(registry, "available_bytes", lambda: 10 * 2**30 - 1)
    ended = job("baselines", "--data", sequences, "--only", "popularity,ease")
    assert ended.code == 0
    assert "ease: skipped, the weights of 10 items are a dense square of them and take 10.0 GiB of memory" in ended.out
    assert "this machine has 10.0 GiB to give: take a machine with more memory" in ended.out
    assert "popularity " in ended.out
    monkeypatch.setattr(registry, "available_bytes", lambda: 10 * 2**30)
    assert "skipped" not in job("baselines", "--data", sequences, "--only", "ease").out


def test_an_unknown_peer_is_refused(job, sequences: Path) -> None:
    ended = job("baselines", "--data", sequences, "--only", "ease,magic")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"error: --only: no peer is called 'magic'; take some of {', '.join(REGISTRY)}\n"


@pytest.mark.parametrize("nothing", ["", " ,"])
def test_an_empty_selection_is_refused(job, sequences: Path, nothing: str) -> None:
    ended = job("baselines", "--data", sequences, "--only", nothing)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"error: --only {nothing!r} names no peer; leave it out to run all, or give names: popularity,ease\n"
    )


def test_nothing_held_out_is_refused(job, tmp_path: Path) -> None:
    pl.DataFrame({"user_id": ["u"], "item_id": ["a"]}).write_parquet(tmp_path / "interactions.parquet")
    pl.DataFrame({"item_id": ["a"]}).write_parquet(tmp_path / "items.parquet")
    ended = job("baselines", "--data", tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "holds out nothing for test, so there is nothing to judge by" in ended.err
    assert "mark rows with split=test, or leave out the column" in ended.err


def test_a_json_file_that_cannot_be_written_is_refused_first(job, sequences: Path, tmp_path: Path) -> None:
    ended = job("baselines", "--data", sequences, "--json", tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"error: --json {tmp_path} cannot be written (it is a folder); give the path of a JSON file\n"
    (tmp_path / "file").touch()
    assert job("baselines", "--data", sequences, "--json", tmp_path / "file" / "x.json").code == 2


def test_the_registry_says_what_is_tried() -> None:
    assert list(registry.REGISTRY) == ["popularity", "item-knn", "ease", "transitions", "lightgcn", "sasrec"]
    for entry in REGISTRY.values():
        for setting, values in entry.grid.items():
            assert getattr(entry.peer(), setting) == values[0]
