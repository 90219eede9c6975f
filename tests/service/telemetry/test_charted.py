"""Dashboard and alert rules name only metrics and labels that a service really tells."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[3]
DASHBOARD = json.loads((ROOT / "docker/grafana/dashboards/mmgrec.json").read_text(encoding="utf-8"))
GROUPS = yaml.safe_load((ROOT / "docker/prometheus/rules.yml").read_text(encoding="utf-8"))["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
NAME = re.compile(r"\b(?:mmgrec|process)_[a-z_]+\b")


def queries() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]] + [rule["expr"] for rule in RULES]


def test_every_metric_that_is_charted_or_alerted_on_is_told(own_service: httpx.Client) -> None:
    assert own_service.post("/recommend", json={"history": ["item-05"], "n": 4}).status_code == 200
    families = list(text_string_to_metric_families(own_service.get("/metrics").text))
    told = {sample.name for family in families for sample in family.samples}
    told |= {family.name + suffix for family in families for suffix in ("", "_total", "_bucket", "_sum", "_count")}
    named = {name for query in queries() for name in NAME.findall(query)}
    assert len(named) > 30
    assert named - told == set()


def test_every_panel_asks_the_provisioned_source_and_says_something() -> None:
    provisioned = yaml.safe_load((ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text())
    uids = {source["uid"] for source in provisioned["datasources"]}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == uids
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_two_panels_lie_on_each_other() -> None:
    covered: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & covered, panel["title"]
        covered |= cells


def test_every_alert_says_how_grave_it_is_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 10
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"], rule["alert"]
