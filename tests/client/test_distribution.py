"""The client as a distribution: what it needs, that it knows the service's whole API, and that its README is true."""

import inspect
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import mmgrec_client
import pytest
from mmgrec_client import AsyncClient, Client, requests, responses
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.app import create_app
from service.settings import Settings
from tests.client.conftest import KEY

FOLDER = Path(mmgrec_client.__file__).parents[1]
PROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))

IMPORT_ALONE = """
import sys

class OnlyThese:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        of_python = top in sys.stdlib_module_names or top.startswith("_sysconfigdata")
        if not of_python and top not in ALLOWED:
            raise ModuleNotFoundError(f"{name} is none of the client's", name=top)

sys.meta_path.insert(0, OnlyThese())
sys.path.insert(0, FOLDER)
import IMPORTED
print("imported")
"""


def needed_modules() -> list[str]:
    """Top-level modules of the distributions that httpx and pydantic bring."""
    pending, found = ["httpx", "pydantic"], set[str]()
    while pending:
        name = canonicalize_name(pending.pop())
        if name in found:
            continue
        found.add(name)
        wanted = [Requirement(line) for line in metadata.requires(name) or []]
        pending += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    modules = metadata.packages_distributions()
    return [module for module, owners in modules.items() if found & {canonicalize_name(owner) for owner in owners}]


def import_alone(imported: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = IMPORT_ALONE.replace("ALLOWED", repr({*needed_modules(), "mmgrec_client"}))
    program = program.replace("FOLDER", repr(str(FOLDER))).replace("IMPORTED", imported)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_its_import_needs_httpx_and_pydantic_alone(tmp_path: Path) -> None:
    assert {Requirement(line).name for line in PROJECT["project"]["dependencies"]} == {"httpx", "pydantic"}
    done = import_alone("mmgrec_client", tmp_path)
    assert (done.returncode, done.stdout) == (0, "imported\n"), done.stderr


@pytest.mark.parametrize("name", ["numpy", "service"])
def test_the_block_really_blocks(tmp_path: Path, name: str) -> None:
    done = import_alone(name, tmp_path)
    assert done.returncode == 1
    assert f"{name} is none of the client's" in done.stderr


def test_the_package_says_that_it_is_typed() -> None:
    package = PROJECT["tool"]["setuptools"]
    assert package["package-data"] == {"mmgrec_client": ["py.typed"]}
    assert (FOLDER / "mmgrec_client" / "py.typed").is_file()
    folders = {path.parent.relative_to(FOLDER).as_posix() for path in (FOLDER / "mmgrec_client").rglob("*.py")}
    assert package["packages"] == sorted(folders)


def test_the_main_project_does_not_need_it() -> None:
    main = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert "mmgrec_client" not in main["tool"]["setuptools"]["packages"]
    assert "mmgrec-client" not in str(main["project"])


def test_both_clients_have_the_same_methods() -> None:
    def signatures(kind: type) -> dict[str, list[str]]:
        methods = {name: member for name, member in vars(kind).items() if inspect.isfunction(member)}
        return {
            name.removeprefix("a"): list(inspect.signature(method).parameters)
            for name, method in methods.items()
            if not name.startswith("_")
        }

    assert signatures(AsyncClient) == signatures(Client)
    awaited = [name for name in signatures(AsyncClient) if name != "close"]
    assert all(inspect.iscoroutinefunction(getattr(AsyncClient, name)) for name in awaited)


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    document = create_app(Settings(redis_url="redis://127.0.0.1:1")).openapi()
    found: dict[str, Any] = document["components"]["schemas"]
    return found


SENT_AS = {"BatchBody": "BatchRequest", "EventsBody": "EventsRequest", "HistoryBody": "HistoryRequest"}


def models_of(module: Any) -> list[str]:
    return [name for name, kind in vars(module).items() if inspect.isclass(kind) and kind.__module__ == module.__name__]


@pytest.mark.parametrize("name", [name for name in models_of(requests) if name not in ("_Request", "SimilarQuery")])
def test_every_field_can_be_sent(schemas: dict[str, Any], name: str) -> None:
    fields = getattr(requests, name).model_json_schema()["properties"]
    documented = schemas[SENT_AS.get(name, name)]["properties"]
    assert set(fields) == set(documented)
    for field, told in documented.items():
        assert fields[field].get("default") == told.get("default"), field


def test_every_parameter_of_the_search_for_similar_items_can_be_sent() -> None:
    document = create_app(Settings(redis_url="redis://127.0.0.1:1")).openapi()
    parameters = document["paths"]["/items/{item_id}/similar"]["get"]["parameters"]
    assert {each["name"] for each in parameters if each["in"] == "query"} == set(requests.SimilarQuery.model_fields)


@pytest.mark.parametrize("name", [name for name in models_of(responses) if name != "_Response"])
def test_every_field_is_read(schemas: dict[str, Any], name: str) -> None:
    assert set(getattr(responses, name).model_fields) == set(schemas[name]["properties"])


def test_the_examples_of_the_readme_run(service_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 3
    monkeypatch.setenv("MMGREC_KEY", KEY)
    for block in blocks:
        assert "http://127.0.0.1:8000" in block
        program = block.replace("http://127.0.0.1:8000", service_url)
        exec(compile(program, "README.md", "exec"), {"__name__": "readme"})
