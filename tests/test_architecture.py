"""The rules of the design that a reader cannot be expected to keep in mind (design, section 2)."""

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SOURCE_FOLDERS = ("service", "model", "offline", "benchmarks", "client", "docker", "docs", "tests")
SOURCES = sorted(path for folder in SOURCE_FOLDERS for path in (ROOT / folder).rglob("*.py"))
MOST_FILE_LINES = 300
MOST_FUNCTION_LINES = 60
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "misc"}

# What only the offline side may need: our own packages, and every import that the `offline` extra brings.
BLOCKED_IN_SERVICE = (
    *("model", "offline"),
    *("onnx", "onnxscript", "PIL", "polars", "rich", "safetensors", "sklearn", "scipy", "torch", "typer"),
)
IMPORT_WHOLE_SERVICE = f"""
import importlib, pkgutil, sys
for name in {BLOCKED_IN_SERVICE}:
    sys.modules[name] = None  # an import of it raises ImportError from now on
import service.app
for module in pkgutil.walk_packages(service.__path__, "service."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(callable(service.app.create_app))
"""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_sources_are_found() -> None:
    assert {"offline/errors.py", "service/app.py", "tests/test_architecture.py"} <= set(map(relative, SOURCES))


def test_no_file_is_too_long() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_FILE_LINES} == {}


def test_no_function_is_too_long() -> None:
    too_long = {
        f"{relative(path)}:{node.lineno} {node.name}": lines
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MOST_FUNCTION_LINES
    }
    assert too_long == {}


def test_every_name_says_what_lives_there() -> None:
    named = {
        relative(path): {part.strip("_") for part in path.relative_to(ROOT).with_suffix("").parts} for path in SOURCES
    }
    assert [name for name, parts in named.items() if parts & NAMES_THAT_SAY_NOTHING] == []


def test_the_test_folders_are_not_packages() -> None:
    """With `tests/model/__init__.py` pytest would import tests/model in place of `model`."""
    assert [relative(path) for path in (ROOT / "tests").rglob("__init__.py")] == []


def test_the_service_imports_without_anything_of_the_offline_side() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WHOLE_SERVICE], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize("name", ["torch", "offline.errors"])
def test_the_block_really_blocks(name: str) -> None:
    program = IMPORT_WHOLE_SERVICE.replace("import service.app", f"import {name}")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_the_base_install_pulls_in_nothing_of_the_offline_side() -> None:
    """What `pip install mmgrec` brings along, followed through the requirements of what is installed here."""
    pending, found = ["mmgrec"], set[str]()
    while pending:
        name = pending.pop()
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if needed and canonicalize_name(requirement.name) not in found:
                found.add(canonicalize_name(requirement.name))
                pending.append(requirement.name)
    assert {"fastapi", "numpy", "redis"} <= found
    assert found & {"torch", "onnx", "onnxscript", "polars", "safetensors", "scikit-learn", "scipy", "typer"} == set()


PICKLING = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}


def test_nothing_is_pickled() -> None:
    """Whoever loads a pickle runs what it says; runs and releases come from elsewhere."""
    found = []
    for path in SOURCES:
        if path.is_relative_to(ROOT / "tests"):
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.partition(".")[0] for alias in node.names} | {getattr(node, "module", None)}
                found += [f"{relative(path)}: {name}" for name in names & PICKLING]
            loads = isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "torch.load")
            if loads and "allow_pickle=False" not in ast.unparse(node):
                found.append(f"{relative(path)}: {ast.unparse(node)}")
    assert found == []


CONTRACT = "service.contract"


def test_offline_is_kept_from_every_module_of_the_service_but_its_decoder() -> None:
    """The import contract lists them by name, so a new module must be added to it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed = next(contract for contract in contracts if contract["source_modules"] == ["offline"])["forbidden_modules"]
    modules = {f"service.{path.stem}" for path in (ROOT / "service").glob("[a-z]*.py")}
    modules |= {f"service.{path.parent.name}" for path in (ROOT / "service").glob("[a-z]*/__init__.py")} - {CONTRACT}
    decoder = {f"service.{name}" for name in ("buckets", "constraints", "decoder", "device", "onnx_session")}
    assert modules - decoder == {name for name in listed if name.startswith("service.")}


def test_no_document_has_a_placeholder_left() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    assert len(documents) >= 6
    assert [relative(path) for path in documents if "@@" in path.read_text(encoding="utf-8")] == []


def test_one_onnxruntime_is_installed() -> None:
    """Both distributions write the same package; whichever came last wins, and removing either breaks the other."""
    names = {distribution.metadata["Name"].lower().replace("_", "-") for distribution in metadata.distributions()}
    assert len(names & {"onnxruntime", "onnxruntime-gpu"}) == 1
