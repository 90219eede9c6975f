"""What schemathesis finds between the OpenAPI document and the service: nothing.

It runs as a program of its own, as its users do: as a plugin it would slow down the start of every test run. The same
inputs every time: examples, boundary cases of every field, and some drawn ones.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from service.app import create_app
from service.settings import Settings

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)
PHASES = ("examples", "coverage", "fuzzing")
MAX_EXAMPLES = 10
"""Drawn ones of each operation; the boundary cases are about a thousand besides."""
KEY, ADMIN_KEY = "the-key-of-the-web-shop", "the-key-of-operators"
CONFIGURATION = f"""
headers = {{ "X-API-Key" = "{KEY}" }}

[[operations]]
include-path-regex = "^/admin/"
headers = {{ "X-API-Key" = "{ADMIN_KEY}" }}

[checks.not_a_server_error]
# 504 is what a request gets that asks for deadline_ms=10 on a busy machine; it is documented, so its shape is checked.
expected-statuses = ["2xx", "3xx", "4xx", 504]

[phases.coverage]
unexpected-methods = []  # none of the checks looks at them
"""
LIMIT_SECONDS = 600

Run = Callable[..., subprocess.CompletedProcess[str]]
Serve = Callable[[FastAPI], AbstractContextManager[str]]


@pytest.fixture
def app(settings: Settings, publish: Any, fake_decoder: Any) -> FastAPI:
    """With API keys and admin keys, and time enough for a slow machine."""
    publish("v1")
    secrets = {"api_keys": SecretStr(KEY), "admin_keys": SecretStr(ADMIN_KEY)}
    time_for_redis = {"redis_timeout_seconds": 30, "redis_connect_timeout_seconds": 30}
    asked = settings.model_copy(update={**secrets, **time_for_redis, "metrics_public": False})
    return create_app(asked, decoder_factory=fake_decoder)


@pytest.fixture
def serve(running: Any, wait_for: Any) -> Serve:
    @contextmanager
    def served(app: FastAPI) -> Iterator[str]:
        with running(app) as client:
            wait_for(lambda: client.get("/health/ready").status_code == 200)
            yield str(client.base_url).rstrip("/")

    return served


@pytest.fixture
def schemathesis(tmp_path: Path) -> Run:
    """Runs it against a service; its report lies in report.json afterwards."""
    (tmp_path / "configuration.toml").write_text(CONFIGURATION, encoding="utf-8")

    def run(url: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", "configuration.toml"]
        command += ["run", f"{url}/openapi.json", "--checks", ",".join(CHECKS), "--phases", ",".join(PHASES)]
        command += ["--max-examples", str(MAX_EXAMPLES), "--generation-deterministic", "--continue-on-failure"]
        command += ["--suppress-health-check", "all", "--report-json-path", "report.json", *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)

    return run


def test_the_service_is_as_documented(app: FastAPI, serve: Serve, schemathesis: Run, tmp_path: Path) -> None:
    with serve(app) as url:
        document = httpx.get(f"{url}/openapi.json").json()
        done = schemathesis(url)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    operations = sum(map(len, document["paths"].values()))
    assert (report["operations"]["tested"], report["test_cases"]["with_failures"]) == (operations, 0)
    assert report["test_cases"]["generated"] > 20 * operations
    assert [report["phases"][name]["status"] for name in PHASES] == ["success"] * len(PHASES)


@pytest.mark.parametrize(
    ("path", "method", "status", "found"),
    [
        ("/items/{item_id}", "get", "404", "Undocumented status code"),
        ("/info", "get", None, "Response violates schema"),
    ],
)
def test_it_would_find_something(
    app: FastAPI, serve: Serve, schemathesis: Run, path: str, method: str, status: str | None, found: str
) -> None:
    document = app.openapi()
    if status is not None:
        del document["paths"][path][method]["responses"][status]
    else:
        document["components"]["schemas"]["InfoResponse"]["properties"]["version"]["type"] = "integer"
    with serve(app) as url:
        done = schemathesis(url, "--include-path", path, "--phases", "coverage", "--no-shrink")
    assert done.returncode == 1, done.stdout + done.stderr
    assert found in done.stdout
