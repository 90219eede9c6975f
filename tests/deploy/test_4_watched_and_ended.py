"""What watches it, and its end."""

import json
import re

from tests.deploy.engine import ROOT
from tests.deploy.stack import Stack


def test_prometheus_sees_every_replica_and_all_that_is_charted(stack: Stack) -> None:
    if stack.engine.stands_in:  # the image of Prometheus' makers has a folder of this user's there
        owned = ("-v", f"{stack.project}_prometheus:/p", "--user", "0", "--entrypoint", "chown")
        stack.engine.docker("run", "--rm", *owned, "prom/prometheus:v2.42.0", "65534", "/p")
    stack.compose("--profile", "monitoring", "up", "-d", "--no-build", "prometheus")

    def healthy() -> bool:
        targets = json.loads(stack.page("http://prometheus:9090/api/v1/targets?state=active"))["data"]["activeTargets"]
        found = sorted((each["labels"]["job"], each["health"]) for each in targets)
        return found == [*[("mmgrec", "up")] * 2, ("proxy", "up")]

    stack.wait("two replicas and the proxy are up", healthy, 90)
    rules = json.loads(stack.page("http://prometheus:9090/api/v1/rules"))["data"]["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
    prometheus = stack.containers("prometheus")[0]
    assert "rules found" in stack.engine.docker(
        "exec", prometheus, "promtool", "check", "rules", "/etc/mmgrec/rules.yml"
    )
    assert "SUCCESS" in stack.engine.docker(
        "exec", prometheus, "promtool", "test", "rules", "/etc/mmgrec/rules_test.yml"
    )
    shown = stack.page("http://127.0.0.1:8000/metrics") + stack.page("http://proxy:8405/metrics")
    present = set(re.findall(r"^# TYPE (\S+)", shown, re.MULTILINE)) | {"up"}
    charts = (ROOT / "docker/grafana/dashboards/mmgrec.json").read_text() + (
        ROOT / "docker/prometheus/rules.yml"
    ).read_text()
    named = set(re.findall(r"\b(?:mmgrec|haproxy|process)_\w+", charts)) - {"mmgrec_"}
    suffixes = re.compile("_(bucket|sum|count)$")
    assert {name for name in named if suffixes.sub("", name) not in present and name not in present} == set()


def test_everything_ends_by_itself_when_told_to(stack: Stack) -> None:
    stopped = [*stack.containers(), *stack.containers("redis"), *stack.containers("proxy")]
    stack.compose("stop", timeout=120)
    codes = {stack.engine.docker("inspect", "-f", "{{.Config.Image}} {{.State.ExitCode}}", each) for each in stopped}
    assert codes == {"mmgrec-service:test-deploy 0", "redis:7-bookworm 0", "haproxy:2.6-bookworm 0"}
