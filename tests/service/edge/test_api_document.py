"""docs/calling.md beside the service: every route has an example that works, every code of an error is in the table."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from service import errors
from service.app import create_app
from service.errors import Kind
from service.schemas import events, fields

KEY, ADMIN_KEY = "the-key-of-the-web-shop", "the-key-of-operators"
TEXT = (Path(__file__).parents[3] / "docs" / "calling.md").read_text(encoding="utf-8")


@pytest.fixture
def locked(settings: Any, publish: Any, running: Any, wait_for: Any, fake_decoder: Any) -> Iterator[httpx.Client]:
    for version in ("v1", "v2"):  # so that there is something to roll back to
        publish(version)
    secrets = {"api_keys": SecretStr(KEY), "admin_keys": SecretStr(ADMIN_KEY)}
    asked = settings.model_copy(update={**secrets, "metrics_public": False})
    with running(create_app(asked, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        yield client


def examples(namespace: str) -> Iterator[tuple[str, str, dict[str, str], str | None]]:
    """Method, path, headers and body of every `curl` line."""
    for line in re.findall(r"^curl .*$", TEXT, flags=re.MULTILINE):
        for name, value in (("ADMIN_KEY", ADMIN_KEY), (" KEY", f" {KEY}"), ("RELEASE", "v2"), ("mmgrec", namespace)):
            line = line.replace(name, value)
        _, _, *words = shlex.split(line)
        headers = dict(words[at + 1].split(": ") for at, word in enumerate(words) if word == "-H")
        body = words[words.index("-d") + 1] if "-d" in words else None
        method = words[words.index("-X") + 1] if "-X" in words else "GET" if body is None else "POST"
        (path,) = (word.removeprefix("$URL") for word in words if word.startswith("$URL"))
        yield method, path, headers, body


def test_every_route_has_an_example_that_works(locked: httpx.Client, namespace: str) -> None:
    document = locked.get("/openapi.json").json()
    patterns = {
        (method.upper(), re.sub(r"\{\w+\}", "[^/]+", path)): path
        for path, operations in document["paths"].items()
        for method in operations
    }
    shown = set()
    for method, path, headers, body in examples(namespace):
        response = locked.request(method, path, headers=headers, content=body)
        bare = path.partition("?")[0]
        refused = response.status_code == 409 and bare == "/admin/rollback"  # neither release has a parent
        assert response.is_success or refused, f"{method} {path}: {response.text}"
        shown |= {known for known in patterns if known[0] == method and re.fullmatch(known[1], bare)}
    assert shown == set(patterns)


def test_every_code_of_an_error_is_in_the_table() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, Kind)]
    kinds += [*errors._DOMAIN.values(), *(kind for kind, _ in errors._BY_STATUS.values())]
    told = {kind.code for kind in kinds} - {"client_closed_request", "not_ready", "draining"}
    assert {code for code in told if f"`{code}`" not in TEXT} == set()


def test_the_limits_in_the_table_are_those_of_the_code() -> None:
    table = TEXT[TEXT.index("## Limits") :]
    lists = f"{fields.MAX_HISTORY:,}, {fields.MAX_EXCLUDED:,}, {fields.MAX_CANDIDATES:,}, {fields.MAX_CATEGORIES}"
    assert f"| {lists} |" in table
    assert f"| 1 to {fields.MAX_EVENTS} |" in table
    assert f"| 1 to {fields.MAX_BATCH_REQUESTS} |" in table
    assert f"| {fields.MIN_DEADLINE_MS} to {fields.MAX_DEADLINE_MS:,} |" in table
    assert f"1 to {fields.MAX_ID_LENGTH} characters" in table
    assert f"from {events.FIRST_TIME:,} " in table
