"""Replicas that die, come, go and are exchanged while they are asked; a Redis that starts again."""

import time
from typing import Any

from tests.deploy.callers import Load
from tests.deploy.stack import Stack, answered_items, recommend, say

KILL_THE_SERVICE = """
import os, pathlib, signal
for found in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    pid = int(found.parent.name)
    if pid not in (1, os.getpid()) and b"service" in found.read_bytes():
        os.kill(pid, signal.SIGKILL)
"""
"""As a crash does: the init in front of it ends too, and the engine starts the container anew."""


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


def test_replicas_are_exchanged_for_new_settings_without_a_failed_request(stack: Stack, users: list[str]) -> None:
    assert stack.ask("GET", "/info")["limits"]["max_n"] == 100
    with (stack.folder / "settings.env").open("a", encoding="utf-8") as settings:
        settings.write("MMGREC_MAX_N=50\n")
    before = set(stack.containers())
    calls = [("POST", "/recommend", recommend(user)) for user in users]
    with Load(stack.caller, calls) as load:
        stack.script("docker/exchange_replicas.sh", "-p", stack.project)
        stack.wait_for_replicas(2)
    say(f"replicas exchanged: {dict(load.outcomes)}")
    assert load.failures == {}
    after = set(stack.containers())
    assert len(after) == 2
    assert not before & after
    assert {stack.ask("GET", "/info")["limits"]["max_n"] for _ in range(6)} == {50}


def test_a_restart_of_redis_loses_nothing(stack: Stack, users: list[str]) -> None:
    def everything() -> list[Any]:
        histories = [stack.ask("GET", f"/users/{user}/history") for user in users]
        answers = [stack.ask("POST", "/recommend", recommend(user)) for user in users]
        return [[found["history"] for found in histories], [answered_items(answer) for answer in answers]]

    before = everything()
    calls = [("POST", "/recommend", recommend(user)) for user in users]
    with Load(stack.caller, calls, callers=2) as load:
        stack.compose("restart", "redis")
        stack.wait("nothing is degraded", lambda: not stack.ask("POST", "/recommend", recommend(users[0]))["degraded"])
    assert load.failures == {}
    assert everything() == before
    event = {"user_id": users[0], "item_id": "x", "event_id": "deploy-1"}
    assert stack.ask("POST", "/events", {"events": [event]})["duplicates"] == 1
