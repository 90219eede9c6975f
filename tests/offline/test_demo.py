"""Parts of the demo; the whole of it runs in tests/test_demo_end_to_end.py."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offline import demo, local_service
from offline.demo import demo_namespace, showcase_user, summary
from offline.errors import BadInputError, JobError
from offline.run_folder import fingerprint
from offline.shop import SHOWCASE_USER
from service.contract.item_table import MAX_ID_LENGTH
from service.contract.redis_keys import RedisKeys

ROOT = Path(__file__).parents[2]
METRICS = {
    "train_seconds": 12.345,
    "recall@20": 0.412345,
    "ndcg@20": 0.31,
    "generator_recall@20": 0.3,
    "popularity_recall@20": 0.1,
    "illegal": 0.0,
    "duplicates": 0.0,
    "seen": 0.0,
    "users": 3.0,
}


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody holds."""
    with socket.socket() as holder:
        holder.bind((local_service.HOST, 0))
        yield holder.getsockname()[1]


@pytest.fixture
def dataset(make_dataset):
    return make_dataset([[0], [1], [2]], [[]] * 3, [[]] * 3, num_items=4)


def answer(*item_ids: str) -> dict[str, Any]:
    items = [{"item_id": name, "title": None, "score": -1.5, "rank": at} for at, name in enumerate(item_ids, 1)]
    return {"items": items, "release": "v1", "source": "model"}


def test_a_free_port_is_taken_as_it_is(taken: int) -> None:
    with socket.create_server((local_service.HOST, 0)) as listener:
        free = listener.getsockname()[1]
    assert local_service.free_port(free) == free


def test_a_taken_port_moves_up_and_says_so(taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert local_service.free_port(taken) > taken
    assert f"port {taken} is taken, trying the next\n" in capsys.readouterr().err


def test_no_free_port_names_the_range_and_the_cure(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_service, "PORTS_TRIED", 1)
    with pytest.raises(BadInputError, match=rf"no free port between {taken} and {taken} on 127.0.0.1; .* PORT="):
        local_service.free_port(taken)


def test_ports_end_at_65535(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoSocket(socket.socket):
        def bind(self, address: Any) -> None:
            assert address[1] <= 65535
            raise OSError

    monkeypatch.setattr(local_service.socket, "socket", NoSocket)
    with pytest.raises(BadInputError, match="between 65530 and 65535"):
        local_service.free_port(65530)


def test_the_summary_is_one_json_object_with_the_agreed_fields(dataset) -> None:
    found = summary(dataset, METRICS, answer("item-03", "item-00"), ["item-01"])
    assert json.loads(json.dumps(found)) == {
        "dataset": "made",
        "users": 3,
        "items": 4,
        "train_seconds": 12.3,
        "recall@20": 0.4123,
        "ndcg@20": 0.31,
        "generator_recall@20": 0.3,
        "popularity_recall@20": 0.1,
        "illegal": 0,
        "duplicates": 0,
        "seen": 0,
        "answer": [
            {"item_id": "item-03", "title": None, "score": -1.5},
            {"item_id": "item-00", "title": None, "score": -1.5},
        ],
    }


def test_a_dataset_that_holds_nothing_out_has_no_recall(dataset) -> None:
    counts = {name: value for name, value in METRICS.items() if "@" not in name}
    found = summary(dataset, counts, answer("item-03"), [])
    assert (found["recall@20"], found["popularity_recall@20"], found["illegal"]) == (None, None, 0)


@pytest.mark.parametrize("item_ids", [(), ("item-01", "item-01"), ("item-01", "item-99")])
def test_an_empty_repeated_or_unknown_answer_fails_the_demo(dataset, item_ids: tuple[str, ...]) -> None:
    with pytest.raises(JobError, match="empty, repeated or unknown items; see its log above"):
        summary(dataset, METRICS, answer(*item_ids), [])


def test_an_answer_that_the_user_already_has_fails_the_demo(dataset) -> None:
    with pytest.raises(JobError, match=r"the user already has \['item-01'\]"):
        summary(dataset, METRICS, answer("item-03", "item-01"), demo._history(dataset, "user-01"))


def test_the_shop_shows_its_user_of_striped_blue_mugs(dataset) -> None:
    object.__setattr__(dataset, "user_ids", ("alice", SHOWCASE_USER, "zoe"))
    assert showcase_user(dataset) == SHOWCASE_USER


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([1, 2, 9, 30, 5, 7, 100], "user-02"), ([1, 2, 3], "user-02"), ([8], "user-00"), ([50, 1, 1, 1], "user-00")],
)
def test_elsewhere_the_user_in_the_middle_of_the_active_ones(make_dataset, counts: list[int], expected: str) -> None:
    lists = [list(range(count)) for count in counts]
    empty: list[list[int]] = [[]] * len(counts)
    assert showcase_user(make_dataset(lists, empty, empty, num_items=100)) == expected


def test_a_user_whom_the_service_would_refuse_is_not_shown(make_dataset) -> None:
    dataset = make_dataset([[0, 1], [0], [], [0, 1, 2]], [[]] * 4, [[]] * 4, num_items=4)
    object.__setattr__(dataset, "user_ids", ("a" * (MAX_ID_LENGTH + 1), "b" * MAX_ID_LENGTH, "nothing", ""))
    assert showcase_user(dataset) == "b" * MAX_ID_LENGTH
    object.__setattr__(dataset, "user_ids", tuple(name * (MAX_ID_LENGTH + 1) for name in "abcd"))
    with pytest.raises(BadInputError, match="no user has both items and an id of at most 256 characters"):
        showcase_user(dataset)


@pytest.mark.parametrize("name", ["lastfm-2k", "my shop/été", "a:b{c}", "…"])
def test_every_dataset_has_a_namespace_that_redis_keys_accept(name: str) -> None:
    assert RedisKeys(demo_namespace(name, "0123456789abcdef")).namespace.startswith("demo-")


def test_two_datasets_do_not_share_a_namespace(checkerboard: Path, tmp_path: Path) -> None:
    """Neither with names that come to the same, nor with the same name."""
    other = shutil.copytree(checkerboard, tmp_path / "data")
    with (other / "items.parquet").open("ab") as file:
        file.write(b" ")
    first, second = fingerprint(checkerboard), fingerprint(other)
    assert demo_namespace("日本", first) != demo_namespace("中国", second)
    assert demo_namespace("data", first) != demo_namespace("data", second)
    assert demo_namespace("lastfm-2k", first) == f"demo-lastfm-2k-{first[:8]}"


def test_sigterm_ends_the_demo_as_an_exception_does() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, local_service.ended_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert (caught.value.code, signal.getsignal(signal.SIGTERM)) == (143, before)


def test_a_redis_that_cannot_be_used_is_noticed_before_the_training(
    checkerboard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "train", lambda *_: pytest.fail("it trains"))
    nowhere = f"unix://{tmp_path}/nowhere.sock"
    with pytest.raises(JobError, match="is not reachable"):
        demo.run_demo(checkerboard, check=True, port=8000, home=tmp_path, redis_url=nowhere, seed=0)


def test_the_demo_keeps_its_things_where_its_redis_does(
    checkerboard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: object, home: Path) -> None:
        raise JobError(str(home))

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(demo, "connect", stop)
    with pytest.raises(JobError, match=f"^{tmp_path}/mmgrec$"):
        demo.run_demo(checkerboard, check=True, port=8000, home=demo.DEFAULT_HOME, redis_url=None, seed=0)


@pytest.mark.parametrize("user_id", ["user-00", "o'neil", 'a "b" $(c) `d`'])
def test_the_curl_line_is_what_a_shell_takes(dataset, capsys: pytest.CaptureFixture[str], user_id: str) -> None:
    object.__setattr__(dataset, "user_ids", (user_id, "b", "c"))
    demo._show(dataset, user_id, "http://127.0.0.1:8000", answer("item-01"), {})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  curl ")]
    assert json.loads(shlex.split(line)[-1]) == {"user_id": user_id, "n": local_service.NUM_ITEMS}


def test_the_way_on_names_what_differs_from_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo.sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.delenv("MMGREC_REDIS_URL", raising=False)
    default, open_url = demo.resolve_home(demo.DEFAULT_HOME), "redis://db:6379/1"
    for home, redis_url, more, url in [
        (default, None, "", None),
        (tmp_path / "a home", None, f" --home '{tmp_path}/a home'", None),
        (default, open_url, "", open_url),
        (default, "redis://:secret@db:6379/1", "", "YOUR_REDIS_URL"),
    ]:
        demo._show_how_to_go_on("demo-x", home, redis_url, "http://127.0.0.1:8003")
        out = capsys.readouterr().out
        variable, flag = (f"MMGREC_REDIS_URL={url} ", f" --redis-url {url}") if url else ("", "")
        assert f"\n  {variable}.venv/bin/python -m service --namespace demo-x{more} --port 8003\n" in out
        assert f"\n  .venv/bin/python -m offline releases --namespace demo-x{more}{flag}\n" in out


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({}, [], "demo"),
        ({"DATA": "x", "PORT": "1", "HOME_DIR": "y", "ARGS": "z"}, [], "demo"),
        ({"CHECK": "1"}, [], "demo --check"),
        (
            {"DATA": "x"},
            ["DATA=a b", "CHECK=1", "PORT=9", "HOME_DIR=h"],
            'demo --data "a b" --check --port "9" --home "h"',
        ),
        ({}, ["CHECK=0"], "demo"),
        ({"CSV": "x", "ITEMS": "y"}, [], "demo"),
        (
            {"CHECK": "1"},
            ["CSV=my orders.csv", "ITEMS=i.csv", "DATA=d", "PORT=9"],
            'try "my orders.csv" --items "i.csv" --data "d" --check --port "9"',
        ),
    ],
)
def test_make_demo_takes_from_the_environment_nothing_but_check(
    environment: dict[str, str], arguments: list[str], expected: str
) -> None:
    """Dry runs: whatever else the environment holds is not for us."""
    given = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    told = subprocess.run(
        ["make", "-n", "demo", *arguments],
        cwd=ROOT,
        env=given | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines()[-1].split("-m offline ")[1].split() == expected.split()


def test_an_answer_of_another_release_or_of_a_fallback_fails_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_service, "_get", lambda *_: answer("item-01"))
    assert local_service.ask("http://nowhere", "user-00", "v1")["release"] == "v1"
    with pytest.raises(JobError, match="expected an answer of the model from release v2"):
        local_service.ask("http://nowhere", "user-00", "v2")
    monkeypatch.setattr(local_service, "_get", lambda *_: answer("item-01") | {"source": "fallback:popular"})
    with pytest.raises(JobError, match="expected an answer of the model from release v1"):
        local_service.ask("http://nowhere", "user-00", "v1")


def test_a_service_that_does_not_start_fails_the_demo(
    taken: int, tmp_path: Path, redis_url: str, namespace: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(JobError, match="the service ended with exit code 2; its own lines above say why"),
        local_service.service(namespace, tmp_path, redis_url, taken),
    ):
        pytest.fail("it started")
    assert f"cannot listen on 127.0.0.1 port {taken}" in capfd.readouterr().err
