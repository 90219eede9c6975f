"""What finished work is kept under covers all the code that it is made by."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.scoring import provenance
from benchmarks.scoring.provenance import PEER_SOURCES, ROOT, RUN_SOURCES, source_files, sources_digest

OURS = ("benchmarks", "model", "offline", "service")


def imported(root: Path, *modules: str) -> set[str]:
    """Paths below `root` of some modules and of all of ours that they import, wherever in a file and however far away.

    Importing a module runs the `__init__.py` of every package above it.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        parts = waiting.pop().split(".")
        for depth in range(1, len(parts) + 1 if parts[0] in OURS else 0):
            file = root.joinpath(*parts[:depth], "__init__.py")
            if not file.exists():
                file = root.joinpath(*parts[:depth]).with_suffix(".py")  # absent for a name that a module defines
            path = file.relative_to(root).as_posix()
            if file.exists() and path not in found:
                found.add(path)
                waiting += imports_of(file)
    return found


def imports_of(file: Path) -> Iterator[str]:
    """Names that a file imports; of `from a import b` both `a` and `a.b`, which may be a module."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports are not followed"
            assert node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def test_imports_are_followed(tmp_path: Path) -> None:
    sources = {
        "offline/__init__.py": "",
        "offline/job.py": "import numpy\nfrom model import layers\nfrom offline.parts import PART\n",
        "offline/parts/__init__.py": "from offline.parts.first import PART\n",
        "offline/parts/first.py": "PART = 1\n",
        "offline/parts/second.py": "import offline.nobody\n",
        "offline/nobody.py": "",
        "model/layers.py": "def build():\n    import service.buckets.sizes\n",
        "service/buckets/__init__.py": "",
        "service/buckets/sizes.py": "import offline.job\n",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    nobody = {"offline/parts/second.py", "offline/nobody.py"}
    assert imported(tmp_path, "offline.job") == set(sources) - nobody


@pytest.mark.parametrize(
    ("patterns", "entries"),
    [
        pytest.param(RUN_SOURCES, ("offline.train", "benchmarks.ablating.shared_stages"), id="runs"),
        pytest.param(PEER_SOURCES, ("offline.baselines.job",), id="peers"),
    ],
)
def test_all_that_makes_a_result_is_hashed(patterns: tuple[str, ...], entries: tuple[str, ...]) -> None:
    needed = imported(ROOT, *entries)
    assert {f"{entry.replace('.', '/')}.py" for entry in entries} | {"offline/splits.py"} <= needed
    assert needed - {path.relative_to(ROOT).as_posix() for path in source_files(patterns)} == set()


@pytest.mark.parametrize("pattern", [*RUN_SOURCES, *PEER_SOURCES])
def test_every_pattern_names_something(pattern: str) -> None:
    assert source_files((pattern,))


@pytest.mark.parametrize(
    ("file", "patterns"),
    [
        ("offline/baselines/matrices.py", RUN_SOURCES),
        ("service/buckets.py", RUN_SOURCES),
        ("offline/feature_files.py", PEER_SOURCES),
    ],
)
def test_an_edit_takes_another_folder(
    file: str, patterns: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    (tmp_path / file).parent.mkdir(parents=True)
    digests = []
    for text in ("BEFORE = 1\n", "AFTER = 1\n"):
        (tmp_path / file).write_text(text)
        digests.append(sources_digest(patterns))
    assert digests[0] != digests[1]
