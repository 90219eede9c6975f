"""docker-compose.yml keeps to what docker-compose 1.29 and Compose v2 both know, and confines what it starts."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.docker.written import COMPOSE_FILES, ROOT, compose, compose_variables, example_settings, read_yaml

OURS = ("service", "offline", "train", "retrain")
SERVICES: dict[str, Any] = compose()["services"]


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_it_has_nothing_that_only_one_generation_knows(path: Path) -> None:
    found = read_yaml(path)
    assert {key for key in found if not key.startswith("x-")} <= {"services", "networks", "volumes", "secrets"}
    for service in found["services"].values():
        assert {"gpus", "develop", "provider", "models"} & set(service) == set()
        wanted = service.get("depends_on", {})
        if isinstance(wanted, dict):
            assert all(set(condition) == {"condition"} for condition in wanted.values())
        assert isinstance(service.get("env_file", ""), str), "a mapping with `required` is v2's alone"


def test_every_service_is_confined() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["init"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        assert service.get("cap_drop") == ["ALL"] or name == "redis", name
        assert not service.get("privileged"), name


def test_nothing_is_published_beyond_this_machine_unless_asked_for() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"proxy", "prometheus", "grafana"}
    for port in ports["prometheus"] + ports["grafana"]:
        assert port.startswith("127.0.0.1:")
    assert ports["proxy"] == ["${HTTP_ADDRESS:-127.0.0.1}:${HTTP_PORT:-8000}:8000"]
    assert SERVICES["redis"]["networks"] == ["store"]
    assert compose()["networks"]["store"] == {"internal": True}


def test_there_are_two_replicas_behind_the_proxy_and_they_come_back() -> None:
    assert SERVICES["service"]["deploy"]["replicas"] == "${REPLICAS:-2}"
    assert "container_name" not in SERVICES["service"], "two cannot share it"
    for name in ("redis", "service", "proxy", "retrain"):
        assert SERVICES[name]["restart"] == "unless-stopped", name


def test_redis_keeps_what_it_was_told_and_evicts_nothing() -> None:
    command = SERVICES["redis"]["command"]
    assert command[0] == "redis-server"
    flags = dict(zip(command[1::2], command[2::2], strict=True))
    assert flags["--appendonly"] == "yes"
    assert flags["--maxmemory-policy"] == "noeviction"
    assert flags["--aclfile"] == "/run/secrets/redis_acl"
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def test_the_jobs_are_started_on_purpose_alone() -> None:
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    assert [name for name, found in profiles.items() if found is None] == ["redis", "service", "proxy"]
    assert profiles["prometheus"] == profiles["grafana"] == ["monitoring"]


def test_training_leaves_the_cores_to_the_callers() -> None:
    assert {SERVICES[name]["cpu_shares"] for name in ("offline", "train", "retrain")} == {128}
    assert "cpu_shares" not in SERVICES["service"], "that is 1024"


def test_every_secret_is_made_and_every_one_that_is_mounted_is_declared(tmp_path: Path) -> None:
    subprocess.run(["sh", str(ROOT / "docker/make_secrets.sh"), str(tmp_path)], check=True, capture_output=True)
    declared = compose()["secrets"]
    assert {name: found["file"] for name, found in declared.items()} == {
        name: f"${{SECRETS_DIR:-./docker/secrets}}/{name}" for name in declared
    }
    assert set(declared) | {"api_key", "admin_key"} == {path.name for path in tmp_path.iterdir()}
    for name, service in SERVICES.items():
        assert set(service.get("secrets", [])) <= set(declared), name
        files = [value for value in service.get("environment", {}).values() if str(value).startswith("/run/secrets/")]
        assert {os.path.basename(file) for file in files} <= set(service.get("secrets", [])), name  # noqa: PTH119


def test_the_service_holds_no_key_that_signs_and_no_password_of_the_jobs() -> None:
    assert {"signing_key", "redis_url_offline", "redis_acl"} & set(SERVICES["service"]["secrets"]) == set()


def test_an_upgrade_builds_every_image_of_ours() -> None:
    """A plain `build`, and `up --build`, leave out what stands under a profile: the jobs would stay what they were."""
    images = {service["image"]: set[str]() for service in SERVICES.values() if "build" in service}
    for name, service in SERVICES.items():
        if "build" in service:
            images[service["image"]].add(name)
    assert len(images) == 2
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    upgrading = page.partition("\n## Upgrading\n")[2].partition("\n## ")[0]
    texts = {"Upgrading": upgrading, "operations.md": page} | {path.name: path.read_text() for path in COMPOSE_FILES}
    for where, text in texts.items():
        commands = re.findall(r"docker-compose (?:-f \S+ )*build\b([a-z ]*)", text)
        assert commands, where
        for command in commands:
            assert all(names & set(command.split()) for names in images.values()), (where, command)


def test_every_file_that_it_mounts_or_builds_from_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists(), source
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_every_variable_is_in_the_example_with_its_default() -> None:
    example = example_settings()
    for name, default in compose_variables().items():
        if name != "ENV_FILE":  # the name of the file itself
            assert example[name][0] == (default or ""), name


def test_the_gpu_file_changes_services_that_are_there() -> None:
    changed = read_yaml(COMPOSE_FILES[1])["services"]
    assert set(changed) == set(OURS)
    for service in changed.values():
        assert service["deploy"]["resources"]["reservations"]["devices"] == [
            {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
        ]
