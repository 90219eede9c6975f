"""Who is let in, over real HTTP: keys, admin keys, what is open to all, and strangers where no key is set."""

import asyncio
import hashlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from service.__main__ import main
from service.app import create_app
from service.settings import Settings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
WaitFor = Callable[[Callable[[], Any]], Any]
KEY, OTHER_KEY, ADMIN_KEY = "the-key-of-the-web-shop", "another-key-of-the-shop", "the-key-of-operators"
OPEN = ["/health/live", "/health/ready", "/docs", "/openapi.json"]
ASK = {"history": ["item-05"], "n": 1}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def line(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}\n"


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(line("web", KEY))
    return file


@pytest.fixture
def locked(
    settings: Settings, publish: Any, running: Running, wait_for: WaitFor, fake_decoder: Any, keys_file: Path
) -> Iterator[httpx.Client]:
    """A ready service with API keys and admin keys."""
    publish("v1")
    asked = settings.model_copy(
        update={"api_keys_file": keys_file, "admin_keys": SecretStr(ADMIN_KEY), "metrics_public": False}
    )
    with running(create_app(asked, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        yield client


def without_ids(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert error.pop("request_id") == response.headers["X-Request-ID"]
    return error


def test_a_key_opens_in_either_header(locked: httpx.Client) -> None:
    for headers in (bearer(KEY), {"Authorization": f"bearer  {KEY}"}, {"X-API-Key": KEY}):
        assert locked.post("/recommend", json=ASK, headers=headers).status_code == 200
    both = {"X-API-Key": KEY, "Authorization": "Basic of-some-proxy"}
    assert locked.post("/recommend", json=ASK, headers=both).status_code == 200


def test_missing_and_wrong_keys_get_the_same_answer(locked: httpx.Client) -> None:
    wrong: list[dict[str, str]] = [
        {},
        bearer("wrong"),
        bearer(KEY[:-1]),
        bearer(KEY + "x"),
        {"Authorization": "Bearer"},
        bearer(ADMIN_KEY),
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": ""},
        {"X-API-Key": "k" * 5000},
        {"X-API-Key": "wrong", **bearer(KEY)},
    ]
    answers = [locked.post("/recommend", json=ASK, headers=headers) for headers in wrong]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    first, *others = [without_ids(answer) for answer in answers]
    assert all(other == first for other in others)
    assert (first["type"], first["code"], first["retryable"]) == ("authentication", "unauthenticated", False)
    assert "Authorization: Bearer KEY" in first["message"]


@pytest.mark.parametrize(
    "path", ["/info", "/no-such-route", "/recommend", "/metrics", "//health/live", "/health/live/x"]
)
def test_everything_else_is_locked_whether_it_exists_or_not(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 401
    assert locked.get(path, headers=bearer(KEY)).status_code in {200, 404, 405}


@pytest.mark.parametrize("path", OPEN)
def test_health_and_documents_are_open(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_a_refused_body_is_not_read_and_the_connection_goes_on(locked: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536  # more than is accepted, yet the answer is 401 and no 413

    for _ in range(3):
        answer = locked.post("/recommend", content=pieces(), headers={"Content-Type": "application/json"})
        assert answer.status_code == 401
        assert locked.post("/recommend", json=ASK, headers=bearer(KEY)).status_code == 200


def test_keys_rotate_without_a_restart(locked: httpx.Client, keys_file: Path, wait_for: WaitFor) -> None:
    keys_file.write_text(line("web", KEY) + line("web", OTHER_KEY))
    wait_for(lambda: locked.get("/info", headers=bearer(OTHER_KEY)).status_code == 200)
    assert locked.get("/info", headers=bearer(KEY)).status_code == 200
    keys_file.write_text(line("web", OTHER_KEY))
    wait_for(lambda: locked.get("/info", headers=bearer(KEY)).status_code == 401)
    assert locked.get("/info", headers=bearer(OTHER_KEY)).status_code == 200


def test_the_document_says_which_keys_there_are(locked: httpx.Client) -> None:
    document = locked.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "api_key"}
    recommend = document["paths"]["/recommend"]["post"]
    assert {"401", "403", "429", "431"} <= set(recommend["responses"])
    assert {"bearer": []} in recommend["security"]
    assert {} in recommend["security"]  # a service without keys asks nobody
    assert {} not in document["paths"]["/admin/reload"]["post"]["security"]
    assert "security" not in document["paths"]["/health/live"]["get"]


def test_without_keys_this_machine_is_asked_for_none(service: httpx.Client) -> None:
    assert service.post("/recommend", json=ASK).status_code == 200
    assert service.post("/recommend", json=ASK, headers=bearer("any")).status_code == 200


async def _ask(app: FastAPI, server: tuple[str, int] | None, path: str = "/nowhere") -> int:
    """One request as a server would hand it in that listens on some address."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": [], "server": server, "client": None, "http_version": "1.1", "scheme": "http", "root_path": ""}
    await app(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", 404),
        ("::1", 404),
        ("::ffff:127.0.0.1", 404),
        (None, 404),
        ("192.0.2.7", 403),
        ("10.0.0.1", 403),
        ("::ffff:192.0.2.7", 403),
        ("fe80::1%eth0", 403),
    ],
)
def test_a_server_that_nobody_kept_from_the_world_still_serves_no_strangers(address: str | None, status: int) -> None:
    """As `uvicorn service.app:app --host 0.0.0.0` would be."""
    server = None if address is None else (address, 8000)
    assert asyncio.run(_ask(create_app(Settings()), server)) == status
    assert asyncio.run(_ask(create_app(Settings()), server, "/health/live")) == 200
    assert asyncio.run(_ask(create_app(Settings(allow_anonymous=True)), server)) == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "::", socket.gethostname()])
def test_listening_beyond_this_machine_without_a_key_is_refused(
    host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if host == socket.gethostname() and _is_loopback(host):
        pytest.skip(f"{host} is an address of this machine alone")
    assert main(["--host", host, "--port", "0"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    for named in (f"MMGREC_HOST={host!r}", "MMGREC_API_KEYS_FILE", "MMGREC_ALLOW_ANONYMOUS=1"):
        assert named in message


def _is_loopback(host: str) -> bool:
    try:
        return all(str(found[4][0]).startswith(("127.", "::1")) for found in socket.getaddrinfo(host, 0))
    except OSError:
        return True


def test_with_a_key_the_real_command_listens_to_the_world_without_a_warning(
    redis_url: str, namespace: str, keys_file: Path, wait_for: WaitFor
) -> None:
    (keys_file.parent / "redis").write_text(redis_url + "\n")
    command = [sys.executable, "-m", "service", "--port", "0", "--host", "0.0.0.0", "--namespace", namespace]
    command += ["--api-keys-file", str(keys_file), "--redis-url-file", str(keys_file.parent / "redis")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().split()[3].rpartition(":")[2]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            wait_for(lambda: client.get("/health/ready").json()["reasons"] == ["no_release"])
            assert client.get("/info").status_code == 401
            assert client.get("/info", headers=bearer(KEY)).status_code == 200
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert "reachable from other machines" not in log
    assert KEY not in log


def test_a_file_of_keys_that_cannot_be_used_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--api-keys-file", str(tmp_path / "none"), "--port", "0"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "MMGREC_API_KEYS_FILE" in message
