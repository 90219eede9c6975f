"""Prometheus' own program reads the configuration and runs the rules on made-up series."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docker.written import ROOT, compose, read_yaml

FOLDER = ROOT / "docker/prometheus"


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool here (apt-get install prometheus); make test-deploy runs it in any case")
    return found


def test_it_asks_for_names_that_the_compose_file_gives() -> None:
    jobs = {job["job_name"]: job for job in read_yaml(FOLDER / "prometheus.yml")["scrape_configs"]}
    services = compose()["services"]
    (found,) = jobs["mmgrec"]["dns_sd_configs"]
    assert found["names"] == ["service"]
    assert found["port"] == services["service"]["environment"]["MMGREC_PORT"]
    (target,) = jobs["proxy"]["static_configs"][0]["targets"]
    assert target.split(":")[0] in services
    assert f"bind :{target.split(':')[1]}" in (ROOT / "docker/haproxy/haproxy.cfg").read_text()


def test_the_tests_of_the_rules_name_every_alert() -> None:
    alerts = {rule["alert"] for group in read_yaml(FOLDER / "rules.yml")["groups"] for rule in group["rules"]}
    tests = read_yaml(FOLDER / "rules_test.yml")["tests"]
    samples = [sample for test in tests for case in test["promql_expr_test"] for sample in case.get("exp_samples", [])]
    tested = {sample["labels"].split('"')[1] for sample in samples}
    assert tested == alerts


def test_the_rules_fire_when_they_should_and_not_otherwise(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "test", "rules", "rules_test.yml"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration(promtool: str, tmp_path: Path) -> None:
    text = (FOLDER / "prometheus.yml").read_text().replace("/etc/mmgrec", str(FOLDER))
    (tmp_path / "prometheus.yml").write_text(text)
    command = [promtool, "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
