"""The exchange of a Redis password, typed as docs/operations.md has it: a real server, the users of make_secrets."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.conftest import RedisServer
from tests.docker.written import ROOT

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


@pytest.fixture
def folder() -> Iterator[Path]:
    """With the secrets of a deployment, and a docker-compose that does nothing: the test starts Redis anew itself."""
    folder = Path(tempfile.mkdtemp(prefix="mmgrec-test-", dir="/tmp"))  # a socket's path must stay short
    secrets = folder / "docker/secrets"
    subprocess.run(["sh", str(ROOT / "docker/make_secrets.sh"), str(secrets)], check=True, capture_output=True)
    (folder / "docker-compose").symlink_to("/bin/true")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def server(folder: Path) -> Iterator[RedisServer]:
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on PATH (apt-get install redis-server)")
    (folder / "data").mkdir()
    server = RedisServer(binary, folder / "data", durable=True, acl_file=folder / "docker/secrets/redis_acl")
    server.start()
    yield server
    server.stop()


def password(folder: Path, user: str) -> str:
    url = (folder / f"docker/secrets/redis_url_{user}").read_text()
    return url.rpartition("@")[0].rpartition(":")[2]


def type_in(folder: Path, what: str) -> None:
    """Run the commands under a mark of the page."""
    commands = PAGE.partition(f"<!-- tested: {what} -->\n\n```\n")[2].partition("```")[0]
    assert "docker-compose restart redis" in commands
    path = f"{folder}:{os.environ['PATH']}"
    subprocess.run(["sh", "-euc", commands], cwd=folder, env=os.environ | {"PATH": path}, check=True)


def opens(server: RedisServer, user: str, password: str) -> bool:
    with redis.Redis.from_url(server.url, username=user, password=password) as client:
        try:
            return client.lrange("mmgrec:history:{u}", 0, -1) == [b"item"]
        except redis.AuthenticationError:
            return False


def test_a_password_is_exchanged_without_a_moment_when_neither_counts(server: RedisServer, folder: Path) -> None:
    old, jobs = password(folder, "service"), password(folder, "offline")
    with redis.Redis.from_url(server.url, username="service", password=old) as client:
        client.lpush("mmgrec:history:{u}", "item")
    type_in(folder, "add a password")
    new = password(folder, "service")
    assert re.fullmatch("[0-9a-f]{64}", new)
    assert new != old
    assert (opens(server, "service", old), opens(server, "service", new)) == (True, False), (
        "Redis reads it at its start"
    )
    restart(server)
    assert (opens(server, "service", old), opens(server, "service", new)) == (True, True)
    type_in(folder, "drop a password")
    restart(server)
    assert (opens(server, "service", old), opens(server, "service", new)) == (False, True)
    assert password(folder, "offline") == jobs
    assert opens(server, "offline", jobs), "nobody else is touched"


def restart(server: RedisServer) -> None:
    server.stop()
    server.start()


def test_what_lies_on_disk_while_redis_stands_still_is_a_backup(server: RedisServer, folder: Path) -> None:
    secret, data, copy = password(folder, "service"), folder / "data", folder / "copy"
    with redis.Redis.from_url(server.url, username="service", password=secret) as client:
        client.lpush("mmgrec:history:{u}", "item")
    server.stop()
    data.rename(copy)
    data.mkdir()
    server.start()
    assert not opens(server, "service", secret), "it began empty"
    server.stop()
    shutil.rmtree(data)
    copy.rename(data)
    server.start()
    assert opens(server, "service", secret)
