"""The proxy's configuration: what it may send twice, and that it says so in the service's own words."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.app import create_app
from service.edge_settings import EdgeSettings
from service.errors import DRAINING
from service.schemas.errors import ErrorResponse
from service.settings import Settings
from tests.docker.written import ROOT

PATH = ROOT / "docker/haproxy/haproxy.cfg"
LINES = [line.strip() for line in PATH.read_text(encoding="utf-8").splitlines() if line.strip()[:1] not in ("", "#")]


def test_only_what_changes_nothing_is_sent_a_second_time() -> None:
    """By these paths and methods: the one that writes must not be among them, and each must exist."""
    assert "http-request disable-l7-retry unless reads" in LINES
    assert [line for line in LINES if line.startswith("acl reads")] == [
        "acl reads method GET HEAD",
        "acl reads path /recommend /recommend/batch",
    ]
    routes = {path: set(found) for path, found in create_app(Settings()).openapi()["paths"].items()}
    assert routes["/recommend"] == routes["/recommend/batch"] == {"post"}
    assert routes["/events"] == {"post"}


def test_it_retries_what_another_replica_can_cure() -> None:
    retried = next(line for line in LINES if line.startswith("retry-on")).split()[1:]
    assert {"conn-failure", "empty-response", "response-timeout", str(DRAINING.status)} <= set(retried)
    assert "429" not in retried, "a full queue is not cured by filling the next one"
    assert "option redispatch 1" in LINES


def test_it_follows_replicas_that_come_and_go() -> None:
    template = next(line for line in LINES if line.startswith("server-template"))
    assert re.search(r"service:8000\b.*resolvers docker\b.*init-addr none", template)
    assert "http-check send meth GET uri /health/ready ver HTTP/1.1 hdr Host mmgrec" in LINES
    assert "nameserver docker 127.0.0.11:53" in LINES


def test_a_request_of_every_permitted_size_of_head_fits_into_its_buffer() -> None:
    size = int(next(line for line in LINES if line.startswith("tune.bufsize")).split()[1])
    assert size >= 2 * EdgeSettings.model_fields["max_header_bytes"].default


def test_its_own_errors_have_the_shape_of_the_service() -> None:
    bodies = [json.loads(found) for line in LINES for found in re.findall(r"string '([^']*)'", line)]
    assert len(bodies) == 4
    for body in bodies:
        assert ErrorResponse.model_validate(body).model_dump() == body


def test_it_waits_longer_than_the_service_takes() -> None:
    seconds = int(re.fullmatch(r"timeout server (\d+)s", next(line for line in LINES if "timeout server" in line))[1])  # type: ignore[index]
    assert seconds > Settings.model_fields["deadline_seconds"].default


def test_haproxy_itself_takes_it(tmp_path: Path) -> None:
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if haproxy is None:
        pytest.skip("no haproxy here (apt-get install haproxy); make test-deploy runs it in any case")
    done = subprocess.run([haproxy, "-c", "-f", str(PATH)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
