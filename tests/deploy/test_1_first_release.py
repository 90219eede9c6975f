"""From two Dockerfiles and a dataset to answers through the proxy."""

import json
import time

from tests.deploy.stack import BUILD_SECONDS, JOB_SECONDS, Stack, dataset_folder, recommend, say

MAKE_A_SHOP = "from pathlib import Path; from offline.shop import build_shop; build_shop(Path('/data'))"


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
    stack.wait("the proxy answers", lambda: stack.answer("GET", "/health/ready").status == 503)
    state = "{{.State.Health.Status}}"
    stack.wait(
        "they are healthy",
        lambda: {stack.engine.docker("inspect", "-f", state, each) for each in stack.containers()} == {"healthy"},
    )
    assert [found["ready"] for found in stack.readiness()] == [False, False]
    answer = stack.answer("POST", "/recommend", {"history": []})
    assert answer.status == 503
    assert answer.body["error"]["retryable"] is True


def test_the_first_release_comes_from_a_dataset(stack: Stack) -> None:
    folder = dataset_folder()
    say(f"dataset: {folder or 'the generated shop'}")
    if folder is None:
        mounted = ("-v", f"{stack.project}_dataset:/data", "--entrypoint", "python", "mmgrec-offline:test-deploy")
        stack.engine.docker("run", "--rm", *mounted, "-c", MAKE_A_SHOP)
    else:
        stack.bring_dataset(folder)
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
    assert stack.answer("GET", "/metrics").status == 404
    assert stack.answer("GET", "/%6detrics").status == 404
    assert stack.answer("GET", "/admin/releases").status == 401, "a caller is no operator"
    assert stack.answer("POST", "/recommend", {"history": []}, key="mmgrec_of_somebody_else").status == 401


def test_an_operator_has_a_key_of_his_own(stack: Stack) -> None:
    key = (stack.folder / "secrets/admin_key").read_text(encoding="utf-8").strip()
    answer = stack.answer("GET", "/admin/releases", key=key)
    assert (answer.status, len(answer.body["releases"])) == (200, 1)


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
for stranger in ({}, {"password": "x"}, {"username": "health", "password": "x"}):
    try:
        print(stranger, redis.Redis(host="redis", **stranger).get("mmgrec:active"))
    except (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError):
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
