"""Another release from retrain on its schedule; an old one from a file, in a Redis that was empty."""

from datetime import UTC, datetime, timedelta

from tests.deploy.callers import Load
from tests.deploy.stack import JOB_SECONDS, Stack, answered_items, recommend, say


def test_retrain_on_its_schedule_swaps_the_release_under_load(stack: Stack, users: list[str]) -> None:
    before = stack.ask("GET", "/info")["release"]["version"]
    items = [item["item_id"] for item in stack.ask("POST", "/recommend", recommend(users[1]))["items"]]
    events = [{"user_id": user, "item_id": item, "event_id": f"{user}-{item}"} for user in users for item in items]
    assert stack.ask("POST", "/events", {"events": events})["accepted"] == len(events)
    at = datetime.now(UTC) + timedelta(seconds=75)
    stack.set(RETRAIN_AT=f"{at:%H:%M}")
    calls = [("POST", "/recommend", recommend(user)) for user in users]
    with Load(stack.caller, calls, callers=2, pause_seconds=0.5) as load:
        stack.compose("--profile", "retrain", "up", "-d", "--no-build", "retrain")
        container = stack.containers("retrain")[0]
        stack.wait("retrain has ended", lambda: "exit_code" in stack.engine.docker("logs", container), JOB_SECONDS)
        outcome = stack.engine.docker("logs", container)
        assert '"exit_code": 0' in outcome, outcome[-3000:]
        stack.wait("every replica serves it", lambda: before not in {each["release"] for each in stack.readiness()})
    say(f"retrain: {dict(load.outcomes)} {dict(load.releases)}")
    (after,) = {each["release"] for each in stack.readiness()}
    assert load.failures == {}
    assert set(load.releases) == {before, after}
    assert stack.engine.docker("inspect", "-f", "{{.State.Running}}", container) == "true", "it waits for the next day"
    stack.compose("--profile", "retrain", "rm", "-s", "-f", "retrain")


def test_a_saved_release_gives_the_same_answers_from_an_empty_redis(stack: Stack, users: list[str]) -> None:
    histories = [stack.ask("GET", f"/users/{user}/history")["history"] for user in users]
    requests = [{"history": history[-50:], "n": 10} for history in histories]
    before = [answered_items(stack.ask("POST", "/recommend", request)) for request in requests]
    saved = stack.job("releases", "save", "active", "/runs/saved.tar")
    stack.compose("stop", "proxy", "service", "redis")
    stack.compose("rm", "-f", "redis")
    stack.engine.docker("volume", "rm", f"{stack.project}_redis")
    stack.compose("up", "-d", "--no-build")
    stack.wait("nothing is ready", lambda: [each["ready"] for each in stack.readiness()] == [False, False])
    loaded = stack.job("releases", "load", "/runs/saved.tar", "--activate")
    assert (loaded["version"], loaded["signed"], loaded["activated"]) == (saved["version"], True, True)
    stack.wait_for_replicas(2)
    assert [answered_items(stack.ask("POST", "/recommend", request)) for request in requests] == before
