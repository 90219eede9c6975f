"""docker-compose.yml for real: build, up, train, publish, recommend, kill, restart, retrain, restore, down.

The tests are steps of one story and run in this order; `make test-deploy` stops at the first that fails.
"""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.callers import Load
from tests.deploy.engine import ROOT, container_engine
from tests.deploy.stack import BUILD_SECONDS, JOB_SECONDS, Stack, dataset_folder, say

KILL_THE_SERVICE = """
import os, pathlib, signal
for found in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    pid = int(found.parent.name)
    if pid not in (1, os.getpid()) and b"service" in found.read_bytes():
        os.kill(pid, signal.SIGKILL)
"""
"""As a crash does: the init in front of it ends too, and the engine starts the container anew."""

MAKE_A_SHOP = "from pathlib import Path; from offline.shop import build_shop; build_shop(Path('/data'))"


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="mmgrec-deploy-"))
    before = request.session.testsfailed
    with container_engine() as engine:
        stack = Stack(engine, folder)
        try:
            yield stack
        finally:
            stack.down()
    if request.session.testsfailed > before:
        say(f"logs: {folder}/commands.log, {folder}/containers.log")
    else:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def users(stack: Stack) -> list[str]:
    """Forty users of the dataset, evenly spread."""
    program = (
        "import json, polars as pl; found = pl.read_parquet('/data/interactions.parquet')['user_id'].unique().sort(); "
        "print(json.dumps(found.gather_every(max(1, len(found) // 40)).to_list()[:40]))"
    )
    mounted = ("-v", f"{stack.project}_dataset:/data:ro", "--entrypoint", "python", "mmgrec-offline:test-deploy")
    found: list[str] = json.loads(stack.engine.docker("run", "--rm", *mounted, "-c", program))
    return found


def recommend(user: str, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "n": 10, **more}


def test_the_images_are_built(stack: Stack) -> None:
    stack.compose("build", "service", timeout=BUILD_SECONDS)
    stack.compose("build", "offline", timeout=BUILD_SECONDS)
    for image in ("mmgrec-service:test-deploy", "mmgrec-offline:test-deploy"):
        found = json.loads(stack.engine.docker("image", "inspect", image))[0]
        say(f"{image}: {found['Size'] / 1e6:.0f} MB")
        assert found["Config"]["User"] == "10001:10001"


def test_the_image_of_the_service_has_only_what_it_serves_with(stack: Stack) -> None:
    program = (
        "import importlib.util, json, os; names = ('torch', 'offline', 'model', 'pip', 'setuptools', 'onnxruntime'); "
        "print(json.dumps([name for name in names if importlib.util.find_spec(name)] + [os.getuid()]))"
    )
    run = ("run", "--rm", "--read-only", "--entrypoint", "python", "mmgrec-service:test-deploy", "-c", program)
    assert json.loads(stack.engine.docker(*run)) == ["onnxruntime", 10001]


def test_without_a_release_it_lives_and_says_that_it_is_not_ready(stack: Stack) -> None:
    stack.compose("up", "-d", "--no-build")
    stack.wait("two replicas run", lambda: len(stack.containers()) == 2)
    stack.wait("the proxy answers", lambda: _status(stack, "/health/ready") == 503)
    state = "{{.State.Health.Status}}"
    stack.wait(
        "they are healthy",
        lambda: {stack.engine.docker("inspect", "-f", state, each) for each in stack.containers()} == {"healthy"},
    )
    assert [found["ready"] for found in stack.readiness()] == [False, False]
    answer = stack.caller().ask("POST", "/recommend", {"history": []})
    assert answer.status == 503
    assert answer.body["error"]["retryable"] is True


def test_the_first_release_comes_from_a_dataset(stack: Stack) -> None:
    folder = dataset_folder()
    say(f"dataset: {folder or 'the generated shop'}")
    if folder is None:
        mounted = ("-v", f"{stack.project}_dataset:/data", "--entrypoint", "python", "mmgrec-offline:test-deploy")
        stack.engine.docker("run", "--rm", *mounted, "-c", MAKE_A_SHOP)
    else:
        stack.fill_volume("dataset", folder)
    started = time.monotonic()
    stack.compose("run", "--rm", "-T", "train", timeout=JOB_SECONDS)
    say(f"check, train, publish, load-histories: {time.monotonic() - started:.0f} s")
    stack.wait_for_replicas(2)
    assert [found["ready"] for found in stack.readiness()] == [True, True]


def test_users_get_recommendations_through_the_proxy(stack: Stack, users: list[str]) -> None:
    for user in users:
        answer = stack.ask("POST", "/recommend", recommend(user))
        assert (answer["source"], answer["returned"], answer["degraded"]) == ("model", 10, False)
        assert len({item["item_id"] for item in answer["items"]}) == 10
    for container in stack.containers():
        asked = 'mmgrec_requests_total{route="/recommend",status="200"}'
        page = stack.inside(
            container, "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
        )
        assert any(line.startswith(asked) for line in page.splitlines()), "one replica was never asked"


def test_strangers_and_scrapers_get_nothing(stack: Stack) -> None:
    caller = stack.caller()
    assert caller.ask("GET", "/metrics").status == 404
    assert caller.ask("GET", "/admin/releases").status == 404
    caller._headers.pop("Authorization")
    assert caller.ask("POST", "/recommend", {"history": []}).status == 401


def test_redis_lets_the_service_change_no_release(stack: Stack) -> None:
    """Who takes over a replica cannot plant a model, nor see what else Redis holds."""
    program = """
import redis
client = redis.Redis.from_url(open("/run/secrets/redis_url_service").read().strip())
for command in (("SET", "mmgrec:release:x", "1"), ("DEL", "mmgrec:blob:x:0"), ("GET", "other:key"), ("FLUSHALL",),
                ("CONFIG", "GET", "*"), ("KEYS", "*")):
    try:
        client.execute_command(*command)
        print(command, "was allowed")
    except redis.exceptions.NoPermissionError:
        pass
print("asked")
"""
    assert stack.inside(stack.containers()[0], program) == "asked"


def test_an_event_counts_in_the_next_answer_of_every_replica(stack: Stack, users: list[str]) -> None:
    user = users[0]
    item = stack.ask("POST", "/recommend", recommend(user))["items"][0]["item_id"]
    event = {"user_id": user, "item_id": item, "event": "view", "event_id": "deploy-1"}
    assert stack.ask("POST", "/events", {"events": [event]})["accepted"] == 1
    assert stack.ask("POST", "/events", {"events": [event]})["duplicates"] == 1
    answers = [stack.ask("POST", "/recommend", recommend(user)) for _ in range(6)]
    assert all(item not in {found["item_id"] for found in answer["items"]} for answer in answers)
    assert stack.ask("GET", f"/users/{user}/history")["history"][-1] == item


def test_a_killed_replica_fails_no_recommendation(stack: Stack, users: list[str]) -> None:
    calls = [("POST", "/recommend", recommend(user)) for user in users]
    with Load(stack.caller, calls) as load:
        time.sleep(3)
        stack.engine.docker("exec", stack.containers()[0], "python", "-c", KILL_THE_SERVICE, check=False)
        time.sleep(3)
        stack.wait_for_replicas(2)
        time.sleep(2)
    say(f"a killed replica: {dict(load.outcomes)}")
    assert load.failures == {}
    assert load.outcomes["200"] > 100


def test_replicas_come_and_go_without_a_failed_request(stack: Stack, users: list[str]) -> None:
    calls = [("POST", "/recommend", recommend(user)) for user in users]
    calls += [("GET", f"/users/{user}/history", None) for user in users[:10]]
    calls += [
        ("POST", "/events", {"events": [{"user_id": f"new-{number}", "item_id": "x", "event_id": f"e-{number}"}]})
        for number in range(10)
    ]
    with Load(stack.caller, calls) as load:
        stack.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "service=3")
        stack.wait_for_replicas(3)
        time.sleep(2)
        gone = stack.containers()[-1]
        stack.engine.docker("stop", "-t", "30", gone)
        stack.engine.docker("rm", gone)
        stack.wait_for_replicas(2)
        time.sleep(2)
    say(f"replicas that come and go: {dict(load.outcomes)}")
    assert load.failures == {}
    assert load.outcomes["200"] > 100


def test_a_restart_of_redis_loses_nothing(stack: Stack, users: list[str]) -> None:
    def everything() -> list[Any]:
        histories = [stack.ask("GET", f"/users/{user}/history") for user in users]
        answers = [stack.ask("POST", "/recommend", recommend(user)) for user in users]
        return [[found["history"] for found in histories], [_items(answer) for answer in answers]]

    before = everything()
    calls = [("POST", "/recommend", recommend(user)) for user in users]
    with Load(stack.caller, calls, callers=2) as load:
        stack.compose("restart", "redis")
        stack.wait("nothing is degraded", lambda: not stack.ask("POST", "/recommend", recommend(users[0]))["degraded"])
    assert load.failures == {}
    assert everything() == before
    event = {"user_id": users[0], "item_id": "x", "event_id": "deploy-1"}
    assert stack.ask("POST", "/events", {"events": [event]})["duplicates"] == 1


def test_retrain_on_its_schedule_swaps_the_release_under_load(stack: Stack, users: list[str]) -> None:
    before = stack.ask("GET", "/info")["release"]
    items = [item["item_id"] for item in stack.ask("POST", "/recommend", recommend(users[1]))["items"]]
    events = [{"user_id": user, "item_id": item, "event_id": f"{user}-{item}"} for user in users for item in items]
    assert stack.ask("POST", "/events", {"events": events})["accepted"] == len(events)
    at = datetime.now(UTC) + timedelta(seconds=75)
    stack.set(RETRAIN_AT=f"{at:%H:%M}")
    calls = [("POST", "/recommend", recommend(user)) for user in users]
    stack.compose("--profile", "retrain", "up", "-d", "--no-build", "retrain")
    container = stack.containers("retrain")[0]

    def ended() -> bool:
        return "exit_code" in stack.engine.docker("logs", container)

    stack.wait("retrain has begun", lambda: '"snapshot"' in stack.engine.docker("logs", container) or ended(), 300)
    stack.wait("retrain has ended", ended, JOB_SECONDS)
    printed = stack.engine.docker("logs", container)
    outcome = [json.loads(line) for line in printed.splitlines() if line.startswith('{"time"')][-1]
    assert outcome["retrain_schedule"]["exit_code"] == 0, printed[-3000:]
    with Load(stack.caller, calls, callers=2) as load:
        stack.wait("both replicas serve it", lambda: before not in {found["release"] for found in stack.readiness()})
    assert load.failures == {}
    releases = {found["release"] for found in stack.readiness()}
    assert len(releases) == 1
    stack.compose("--profile", "retrain", "rm", "-s", "-f", "retrain")


def test_a_saved_release_gives_the_same_answers_from_an_empty_redis(stack: Stack, users: list[str]) -> None:
    histories = [stack.ask("GET", f"/users/{user}/history")["history"] for user in users]
    requests = [{"history": history[-50:], "n": 10} for history in histories]
    before = [_items(stack.ask("POST", "/recommend", request)) for request in requests]
    saved = stack.job("releases", "save", "active", "/runs/saved.tar")
    stack.compose("stop", "proxy", "service", "redis")
    stack.compose("rm", "-f", "redis")
    stack.engine.docker("volume", "rm", f"{stack.project}_redis")
    stack.compose("up", "-d", "--no-build")
    stack.wait("nothing is ready", lambda: [each["ready"] for each in stack.readiness()] == [False, False])
    loaded = stack.job("releases", "load", "/runs/saved.tar", "--activate")
    assert (loaded["version"], loaded["signed"], loaded["activated"]) == (saved["version"], True, True)
    stack.wait_for_replicas(2)
    assert [_items(stack.ask("POST", "/recommend", request)) for request in requests] == before


def test_prometheus_sees_every_replica_and_all_that_is_charted(stack: Stack) -> None:
    stack.compose("--profile", "monitoring", "up", "-d", "--no-build", "prometheus")
    program = (
        "import json, urllib.request as r; "
        "print(r.urlopen('http://prometheus:9090/api/v1/targets?state=active').read().decode())"
    )

    def healthy() -> bool:
        try:
            targets = json.loads(stack.inside(stack.containers()[0], program))["data"]["activeTargets"]
        except RuntimeError:
            return False
        return sorted((each["labels"]["job"], each["health"]) for each in targets) == [
            *[("mmgrec", "up")] * 2,
            ("proxy", "up"),
        ]

    stack.wait("two replicas and the proxy are up", healthy, 90)
    rules = json.loads(stack.page("http://prometheus:9090/api/v1/rules"))["data"]["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
    checked = stack.engine.docker(
        "exec", stack.containers("prometheus")[0], "promtool", "check", "rules", "/etc/mmgrec/rules.yml"
    )
    assert "rules found" in checked
    shown = stack.page("http://127.0.0.1:8000/metrics") + stack.page("http://proxy:8405/metrics")
    present = set(re.findall(r"^# TYPE (\S+)", shown, re.MULTILINE)) | {"up"}
    charts = (ROOT / "docker/grafana/dashboards/mmgrec.json").read_text() + (
        ROOT / "docker/prometheus/rules.yml"
    ).read_text()
    named = set(re.findall(r"\b(?:mmgrec|haproxy|process)_\w+", charts)) - {"mmgrec_"}
    suffixes = re.compile("_(bucket|sum|count)$")
    assert {name for name in named if suffixes.sub("", name) not in present and name not in present} == set()


def test_everything_ends_by_itself_when_told_to(stack: Stack) -> None:
    stopped = [*stack.containers(), *stack.containers("redis"), *stack.containers("proxy")]
    stack.compose("stop", timeout=120)
    codes = {stack.engine.docker("inspect", "-f", "{{.Config.Image}} {{.State.ExitCode}}", each) for each in stopped}
    assert codes == {"mmgrec-service:test-deploy 0", "redis:7-bookworm 0", "haproxy:2.6-bookworm 0"}


def _status(stack: Stack, path: str) -> int | None:
    try:
        return stack.caller().ask("GET", path).status
    except OSError:
        return None


def _items(answer: dict[str, Any]) -> list[tuple[str, float | None]]:
    return [(item["item_id"], item["score"]) for item in answer["items"]]
