"""Every command of the README and the guide: run here as it stands there, or named with the test that runs it.

Jobs run in this process, the service and `curl` in their own; what a reader would put in for DIR, USER and the like is
of a small trained dataset. What is typed behind a command here, its line below says.
"""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from offline.__main__ import main
from offline.shop import SHOWCASE_USER
from tests.offline.conftest import trained_checkerboard

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/guide.md")
PYTHON = ".venv/bin/python"
JOB = f"{PYTHON} -m offline"
CURL = "curl -s http://127.0.0.1:8000"
STATUS = r"-w '\n%{http_code}'"


def send(way: str, body: str) -> str:
    """A call with a body."""
    return f"curl -s {way} -H 'Content-Type: application/json' -d '{body}'".replace(" /", " http://127.0.0.1:8000/", 1)


class Run(NamedTuple):
    """Run here, with `more` behind it."""

    more: str = ""


class Elsewhere(NamedTuple):
    """Run by another test, because..."""

    test: str
    why: str


SERVICES = "tests/test_demo_end_to_end.py::test_the_demo_answers_checks_and_leaves_only_its_redis"
COMMANDS: dict[str, Run | Elsewhere] = {
    f"{JOB} check --data DIR": Run(),
    f"{JOB} train --data DIR --run runs/first": Run("--recipe tiny"),  # finds every stage finished
    f"{JOB} evaluate --data DIR --run runs/first --predictions runs/first/test.parquet": Run(),
    f"{JOB} publish --run runs/first": Run(),
    f"{JOB} load-histories --data DIR": Run(),
    f"{PYTHON} -m service": Run("--port 0"),
    send("/recommend", '{"user_id": "striped-blue-mugs-1", "n": 5}'): Run(),
    send("/recommend", '{"user_id": "USER", "n": 10}'): Run(),
    send("/recommend", '{"history": ["ITEM", "ITEM"], "n": 10}'): Run(),
    send("/recommend", '{"user_id": "USER", "categories": {"any": ["CATEGORY"], "none": ["OTHER"]}}'): Run(),
    send("/events", '{"events": [{"user_id": "USER", "item_id": "ITEM", "event": "view", "event_id": "v-1"}]}'): Run(),
    f"{CURL}/users/USER/history": Run(),
    send("-X PUT /users/USER/history", '{"history": ["ITEM", "ITEM"]}'): Run(),
    "curl -s -X DELETE http://127.0.0.1:8000/users/USER/history": Run(),
    f"{JOB} publish --run runs/second --arm canary --share 0.1": Run(),
    f"{JOB} promote --share 0.5": Run(),
    f"{JOB} promote": Run(),
    f"{JOB} rollback": Run(),
    f"{JOB} releases": Run(),
    f"{JOB} remove-items --item SKU": Run(),
    f"{PYTHON} -m service.api_keys web": Run(),
    f"MMGREC_REDIS_URL=redis://127.0.0.1:6379/0 MMGREC_API_KEYS_FILE=keys.txt {PYTHON} -m service --host 0.0.0.0": Run(
        "--host 127.0.0.1 --port 0"
    ),  # a test serves no strangers
    f"{CURL}/info -H 'Authorization: Bearer KEY'": Run(),
    "make demo": Elsewhere(SERVICES, "it trains; make only puts the program's name before it"),
    "make demo DATA=DIR": Elsewhere(SERVICES, "it trains"),
    "make demo CSV=orders.csv ITEMS=items.csv": Elsewhere(
        "tests/offline/trying/test_try.py::test_a_csv_through_to_a_verdict_and_a_first_answer", "it trains"
    ),
    "make soak": Elsewhere("tests/test_soak.py::test_a_minute_of_it_meets_every_bar", "it takes ten minutes"),
    f"{JOB} retrain --data DIR --runs runs": Elsewhere(
        "tests/offline/retraining/test_retrain.py::test_the_first_night", "it trains"
    ),
    f"{JOB} add-items --data DIR": Elsewhere(
        "tests/offline/catalogue_changes/test_catalogue_jobs.py::test_add_and_remove",
        "it wants a dataset that has grown",
    ),
    f"{JOB} import s3://bucket/orders/ --data DIR "
    "--map user_id=customer_key,item_id=sku,timestamp=ordered_at": Elsewhere(
        "tests/offline/importing/test_import_tables.py::test_a_url_that_fsspec_knows", "it wants an object store"
    ),
    f"{JOB} fetch movielens-100k --data DIR": Elsewhere(
        "tests/offline/importing/test_fetch.py::test_movielens_from_the_web", "it downloads"
    ),
    f"{JOB} encode --data DIR --modality text --encoder sentence-transformers/all-MiniLM-L6-v2": Elsewhere(
        "tests/offline/encoding/test_encode_texts.py::test_texts_through_sentence_transformers", "it downloads a model"
    ),
    f"{JOB} encode --data DIR --modality image --encoder clip/vision_model.onnx": Elsewhere(
        "tests/offline/encoding/test_encode_images.py::test_pictures_become_rows_in_the_order_of_the_items",
        "it wants a model",
    ),
    f"{JOB} baselines --data DIR": Elsewhere(
        "tests/offline/baselines/test_job.py::test_with_time_all_run_and_the_history_grows", "it trains six peers"
    ),
    f"{PYTHON} -m benchmarks.quality --data DIR --seeds 0,1,2 --table": Elsewhere(
        "tests/benchmarks/test_quality.py::test_the_command_measures_seed_by_seed_and_writes_json",
        "it trains for minutes",
    ),
    f"{PYTHON} -m benchmarks.ablations --data DIR --out FILE.jsonl --table": Elsewhere(
        "tests/benchmarks/test_runner.py::test_the_command_prints_json_or_a_table", "it trains for hours"
    ),
    f"{PYTHON} -m benchmarks.generated_sequences --table": Elsewhere(
        "tests/benchmarks/test_generated_sequences.py::test_the_command_shows_every_row_beside_the_best_peer",
        "it trains for minutes",
    ),
    f"{PYTHON} -m benchmarks.generated_sets --table": Elsewhere(
        "tests/benchmarks/test_generated_sets.py::test_peers_that_need_order_are_named_as_left_out",
        "it trains for minutes",
    ),
    f"{PYTHON} -m benchmarks.decode --quick": Elsewhere(
        "tests/benchmarks/test_decoding_floor.py::test_the_levels",
        "of it, its floor alone: it exports models and measures",
    ),
    f"{PYTHON} -m benchmarks.http --quick": Elsewhere(
        "tests/benchmarks/test_http.py::test_one_at_a_time_beside_the_bare_decoder", "it measures for minutes"
    ),
}

DEPLOYMENT: dict[str, Run | Elsewhere] = {
    "make secrets": Elsewhere(
        "tests/docker/test_make_secrets.py::test_the_passwords_of_the_urls_are_those_of_the_users", "it makes secrets"
    ),
    "docker-compose build service offline": Elsewhere(
        "tests/deploy/test_1_first_release.py::test_the_images_are_built", "it wants a container engine"
    ),
    "docker-compose up -d": Elsewhere(
        "tests/deploy/test_1_first_release.py::test_the_first_release_comes_from_a_dataset",
        "it wants a container engine",
    ),
    "docker-compose run --rm train": Elsewhere(
        "tests/deploy/test_1_first_release.py::test_the_first_release_comes_from_a_dataset",
        "it wants a container engine",
    ),
}
if (ROOT / "docker-compose.yml").exists():
    COMMANDS |= DEPLOYMENT


def commands_of(page: str) -> Iterator[str]:
    """The lines of every block that names no language, but for those that show a dataset."""
    blocks = re.findall(r"^```\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for line in "".join(blocks).splitlines():
        if not line.startswith(("interactions.parquet ", "items.parquet ", "features/")):
            yield line


def test_every_command_has_a_line_here_and_every_line_a_command() -> None:
    written = {command for page in PAGES for command in commands_of(page)}
    assert written == set(COMMANDS)


@pytest.mark.parametrize(
    "how", [how for how in COMMANDS.values() if isinstance(how, Elsewhere)], ids=lambda how: how.test
)
def test_the_test_that_runs_it_exists(how: Elsewhere) -> None:
    file, _, name = how.test.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


class Reader:
    """Somebody who types what the pages say, in a folder of their own."""

    def __init__(self, folder: Path, redis_url: str, namespace: str, services: ExitStack) -> None:
        self.folder, self._services = folder, services
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}
        self._environment |= {"MMGREC_REDIS_URL": redis_url, "MMGREC_NAMESPACE": namespace, "PYTHONPATH": str(ROOT)}
        self.address = self.key = ""

    def put_in(self, command: str) -> str:
        """What a reader would put in for the words in capitals."""
        for word, value in (
            ("--data DIR", f"--data {self.folder / 'shop'}"),
            ("USER", "user-00"),
            ("ITEM", "item-02"),
            ("CATEGORY", "even"),
            ("OTHER", "odd"),
            ("SKU", "item-59"),
            ("Bearer KEY", f"Bearer {self.key}"),
            ("http://127.0.0.1:8000", self.address),
            ("redis://127.0.0.1:6379/0", self._environment["MMGREC_REDIS_URL"]),
            (f"{PYTHON} ", f"{sys.executable} "),
        ):
            command = command.replace(word, value)
        return command

    def types(self, command: str, more: str) -> str:
        """Type a command and wait for it, or for the first line of a service; gives what it printed."""
        words = shlex.split(f"{self.put_in(command)} {more}")
        environment = dict(self._environment)
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            environment[name] = value
        if words[1:3] == ["-m", "service"]:
            line = self._services.enter_context(service(words, environment, self.folder))
            self.address = address_in(line)
            return line
        done = subprocess.run(
            words, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout


def address_in(line: str) -> str:
    return line.split(" on ")[1].split()[0]


@contextmanager
def service(words: list[str], environment: dict[str, str], folder: Path) -> Iterator[str]:
    """Run it until the block ends; gives its first line, once it is ready."""
    waited = time.monotonic() + 60
    with subprocess.Popen(
        words, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            while httpx.get(f"{address_in(line)}/health/ready").status_code != 200:
                assert time.monotonic() < waited, "it did not become ready"
                time.sleep(0.05)
            yield line
        finally:
            process.terminate()


@pytest.fixture
def reader(
    redis_url: str, namespace: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    data, run = trained_checkerboard(tmp_path_factory.getbasetemp())
    (tmp_path / "shop").symlink_to(data)
    for name in ("first", "second"):
        shutil.copytree(run, tmp_path / "runs" / name)
    with ExitStack() as services:
        yield Reader(tmp_path, redis_url, namespace, services)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl: apt-get install curl")
def test_the_commands_do_what_they_say(reader: Reader, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for command, how in COMMANDS.items():
        if isinstance(how, Elsewhere):
            continue
        if command.startswith(JOB):
            out = job(reader, f"{command} {how.more}", monkeypatch, capsys)
        else:
            out = reader.types(command, how.more or (STATUS if command.startswith("curl") else ""))
        if command.startswith("curl"):
            assert out.rpartition("\n")[2] in ("200", "204"), f"{command}\n{out}"
        if "api_keys" in command:
            reader.key, line = out.split()
            (reader.folder / "keys.txt").write_text(line + "\n", encoding="utf-8")


def job(reader: Reader, command: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> str:
    """A job in this process, which has torch in memory already."""
    words = shlex.split(reader.put_in(command))
    monkeypatch.chdir(reader.folder)
    for name in ("MMGREC_REDIS_URL", "MMGREC_NAMESPACE"):
        monkeypatch.setenv(name, reader._environment[name])
    monkeypatch.setattr(sys, "argv", words[2:])
    capsys.readouterr()
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr()
    assert code in (0, None), f"{command}\n{printed.err}"
    return str(printed.out)


def test_the_user_of_the_readme_is_the_one_of_the_shop() -> None:
    assert SHOWCASE_USER in (ROOT / "README.md").read_text(encoding="utf-8")
