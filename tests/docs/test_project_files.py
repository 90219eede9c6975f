"""The files around the code say the same thing: versions, commands, what CI runs."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))


def project(folder: str = ".") -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")))


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = read_yaml("CITATION.cff")
    assert citation["version"] == project()["project"]["version"]
    assert citation["license"] == project()["project"]["license"]
    (paper,) = citation["references"]
    assert paper["title"] == "MMGRec: Multimodal Generative Recommendation with Transformer Model"
    assert "arXiv 2404.16555" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert paper["identifiers"] == [{"type": "other", "value": "arXiv:2404.16555"}]


def test_the_workflow_runs_what_ci_runs_on_every_python_at_the_ends() -> None:
    jobs = read_yaml(".github/workflows/ci.yml")["jobs"]
    steps = [step["run"] for step in jobs["ci"]["steps"] if "run" in step]
    assert any(".ci/run" in step for step in steps)
    (least, most) = re.findall(r"3\.\d+", project()["project"]["requires-python"])
    minor = int(most.removeprefix("3.")) - 1  # the upper bound is not included
    assert jobs["ci"]["strategy"]["matrix"]["python"] == [least, f"3.{minor}"]


def test_every_job_that_installs_knows_where_pytorch_for_cpus_is() -> None:
    workflow = read_yaml(".github/workflows/ci.yml")
    assert workflow["env"] == {"TORCH_INDEX": "${{ vars.TORCH_INDEX }}"}, "of all jobs"
    for name, job in workflow["jobs"].items():
        assert "TORCH_INDEX" not in str(job), f"{name} has another one"
    assert "variable `TORCH_INDEX`" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [".ci/run", ".github/workflows/ci.yml", "CONTRIBUTING.md", "README.md"])
def test_every_target_of_make_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    commands = re.findall(r"(?:`|^|\brun: )make ([a-z][a-z -]*)", text, flags=re.MULTILINE)
    named = {target for command in commands for target in command.split()}
    assert named
    assert named - TARGETS == set()


def test_the_hooks_run_programs_of_the_dev_extra() -> None:
    dev = {re.split(r"[<>=\[]", each)[0] for each in project()["project"]["optional-dependencies"]["dev"]}
    programs = {
        "ruff": "ruff",
        "codespell": "codespell",
        "mypy": "mypy",
        "lint-imports": "import-linter",
        "python": "pytest",
    }
    hooks = [hook for repo in read_yaml(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert len(hooks) >= 5
    for hook in hooks:
        assert hook["language"] == "system", "a hook of another kind would download its own program"
        program = hook["entry"].split()[0]
        assert program.startswith(".venv/bin/")
        assert programs[program.removeprefix(".venv/bin/")] in dev


def test_every_direct_dependency_is_pinned() -> None:
    """What the images and CI install is what was tested; GPUs' and optional packages of the user's choice are not."""
    pins = {re.split(r"[=;]", line)[0].strip().lower().replace("_", "-") for line in pinned_lines()}
    extras = project()["project"]["optional-dependencies"]
    asked = [*project()["project"]["dependencies"], *(each for name in extras for each in extras[name])]
    names = {re.split(r"[<>=;\[ ]", each)[0].lower().replace("_", "-") for each in asked}
    assert names - pins == set()


def pinned_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_a_pin_is_a_version_and_stands_once() -> None:
    lines = pinned_lines()
    assert [line for line in lines if not re.match(r"^[\w.-]+==[\w.+]+(;.*)?$", line)] == []
    names = [line.split("==")[0].lower() for line in lines]
    assert sorted(set(names)) == sorted(names)
