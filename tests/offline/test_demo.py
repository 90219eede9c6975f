"""Parts of the demo; the whole of it runs in `make demo CHECK=1`."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offline import demo
from offline.demo import demo_namespace, showcase_user, summary
from offline.errors import BadInputError, JobError
from offline.shop import SHOWCASE_USER
from service.contract.redis_keys import RedisKeys

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
        holder.bind((demo.HOST, 0))
        yield holder.getsockname()[1]


@pytest.fixture
def dataset(make_dataset):
    return make_dataset([[0], [1], [2]], [[]] * 3, [[]] * 3, num_items=4)


def answer(*item_ids: str) -> dict[str, Any]:
    items = [{"item_id": name, "title": None, "score": -1.5, "rank": at} for at, name in enumerate(item_ids, 1)]
    return {"items": items, "release": "v1", "source": "model"}


def test_a_free_port_is_taken_as_it_is(taken: int) -> None:
    with socket.create_server((demo.HOST, 0)) as listener:
        free = listener.getsockname()[1]
    assert demo._free_port(free) == free


def test_a_taken_port_moves_up_and_says_so(taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo._free_port(taken) > taken
    assert f"port {taken} is taken, trying the next\n" in capsys.readouterr().err


def test_no_free_port_names_the_range_and_the_cure(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PORTS_TRIED", 1)
    with pytest.raises(BadInputError, match=rf"no free port between {taken} and {taken} on 127.0.0.1; .* PORT="):
        demo._free_port(taken)


def test_ports_end_at_65535(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoSocket(socket.socket):
        def bind(self, address: Any) -> None:
            assert address[1] <= 65535
            raise OSError

    monkeypatch.setattr(demo.socket, "socket", NoSocket)
    with pytest.raises(BadInputError, match="between 65530 and 65535"):
        demo._free_port(65530)


def test_the_summary_is_one_json_object_with_the_agreed_fields(dataset) -> None:
    found = summary(dataset, METRICS, answer("item-03", "item-00"))
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
    found = summary(dataset, counts, answer("item-03"))
    assert (found["recall@20"], found["popularity_recall@20"], found["illegal"]) == (None, None, 0)


@pytest.mark.parametrize("item_ids", [(), ("item-01", "item-01"), ("item-01", "item-99")])
def test_an_empty_repeated_or_unknown_answer_fails_the_demo(dataset, item_ids: tuple[str, ...]) -> None:
    with pytest.raises(JobError, match="empty, repeated or unknown items; see its log above"):
        summary(dataset, METRICS, answer(*item_ids))


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


@pytest.mark.parametrize("name", ["lastfm-2k", "my shop/été", "a:b{c}", "…"])
def test_every_dataset_has_a_namespace_that_redis_keys_accept(name: str) -> None:
    assert RedisKeys(demo_namespace(name)).namespace.startswith("demo-")


def test_two_datasets_do_not_share_a_namespace() -> None:
    assert demo_namespace("lastfm-2k") == "demo-lastfm-2k" != demo_namespace("tiktok")


def test_an_answer_of_another_release_or_of_a_fallback_fails_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_get", lambda *_: answer("item-01"))
    assert demo._ask("http://nowhere", "user-00", "v1")["release"] == "v1"
    with pytest.raises(JobError, match="expected an answer of the model from release v2"):
        demo._ask("http://nowhere", "user-00", "v2")
    monkeypatch.setattr(demo, "_get", lambda *_: answer("item-01") | {"source": "fallback:popular"})
    with pytest.raises(JobError, match="expected an answer of the model from release v1"):
        demo._ask("http://nowhere", "user-00", "v1")


def test_a_service_that_does_not_start_fails_the_demo(
    taken: int, tmp_path: Path, redis_url: str, namespace: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(JobError, match="the service ended with exit code 2; its own lines above say why"),
        demo._service(namespace, tmp_path, redis_url, taken),
    ):
        pytest.fail("it started")
    assert f"cannot listen on 127.0.0.1 port {taken}" in capfd.readouterr().err
