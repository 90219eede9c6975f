"""docs/operations.md beside what it speaks of: metrics of a running service, rules of Prometheus, formats."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import redis
import uvicorn
import yaml
from prometheus_client.parser import text_string_to_metric_families

from docs.making.api_page import anchor
from service.app import create_app
from service.contract.manifest import FORMAT_VERSION, READ_VERSIONS
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.edge.http_protocol import http_protocol
from service.settings import Settings
from tests.service.conftest import FakeDecoder, write_release
from tests.service.over_sockets import serving

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
RULES = ROOT / "docker" / "prometheus" / "rules.yml"
ABSENT_UNTIL_SOMETHING_IS_WRONG = {"mmgrec_release_problem": {"arm", "reason"}}
COUNTED_ON_FIRST_USE = {
    "mmgrec_requests_shed_total": {"reason"},
    "mmgrec_fallback_total": {"reason"},
    "mmgrec_catalogue_coverage_ratio": {"release"},
}
"""Their labels cannot be seen in a service that has done little."""


class Told(NamedTuple):
    kind: str
    labels: frozenset[str]


def section(heading: str) -> str:
    after = TEXT[TEXT.index(f"\n{heading}\n") + len(heading) + 2 :]
    return re.split(rf"^#{{1,{heading.count('#')}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("|--")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines][1:]


@pytest.fixture
def scraped(redis_url: str, namespace: str) -> dict[str, Told]:
    """Every metric of ours of a service that has answered one request."""
    with redis.Redis.from_url(redis_url) as client:
        write_release(ReleaseStore(client, RedisKeys(namespace)), "v1")
    settings = Settings(redis_url=redis_url, namespace=namespace, release_poll_seconds=0.05, deadline_seconds=20)
    app = create_app(settings, decoder_factory=FakeDecoder)
    http: Any = http_protocol(settings.max_header_bytes, app.state.shedding)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", http=http))
    with serving(server) as (host, port), httpx.Client(base_url=f"http://{host}:{port}", timeout=20) as client:
        while client.post("/recommend", json={"user_id": "nobody"}).status_code == 503:
            pass
        assert client.post("/recommend", json={"history": ["item-05"]}).status_code == 200
        return dict(told(client.get("/metrics").text))


def told(text: str) -> Iterator[tuple[str, Told]]:
    for family in text_string_to_metric_families(text):
        if family.name.startswith("mmgrec_"):
            ending = {"counter": "_total"}.get(family.type, "")
            labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
            yield family.name + ending, Told(family.type, labels)


def test_every_metric_is_told_with_its_labels(scraped: dict[str, Told]) -> None:
    documented = {
        name: Told("gauge" if kind == "info" else kind, frozenset(filter(None, labels.split(", "))))
        for name, kind, labels, _ in rows(section("### Every metric"))
    }
    unseen = ABSENT_UNTIL_SOMETHING_IS_WRONG | COUNTED_ON_FIRST_USE
    assert set(documented) == set(scraped) | set(ABSENT_UNTIL_SOMETHING_IS_WRONG)
    for name, found in scraped.items():
        labels = found.labels or frozenset(unseen.get(name, ()))
        assert documented[name] == Told(found.kind, labels), name


def test_every_metric_in_a_query_is_one_of_them() -> None:
    known = {row[0] for row in rows(section("### Every metric"))}
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"mmgrec_[a-z_]+[a-z]", TEXT)}
    assert asked - known - {"mmgrec_client"} == set()


def test_every_alert_says_what_to_do() -> None:
    table = rows(section("## Alerts"))
    assert len(table) > 8
    for name, _, severity, action in table:
        assert severity in ("page", "ticket"), name
        assert re.search(r"\(#[a-z0-9-]+\)", action), name


@pytest.mark.skipif(not RULES.exists(), reason="there is no docker/prometheus/rules.yml")
def test_the_alerts_are_the_rules_of_prometheus() -> None:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules = {
        rule["alert"]: rule["labels"]["severity"] for group in groups for rule in group["rules"] if "alert" in rule
    }
    assert {name: severity for name, _, severity, _ in rows(section("## Alerts"))} == rules


def test_the_formats_are_those_that_are_read() -> None:
    read = " and ".join(map(str, READ_VERSIONS))
    assert f"this version writes {FORMAT_VERSION} and reads {read}" in " ".join(section("## Upgrading").split())


def test_no_part_stands_there_twice_and_the_head_names_every_one() -> None:
    text = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    assert len({heading.lower() for heading in headings}) == len(headings)
    named = set(re.findall(r"\(#([a-z-]+)\)", text.partition("\n## ")[0]))
    assert named == {anchor(heading) for heading in re.findall(r"^## (.*)$", text, flags=re.MULTILINE)}
    assert not {"### Alerts", "### Upgrades"} & set(text.splitlines()), "there is a part of its own for each"
