"""`make bench` runs every benchmark without a word: those that need a dataset say so, and fail nobody."""

import importlib
import json
from pathlib import Path

import pytest

import benchmarks

FILES = sorted(Path(benchmarks.__path__[0]).glob("[a-z]*.py"))


@pytest.mark.parametrize("name", ["ablations", "cold_start", "sampled_graph", "warm_start"])
def test_what_needs_a_dataset_says_so(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.import_module(f"benchmarks.{name}").main([]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["benchmark"] == name
    assert "--data DIR" in found["skipped"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_no_benchmark_asks_for_a_flag(file: Path) -> None:
    assert "required=True" not in file.read_text()
