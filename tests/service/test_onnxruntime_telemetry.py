"""onnxruntime reports to its makers unless it is told not to; whoever wants that has to say so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = "ORT_DISABLE_TELEMETRY"


def told(statement: str, **variables: str) -> str:
    """What onnxruntime is told by the time that it is imported."""
    environment = {name: value for name, value in os.environ.items() if name != NAME} | variables
    program = f"{statement}\nimport os, sys\nassert 'onnxruntime' in sys.modules\nprint(os.environ.get({NAME!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("statement", ["import service.decoder", "import offline.cli, offline.precision"])
def test_it_is_off_before_onnxruntime_is_imported(statement: str) -> None:
    watch = (
        "import builtins, os\nreal = builtins.__import__\n"
        "def watching(name, *rest):\n"
        f"    assert not name.startswith('onnxruntime') or os.environ.get({NAME!r}) == '1', name\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = watching\n"
    )
    assert told(watch + statement) == "1"


def test_who_wants_it_keeps_it() -> None:
    assert told("import service.decoder", **{NAME: "0"}) == "0"
