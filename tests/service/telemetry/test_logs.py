"""Lines of the log: their shape, and the one that every request leaves."""

import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
import redis
from fastapi import FastAPI

from service.app import create_app
from service.contract.redis_keys import RedisKeys
from service.settings import Settings
from service.telemetry.logs import FIELDS, MOST_LINES, GatheringHandler, LineFormatter, log_config
from service.telemetry.redaction import Redaction

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
WaitFor = Callable[[Callable[[], Any]], Any]


class Lines(logging.Handler):
    """Keeps what would have been written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LineFormatter(as_json=True, redaction=Redaction()))
        self.written: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(json.loads(self.format(record)))

    def of_requests(self) -> list[dict[str, Any]]:
        return [line for line in self.written if line["logger"] == "service.access"]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("service")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def record(message: str, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("service.test", logging.WARNING, "", 0, message, None, None)
    made.created = 1795219200.0625
    if fields:
        setattr(made, FIELDS, fields)
    return made


def test_a_json_line_has_its_fields() -> None:
    line = LineFormatter(as_json=True, redaction=Redaction()).format(record("söme\nthing", release="v1", ms=1.5))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-11-21T00:00:00.062Z",
        "level": "warning",
        "logger": "service.test",
        "message": "söme\nthing",
        "release": "v1",
        "ms": 1.5,
    }


@pytest.mark.parametrize("odd", ["half a pair \ud800", "\x00\x1b[31m", "\u2028", "é 漢 😀"])
def test_no_text_breaks_a_json_line(odd: str) -> None:
    line = LineFormatter(as_json=True, redaction=Redaction()).format(record(odd, error=odd, anything=object()))
    assert json.loads(line)["message"] == json.loads(line)["error"] == odd
    assert line.isprintable() or "\u2028" in odd
    assert len(line.split("\n")) == 1


def test_a_text_line_is_for_human_eyes() -> None:
    line = LineFormatter(as_json=False, redaction=Redaction()).format(record("something", release="v1"))
    assert line == "2026-11-21T00:00:00.062Z WARNING service.test: something release=v1"


@pytest.mark.parametrize("as_json", [True, False])
def test_a_trace_is_told_and_secrets_are_not(as_json: bool) -> None:
    try:
        raise ValueError("the password is hunter2-and-more")
    except ValueError as error:
        failed = record("it failed")
        failed.exc_info = (type(error), error, error.__traceback__)
    line = LineFormatter(as_json=as_json, redaction=Redaction(["hunter2-and-more"])).format(failed)
    assert "ValueError: the password is ***" in line
    assert "test_logs.py" in line


@pytest.mark.parametrize(("level", "shown"), [("info", ["one", "two"]), ("warning", ["two"])])
def test_the_settings_choose_level_and_format(level: Any, shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    loggers = [logging.getLogger(name) for name in (None, "service", "uvicorn", "uvicorn.access")]
    before = [(each.level, each.handlers[:], each.propagate) for each in loggers]
    try:
        logging.config.dictConfig(log_config(Settings(log_level=level)))
        logging.getLogger("service.x").info("one")
        logging.getLogger("service.x").warning("two")
        logging.getLogger("uvicorn.access").error("GET /users/anna/history")
        logging.getLogger("some.library").info("none of our business")
    finally:
        for each, (old_level, handlers, propagate) in zip(loggers, before, strict=True):
            each.setLevel(old_level)
            each.handlers[:] = handlers
            each.propagate = propagate
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == shown


def test_every_request_leaves_one_line(own_service: httpx.Client, lines: Lines, wait_for: WaitFor) -> None:
    lines.written.clear()
    own_service.post("/recommend", json={"history": ["item-05"], "n": 1}, headers={"X-Request-ID": "first"})
    own_service.post("/recommend", json={"user_id": "anna", "request_id": "second"})
    own_service.post("/recommend", json={"n": 0}, headers={"X-Request-ID": "third"})
    own_service.get("/users/anna/no-such-route")
    own_service.get("/health/live")
    wait_for(lambda: len(lines.of_requests()) == 4)  # a line is written after its answer has gone out
    first, second, third, other = lines.of_requests()
    assert first["message"] == "POST /recommend 200"
    assert (first["request_id"], first["route"], first["status"]) == ("first", "/recommend", 200)
    assert (first["release"], first["source"], first["level"]) == ("v1", "model", "info")
    assert 0 < first["ms"] < 60_000
    assert "user" not in first
    assert (second["request_id"], second["source"], len(second["user"])) == ("second", "fallback:popular", 16)
    assert (third["status"], third["error"]) == (422, "validation_failed")
    assert (other["route"], other["status"], other["error"]) == ("other", 404, "not_found")


def test_who_asks_about_health_leaves_no_line_also_when_the_answer_is_no(
    settings: Settings, running: Running, wait_for: WaitFor, fake_decoder: Any, lines: Lines
) -> None:
    """An orchestrator asks every second while a replica starts; the watch says once that there is no release."""
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: any("publish one" in line["message"] for line in lines.written))
        assert client.get("/health/ready").status_code == 503
        client.post("/recommend", json={"user_id": "anna"})
        wait_for(lambda: len(lines.of_requests()) == 1)
        assert [(line["route"], line["status"], line["level"]) for line in lines.of_requests()] == [
            ("/recommend", 503, "warning")
        ]


def test_a_user_has_the_same_hash_in_every_line_when_the_key_is_set(
    settings: Settings, publish: Any, running: Running, wait_for: WaitFor, fake_decoder: Any, lines: Lines
) -> None:
    publish("v1")
    hashes = []
    for key in ("one key of many", "one key of many", "another key"):
        keyed = Settings(**settings.model_dump() | {"redis_url": settings.redis_url, "log_hash_key": key})
        with running(create_app(keyed, decoder_factory=fake_decoder)) as client:
            wait_for(lambda client=client: client.get("/health/ready").status_code == 200)  # type: ignore[misc]
            lines.written.clear()
            for _ in range(2):
                client.post("/recommend", json={"user_id": "anna"})
            wait_for(lambda: len(lines.of_requests()) == 2)
        hashes += [line["user"] for line in lines.of_requests()]
    assert hashes[0] == hashes[1] == hashes[2] == hashes[3]
    assert hashes[4] == hashes[5] != hashes[0]


def test_the_log_of_an_outage_names_no_user(
    own_service: httpx.Client, client_of_redis: redis.Redis, keys: RedisKeys, lines: Lines
) -> None:
    client_of_redis.set(keys.history("anna-the-user"), "no list")
    assert own_service.post("/recommend", json={"user_id": "anna-the-user"}).json()["degraded"] is True
    assert any("cannot be read: ResponseError" in line["message"] for line in lines.written)
    assert "anna-the-user" not in json.dumps(lines.written)


def test_lines_are_written_together_and_warnings_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    handler = GatheringHandler()

    def tell(level: int, text: str) -> str:
        handler.handle(logging.LogRecord("x", level, "", 0, text, None, None))
        return capsys.readouterr().err

    assert tell(logging.INFO, "one") == ""
    assert tell(logging.WARNING, "two") == "one\ntwo\n"
    assert tell(logging.INFO, "three") == ""
    handler.flush()
    assert capsys.readouterr().err == "three\n"
    handler.flush()
    assert capsys.readouterr().err == ""
    assert "".join(tell(logging.INFO, str(at)) for at in range(MOST_LINES)).count("\n") == MOST_LINES


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")])
def test_a_log_that_cannot_be_written_ends_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        fails = True

        def write(self, text: str) -> int:
            if self.fails:
                raise error
            return super().write(text)

    handler, full = GatheringHandler(), Full()
    monkeypatch.setattr("sys.stderr", full)
    for level in (logging.INFO, logging.WARNING):
        handler.handle(logging.LogRecord("x", level, "", 0, "lost", None, None))
    handler.flush()
    full.fails = False
    handler.handle(logging.LogRecord("x", logging.WARNING, "", 0, "told", None, None))
    assert full.getvalue() == "told\n"
