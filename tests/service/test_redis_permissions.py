"""A Redis user who may not touch the namespace of the service: it is told so, and not that Redis cannot be reached."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import FakeDecoder

WaitFor = Callable[[Callable[[], Any]], Any]
REFUSED = "the user of MMGREC_REDIS_URL has no permission for namespace 'shop'"


@pytest.fixture
def url_of_another_namespace(redis_url: str, namespace: str) -> Iterator[str]:
    """URL of a user that is bound to `namespace`, as docker/make_secrets.sh binds the service's."""
    rights = ["resetkeys", f"~{namespace}:*", "resetchannels", f"&{namespace}:*", "+@all", "-@dangerous", "-@admin"]
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", namespace, "on", ">password", *rights)
        yield f"{redis_url}?username={namespace}&password=password"
        client.execute_command("ACL", "DELUSER", namespace)


def test_a_namespace_that_the_user_may_not_touch_is_named(
    url_of_another_namespace: str, wait_for: WaitFor, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(redis_url=url_of_another_namespace, namespace="shop", release_poll_seconds=0.05)
    with caplog.at_level(logging.WARNING), TestClient(create_app(settings, decoder_factory=FakeDecoder)) as client:
        wait_for(lambda: client.get("/health/ready").json()["reasons"] != ["starting"])
        ready = client.get("/health/ready").json()
        event = {"user_id": "u", "item_id": "i", "event": "view"}
        stored = client.post("/events", json={"events": [event]})
        read = client.get("/users/u/history")
    assert REFUSED in ready["message"]
    assert (stored.status_code, read.status_code) == (503, 503)
    assert REFUSED in stored.json()["error"]["message"]
    assert "NoPermissionError; " + REFUSED in caplog.text
    assert "cannot be reached" not in caplog.text + stored.text + read.text + ready["message"]


def test_the_same_user_with_its_own_namespace_is_only_told_that_there_is_no_release(
    url_of_another_namespace: str, namespace: str, wait_for: WaitFor
) -> None:
    settings = Settings(redis_url=url_of_another_namespace, namespace=namespace, release_poll_seconds=0.05)
    with TestClient(create_app(settings, decoder_factory=FakeDecoder)) as client:
        wait_for(lambda: client.get("/health/ready").json()["reasons"] != ["starting"])
        ready = client.get("/health/ready").json()
    assert ready["reasons"] == ["no_release"]
