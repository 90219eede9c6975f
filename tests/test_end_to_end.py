"""From a dataset folder to an answer over HTTP: real training, real Redis, real jobs and the real service process."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from offline.run_folder import METRICS_FILES, RunFolder
from tests.offline.catalogue_changes.conftest import write_new_items
from tests.offline.conftest import SIZE, item_id, taste, trained_checkerboard, user_id

ROOT = Path(__file__).parents[1]
WAIT_LIMIT_SECONDS = 60.0
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}


@dataclass(kw_only=True)
class World:
    """A dataset, its trained run, a namespace of a real Redis, and the service that serves it."""

    data: Path
    run: Path
    redis_url: str
    namespace: str
    client: httpx.Client
    process: "subprocess.Popen[str]"
    before_publishing: dict[str, httpx.Response] = field(default_factory=dict)

    def offline(self, job: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "offline", job, *map(str, arguments)]
        command += ["--redis-url", self.redis_url, "--namespace", self.namespace]
        return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)

    def result(self, job: str, *arguments: object) -> dict[str, Any]:
        done = self.offline(job, *arguments)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def recommend(self, **body: object) -> dict[str, Any]:
        answer = self.client.post("/recommend", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def served(self) -> str:
        return str(self.recommend(user_id=user_id(0), n=1)["release"])

    def wait_for(self, question: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_LIMIT_SECONDS
        while not question():
            assert self.process.poll() is None, "the service ended"
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.05)


def start_service(redis_url: str, namespace: str) -> tuple["subprocess.Popen[str]", str]:
    command = [sys.executable, "-m", "service", "--port", "0", "--namespace", namespace]
    command += ["--release-poll-seconds", "0.1"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**ENVIRONMENT, "MMGREC_REDIS_URL": redis_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    first_line = process.stdout.readline()
    return process, first_line.split(" on ")[1].split()[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[World]:
    """The service is started first and asked too early; then the run is published and the histories are loaded."""
    data, run = trained_checkerboard(tmp_path_factory.getbasetemp())
    namespace = f"test-{uuid.uuid4().hex[:12]}"
    process, address = start_service(redis_url, namespace)
    try:
        with httpx.Client(base_url=address, timeout=30) as client:
            made = World(data=data, run=run, redis_url=redis_url, namespace=namespace, client=client, process=process)
            made.wait_for(lambda: client.get("/health/ready").json()["reasons"] == ["no_release"])
            body = {"user_id": user_id(0)}
            made.before_publishing = {"answer": client.post("/recommend", json=body), "info": client.get("/info")}
            made.result("publish", "--run", run)
            assert made.result("load-histories", "--data", data)["written"] == SIZE
            made.wait_for(lambda: client.get("/health/ready").status_code == 200)
            yield made
    finally:
        process.terminate()
        with suppress(ValueError):
            process.communicate(timeout=30)


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def tastes(answer: dict[str, Any]) -> set[str]:
    return {taste(int(name.removeprefix("item-"))) for name in ids(answer)}


def test_before_anything_is_published_the_service_says_so(world: World) -> None:
    refused = world.before_publishing["answer"]
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert "publish one: python -m offline publish --run DIR" in refused.json()["error"]["message"]
    assert world.before_publishing["info"].json()["provider"] is None


def test_everybody_gets_the_withheld_item_first(world: World) -> None:
    first = {}
    for row in range(SIZE):
        answer = world.recommend(user_id=user_id(row), n=5)
        assert (answer["source"], answer["fallback_reason"], answer["degraded"]) == ("model", None, False)
        first[user_id(row)] = ids(answer)[0]
    assert first == {user_id(row): item_id(row) for row in range(SIZE)}


def test_an_item_comes_with_its_rank_scores_and_metadata(world: World) -> None:
    answer = world.recommend(user_id=user_id(7), n=20)
    assert [item["rank"] for item in answer["items"]] == list(range(1, 21))
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert all(item["log_prob"] <= 0 for item in answer["items"])
    top = answer["items"][0]
    assert (top["title"], top["categories"]) == ("The odd thing 7", ["odd", "thing"])


def test_seen_items_never_come_back(world: World) -> None:
    log = pl.read_parquet(world.data / "interactions.parquet")
    for row in (0, 7, 31, 58):
        had = set(log.filter(pl.col("user_id") == user_id(row))["item_id"])
        answer = world.recommend(user_id=user_id(row), n=50)
        assert not had & set(ids(answer))
        assert set(ids(answer)) == {item_id(item) for item in range(SIZE)} - had  # all that is left, none twice
        assert (answer["returned"], answer["exhausted"]) == (SIZE - len(had), True)
    again = world.recommend(user_id=user_id(0), n=10, exclude_seen=False)
    assert tastes(again) == {"even"}
    assert not again["exhausted"]


def test_an_unknown_user_gets_the_popular_items_flagged_as_such(world: World) -> None:
    answer = world.recommend(user_id="stranger", n=10)
    assert (answer["source"], answer["fallback_reason"]) == ("fallback:popular", "unknown_user")
    assert len(set(ids(answer))) == 10
    assert all(item["score"] is None for item in answer["items"])
    assert world.recommend(history=[], n=3)["fallback_reason"] == "empty_history"


@pytest.mark.parametrize("first", [0, 1])
def test_a_history_in_the_body_of_an_unknown_user_decides(world: World, first: int) -> None:
    history = [item_id(row) for row in range(first, 40, 4)]
    for more in ({}, {"user_id": "stranger"}):
        answer = world.recommend(history=history, n=10, **more)
        assert (answer["source"], answer["history_length"]) == ("model", 10)
        assert tastes(answer) == {taste(first)}
        assert not set(history) & set(ids(answer))


def test_a_history_of_today_wins_over_the_stored_one(world: World) -> None:
    """Nobody retrains because a user's taste has turned."""
    turned = world.recommend(user_id=user_id(0), history=[item_id(row) for row in range(1, 41, 4)], n=10)
    assert tastes(turned) == {"odd"}


def test_info_names_the_provider_and_the_release(world: World) -> None:
    info = world.client.get("/info").json()
    assert info["provider"] in {"CPUExecutionProvider", "CUDAExecutionProvider"}
    assert info["release"]["version"] == world.served()
    assert (info["release"]["dataset"], info["release"]["num_items"]) == ("checkerboard", SIZE)
    assert info["release"]["beam_widths"] == [50, 10, 200]
    assert info["release"]["metrics"]["recall@20"] == 1.0
    assert info["redis"] == {"kind": "external", "namespace": world.namespace}


def test_every_beam_width_that_is_offered_answers(world: World) -> None:
    for beam_width in (10, 50, 200):
        assert ids(world.recommend(user_id=user_id(4), n=5, beam_width=beam_width))[0] == item_id(4)
    refused = world.client.post("/recommend", json={"user_id": user_id(4), "beam_width": 11})
    assert (refused.status_code, "take one of 50, 10, 200" in refused.text) == (422, True)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux shows what a process has loaded")
def test_the_service_process_holds_no_torch(world: World) -> None:
    world.served()
    loaded = Path(f"/proc/{world.process.pid}/maps").read_text()
    assert "onnxruntime" in loaded
    assert "torch" not in loaded


def test_a_second_publish_and_a_rollback_are_picked_up_under_load(world: World) -> None:
    first, versions, stop = world.served(), [], threading.Event()

    def keep_asking() -> None:
        with httpx.Client(base_url=world.client.base_url, timeout=30) as client:
            while not stop.is_set():
                answer = client.post("/recommend", json={"user_id": user_id(3), "n": 5})
                found = answer.json() if answer.status_code == 200 else {"release": answer.text, "items": []}
                versions.append((found["release"], ids(found)[:1]))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        second = world.result("publish", "--run", world.run)["version"]
        assert second > first
        world.wait_for(lambda: world.served() == second)
        assert world.result("rollback") == {"version": first}
        world.wait_for(lambda: world.served() == first)
    finally:
        stop.set()
        asking.join()
    assert {version for version, _ in versions} == {first, second}
    assert all(top == [item_id(3)] for _, top in versions)
    listed = world.result("releases")["releases"]
    assert {entry["version"]: entry["active"] for entry in listed} == {first: True, second: False}


def test_an_item_that_training_never_saw_is_recommended_after_add_items(world: World, tmp_path: Path) -> None:
    """The running service has it within seconds, for those who like its like; removed again, and rolled back."""
    served, process = world.served(), world.process.pid
    folder = write_new_items(tmp_path / "new", "even", "odd")
    assert world.client.post("/recommend", json={"history": ["new-0"], "n": 5}).json()["source"] != "model"
    added = world.result("add-items", "--data", folder)
    world.wait_for(lambda: world.served() == added["version"])
    for row in range(6):
        found = ids(world.recommend(user_id=user_id(row), n=10))
        # All that is left of the user's taste: what the checkerboard withholds, and the new one.
        assert set(found[:2]) == {item_id(row), f"new-{row % 2}"}
    answer = world.recommend(history=["new-1"], n=10)  # and it says something of whoever has it
    assert (answer["source"], tastes(answer)) == ("model", {"odd"})
    removed = world.result("remove-items", "--item", "new-0")
    world.wait_for(lambda: world.served() == removed["version"])
    assert "new-0" not in ids(world.recommend(user_id=user_id(0), n=50))
    assert world.result("rollback") == {"version": added["version"]}
    assert world.result("rollback") == {"version": served}
    world.wait_for(lambda: world.served() == served)
    assert world.process.pid == process
    assert world.process.poll() is None


def test_a_bad_publish_loses_nothing(world: World, tmp_path: Path) -> None:
    served, known = world.served(), world.result("releases")
    damaged = shutil.copytree(world.run, tmp_path / "damaged")
    (damaged / "decoder.onnx").write_bytes((damaged / "decoder.onnx").read_bytes()[:5000])
    seen = shutil.copytree(world.run, tmp_path / "seen")
    metrics = json.loads((seen / "metrics.json").read_text())
    (seen / "metrics.json").write_text(json.dumps(metrics | {"seen": 3.0}))
    RunFolder(seen).record("metrics", METRICS_FILES, 0.0)  # as if the evaluation had found them
    for run, code, named in ((damaged, 2, "decoder.onnx"), (seen, 3, "seen = 3, must be 0")):
        done = world.offline("publish", "--run", run)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert done.stderr.startswith("error: ")
        assert named in done.stderr
        assert str(run) in done.stderr
    assert world.result("releases") == known
    time.sleep(0.5)  # several looks of the service
    assert ids(world.recommend(user_id=user_id(9), n=1)) == [item_id(9)]
    assert world.served() == served
