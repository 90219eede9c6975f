"""Both clients before a server that refuses, hangs up or is another one: real HTTP."""

import json
import socket
from typing import Any

import pytest
from mmgrec_client import (
    Event,
    InvalidRequestError,
    NoAnswerError,
    OverloadedError,
    RecommendRequest,
    Retries,
    ServiceError,
    UnavailableError,
    UnexpectedAnswerError,
)

from tests.client.conftest import KEY, MakeClient, ScriptedServer

QUICK = Retries(attempts=3, first_wait_seconds=0.001, total_seconds=30)
STORED = (200, {}, json.dumps({"accepted": 1, "duplicates": 0, "not_applied": 0, "took_ms": 0.5}).encode())
HISTORY = (200, {}, json.dumps({"user_id": "a", "history": [], "history_length": 0, "seen_count": 0}).encode())
Reply = tuple[int, dict[str, str], bytes]


def refusal(status: int, code: str, **headers: str) -> Reply:
    error = {"type": "overloaded", "code": code, "message": "wait", "retryable": True, "request_id": "r-9"}
    return status, headers, json.dumps({"error": error}).encode()


NAMED = Event(user_id="a", item_id="b", event_id="e-1")
NAMELESS = Event(user_id="a", item_id="b")


@pytest.fixture
def client(make_client: MakeClient, scripted: ScriptedServer) -> Any:
    return make_client(scripted.url, api_key=KEY, timeout_seconds=20, retries=QUICK)


@pytest.mark.parametrize("bad", [refusal(429, "queue_full"), refusal(503, "draining", **{"Retry-After": "0"}), None])
def test_the_call_is_made_again_as_it_was(client: Any, scripted: ScriptedServer, bad: Reply | None) -> None:
    scripted.script = [bad, bad, HISTORY]
    assert client.put_history("a", []).user_id == "a"
    assert len(scripted.asked) == 3
    assert {(each.method, each.path, each.body) for each in scripted.asked} == {
        ("PUT", "/users/a/history", b'{"history":[]}')
    }
    assert {each.headers["Authorization"] for each in scripted.asked} == {f"Bearer {KEY}"}


def test_the_last_error_is_raised(client: Any, scripted: ScriptedServer) -> None:
    scripted.script = [None, refusal(503, "no_release"), refusal(429, "rate_limited", **{"Retry-After": "0"})]
    with pytest.raises(OverloadedError) as caught:
        client.info()
    error = caught.value
    assert (error.status, error.code, error.request_id, error.retryable) == (429, "rate_limited", "r-9", True)
    assert error.retry_after_seconds == 0
    assert scripted.script == []


def test_who_asks_for_more_time_than_there_is_is_not_waited_for(client: Any, scripted: ScriptedServer) -> None:
    scripted.script = [refusal(503, "no_release", **{"Retry-After": "31"})]
    with pytest.raises(UnavailableError) as caught:
        client.recommend(RecommendRequest(history=[]))
    assert caught.value.retry_after_seconds == 31
    assert len(scripted.asked) == 1


@pytest.mark.parametrize("bad", [refusal(503, "redis_unavailable"), refusal(429, "rate_limited"), None])
def test_events_are_sent_again_only_if_all_of_them_have_an_id(
    client: Any, scripted: ScriptedServer, bad: Reply | None
) -> None:
    scripted.script = [bad, STORED]
    assert client.post_events([NAMED, NAMED]).accepted == 1
    scripted.script = [bad]
    with pytest.raises((ServiceError, NoAnswerError)):
        client.post_events([NAMED, NAMELESS])
    assert len(scripted.asked) == 3


@pytest.mark.parametrize("status", [500, 502, 504])
def test_other_errors_are_not_tried_again(client: Any, scripted: ScriptedServer, status: int) -> None:
    scripted.script = [(status, {}, b"<html>Bad gateway</html>")]
    with pytest.raises(ServiceError, match="Bad gateway") as caught:
        client.item("a")
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, f"http_{status}", None)


def test_a_redirect_is_not_followed(client: Any, scripted: ScriptedServer) -> None:
    """The key is for the service alone."""
    scripted.script = [(307, {"Location": scripted.url + "/elsewhere"}, b"")]
    with pytest.raises(ServiceError) as caught:
        client.info()
    assert caught.value.status == 307
    assert len(scripted.asked) == 1


@pytest.mark.parametrize("body", [b"", b"<html>hello</html>", b"{}", b'{"accepted": "many"}'])
def test_an_answer_of_something_else_is_told(client: Any, scripted: ScriptedServer, body: bytes) -> None:
    scripted.script = [(200, {}, body)]
    with pytest.raises(UnexpectedAnswerError, match="base_url"):
        client.post_events([NAMED])


@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_that_cannot_be_decoded_is_told_and_not_asked_for_again(
    client: Any, scripted: ScriptedServer, status: int
) -> None:
    scripted.script = [(status, {"Content-Encoding": "gzip"}, b"no gzip")]
    with pytest.raises(UnexpectedAnswerError, match="Content-Encoding") as caught:
        client.get_history("secret-user")
    assert "secret-user" not in str(caught.value)
    assert len(scripted.asked) == 1


def test_fields_of_a_newer_service_are_ignored(client: Any, scripted: ScriptedServer) -> None:
    scripted.script = [(200, {}, json.dumps({**json.loads(HISTORY[2]), "colour": "red"}).encode())]
    assert client.get_history("a").seen_count == 0


def test_nobody_there(make_client: MakeClient) -> None:
    with socket.socket() as unused:  # bound and not listening: the port stays nobody else's
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        client = make_client(f"http://127.0.0.1:{port}", retries=QUICK)
        with pytest.raises(NoAnswerError, match=f"127.0.0.1:{port}/ .*ConnectError.* attempt 3 of at most 3"):
            client.get_history("secret-user")


def test_one_that_never_answers_is_not_asked_twice(make_client: MakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = make_client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.2, retries=QUICK)
        with pytest.raises(NoAnswerError, match=r"ReadTimeout.* attempt 1 of"):
            client.info()


def test_connections_are_kept(client: Any, scripted: ScriptedServer) -> None:
    scripted.script = [HISTORY] * 20
    for _ in range(20):
        client.get_history("a")
    assert scripted.connections == 1


def test_only_what_was_set_is_sent(client: Any, scripted: ScriptedServer) -> None:
    scripted.script = [refusal(422, "validation_failed")] * 2
    for method, request in (("recommend", RecommendRequest(user_id="a", n=3)), ("similar", "a")):
        with pytest.raises(InvalidRequestError):
            getattr(client, method)(request)
    assert json.loads(scripted.asked[0].body) == {"user_id": "a", "n": 3}
    assert scripted.asked[1].path == "/items/a/similar"


def test_the_service_may_live_below_a_path(make_client: MakeClient, scripted: ScriptedServer) -> None:
    scripted.script = [HISTORY]
    make_client(scripted.url + "/recommender/").get_history("..")
    assert scripted.asked[0].path == "/recommender/users/%2E%2E/history"
