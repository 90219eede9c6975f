"""The deployment test builds images and takes a quarter of an hour: only `make test-deploy` collects it.

Its tests are steps of one story on one deployment: build, up, train, publish, recommend, kill, restart, retrain,
restore, down. They run in the order of the files; `make test-deploy` stops at the first that fails.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.engine import container_engine
from tests.deploy.stack import Stack, say

if os.environ.get("TEST_DEPLOY") != "1":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="mmgrec-deploy-"))
    before = request.session.testsfailed
    with container_engine() as engine:
        stack = Stack(engine, folder)
        try:
            yield stack
        finally:
            stack.down()
    if request.session.testsfailed > before:
        say(f"logs: {folder}/commands.log, {folder}/containers.log")
    else:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def users(stack: Stack) -> list[str]:
    """Forty users of the dataset, evenly spread."""
    program = (
        "import json, polars as pl; found = pl.read_parquet('/data/interactions.parquet')['user_id'].unique().sort(); "
        "print(json.dumps(found.gather_every(max(1, len(found) // 40)).to_list()[:40]))"
    )
    mounted = ("-v", f"{stack.project}_dataset:/data:ro", "--entrypoint", "python", "mmgrec-offline:test-deploy")
    found: list[str] = json.loads(stack.engine.docker("run", "--rm", *mounted, "-c", program))
    return found
