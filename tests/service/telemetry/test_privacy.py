"""Whatever is asked, neither a secret nor a user id is in metrics, log, /info or health (issue 5, build 6)."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from service.app import create_app
from service.settings import Settings
from service.telemetry.logs import LineFormatter
from service.telemetry.redaction import Redaction

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
WaitFor = Callable[[Callable[[], Any]], Any]
KEY, ADMIN_KEY, HASH_KEY = "the-key-of-the-shop-0123", "the-key-of-operators-4567", "the-key-of-the-hashes-89"
# A mark that occurs nowhere by chance, between letters that break lines, quotes, labels, URLs and terminals.
MARK = "ZqUser"
odd = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\r\t\"'\\{}%/#?&<>\x00\x1b\u2028 é"), max_size=12
)
user_ids = st.builds(lambda before, after: before + MARK + after, odd, odd)


class Everything(logging.Handler):
    """All lines of all loggers, as they would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class Watched:
    """A service with keys, and all that can be read of it without being the user."""

    def __init__(self, client: httpx.Client, log: Everything) -> None:
        self.client = client
        self._log = log

    def told(self) -> str:
        pages = [self.client.get(path, headers={"X-API-Key": KEY}) for path in ("/metrics", "/info", "/health/ready")]
        admin = self.client.get("/admin/releases", headers={"X-API-Key": ADMIN_KEY})
        return "\n".join([*self._log.lines, *(page.text for page in [*pages, admin])])


@pytest.fixture(params=[True, False], ids=["json", "text"])
def watched(
    request: pytest.FixtureRequest,
    redis_url: str,
    namespace: str,
    publish: Any,
    running: Running,
    wait_for: WaitFor,
    fake_decoder: Any,
) -> Iterator[Watched]:
    class FailsSometimes(fake_decoder):  # type: ignore[misc]
        def decode(self, histories: Any, filters: Any, *, beam_width: int) -> Any:
            if len(histories) == 1 and len(histories[0]) and histories[0][-1] == 7:
                raise RuntimeError("the decoder met item-07")
            return super().decode(histories, filters, beam_width=beam_width)

    publish("v1")
    chosen = Settings(
        redis_url=SecretStr(redis_url),
        namespace=namespace,
        release_poll_seconds=0.05,
        api_keys=SecretStr(KEY),
        admin_keys=SecretStr(ADMIN_KEY),
        log_hash_key=SecretStr(HASH_KEY),
    )
    log = Everything()
    log.setFormatter(LineFormatter(as_json=request.param, redaction=Redaction(chosen.secrets())))
    # The levels of `telemetry.logs.log_config`, and more of our own; the rest is what the client under test writes.
    levels = {"service": logging.DEBUG, "uvicorn": logging.DEBUG, "uvicorn.access": logging.CRITICAL}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    root = logging.getLogger()
    root.addHandler(log)
    try:
        with running(create_app(chosen, decoder_factory=FailsSometimes)) as client:
            wait_for(lambda: client.get("/health/ready").status_code == 200)
            yield Watched(client, log)
    finally:
        root.removeHandler(log)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user_id=user_ids, shown=st.sampled_from([KEY, ADMIN_KEY, "wrong-key-wrong-key", None]))
def test_no_secret_and_no_user_is_told(watched: Watched, user_id: str, shown: str | None) -> None:
    client, headers = watched.client, {} if shown is None else {"Authorization": f"Bearer {shown}"}
    in_path = quote(user_id, safe="")
    bodies: list[dict[str, Any]] = [
        {"user_id": user_id, "n": 2},
        {"user_id": user_id, "history": ["item-05"]},
        {"user_id": user_id, "history": ["item-07"]},  # the decoder fails on it
        {"user_id": user_id, "n": 0},
        {"user_id": user_id, "no_such_field": user_id},
        {"history": [user_id]},
    ]
    for body in bodies:
        client.post("/recommend", json=body, headers=headers)
    client.post("/recommend", content=json.dumps(user_id)[:-1], headers=headers)
    client.get(f"/users/{in_path}/history", headers=headers)
    client.put(f"/users/{in_path}/history", json={"history": ["item-05"]}, headers=headers)
    client.post("/events", json={"events": [{"user_id": user_id, "item_id": "item-05"}]}, headers=headers)
    client.get(f"/no-such-route/{in_path}?user_id={in_path}", headers={**headers, "X-Request-ID": KEY})
    told = watched.told()
    for hidden in (MARK, KEY, ADMIN_KEY, HASH_KEY):
        assert hidden not in told
    if shown == KEY:  # the test can fail: something was told, users by their hashes
        assert "the decoder met item-07" in told
        assert Redaction(hash_key=HASH_KEY).user_hash(user_id) in told


def test_an_error_that_quotes_its_user_is_told_without(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, wait_for: WaitFor
) -> None:
    user_id = f'it\'s "{MARK}" \\ é'

    async def read(_: Any, user_id: str, *__: float, **___: float) -> Any:
        raise KeyError(f"mmgrec:history:{{{user_id}}}", {"user": user_id})

    monkeypatch.setattr("service.users.histories.Histories.read", read)
    body = {"user_id": user_id, "n": 1}
    response = watched.client.post("/recommend", json=body, headers={"X-API-Key": KEY})
    assert response.status_code == 500
    assert MARK not in response.text
    hashed = Redaction(hash_key=HASH_KEY).user_hash(user_id)
    told = wait_for(lambda: (text := watched.told()).count(hashed) >= 3 and text)
    assert "KeyError" in told
    assert MARK not in told


def test_the_request_id_of_a_caller_cannot_be_a_secret_in_the_log(watched: Watched, wait_for: WaitFor) -> None:
    watched.client.get("/info", headers={"X-API-Key": KEY, "X-Request-ID": f"my-{KEY}"})
    assert "my-***" in wait_for(lambda: "my-" in (text := watched.told()) and text)
