"""`python -m offline try`: a small shop's CSV through to the first answer, poor logs, and every bad input."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline.dataset import load_dataset
from offline.trying import try_log as try_module
from offline.trying.contenders import Contender
from offline.trying.outcome import WIDTH, outcome_of
from tests.offline.conftest import SIZE, Job, taste

HEAD = "Kundin,Shop Article\n"
MAP = ("--map", "user_id=Kundin,item_id=Shop Article")


def csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def shop_csv(path: Path, users: int = SIZE) -> Path:
    """The checkerboard as a shop would export it: odd names, semicolons, dates; users in turn, each taste in order."""
    lines = ["Customer No.;SKU;Ordered-At;Amount"]
    for user in range(users):
        items = [item for item in range(user % 2, SIZE, 2) if item != user]
        start = user % len(items)  # so that what is held out differs
        for place, item in enumerate(items[start:] + items[:start]):
            lines.append(f"k{user};a{item};2026-{1 + place // 28:02d}-{1 + place % 28:02d};9.90")
    return csv(path, "\n".join(lines) + "\n")


def items_csv(path: Path) -> Path:
    rows = [f"a{item};The {taste(item)} thing {item};{taste(item)}" for item in range(SIZE)]
    return csv(path, "\n".join(["sku;Product Name;Category", *rows]) + "\n")


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMGRec finds nothing, in no time: for what does not depend on it."""

    def mmgrec(_decoder: Any, dataset: Any, seconds: float) -> Contender:
        nothing = 0.0 * next(iter(found.values())).recall
        return Contender(name="MMGRec", recall=nothing, ndcg=nothing, seconds=seconds)

    found: dict[str, Contender] = {}
    real = try_module.fit_peer

    def fit(name: str, dataset: Any, *, seed: int) -> Contender:
        return found.setdefault(name, real(name, dataset, seed=seed))

    monkeypatch.setattr(try_module, "fit_peer", fit)
    monkeypatch.setattr(try_module, "train", lambda *_: {"train_seconds": 0.0})
    monkeypatch.setattr(try_module, "load_catalogue", lambda _: None)
    monkeypatch.setattr(try_module, "open_run_decoder", lambda *_: None)
    monkeypatch.setattr(try_module, "judge_mmgrec", mmgrec)


def test_a_csv_through_to_a_verdict_and_a_first_answer(job: Job, tmp_path: Path, redis_url: str) -> None:
    log, items = shop_csv(tmp_path / "orders 2026.csv"), items_csv(tmp_path / "items.csv")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        ended = job(
            *("try", log, "--items", items, "--quick", "--recipe", "tiny", "--check", "--port", port),
            *("--home", tmp_path / "home", "--redis-url", redis_url, "--json", tmp_path / "outcome.json"),
        )
    assert ended.code == 0, ended.err
    assert "guessed user_id = column 'Customer No.' (by its name)" in ended.err
    assert "this will take about" in ended.err
    assert f"port {port} is taken, trying the next" in ended.err
    *text, last = ended.out.splitlines()
    result = json.loads(last)
    assert result["columns"] == {"user_id": "Customer No.", "item_id": "SKU", "timestamp": "Ordered-At"}
    assert (result["dataset"], result["users"], result["items"]) == ("orders-2026", SIZE, SIZE)
    assert [each["name"] for each in result["contenders"]] == ["popularity", "item-kNN", "transitions", "MMGRec"]
    assert result["skipped"] == {"SASRec": "because of --quick"}
    assert all(item["title"].startswith("The ") for item in result["served"]["answer"])
    assert result["served"]["recall@20"] == pytest.approx(result["contenders"][-1]["recall@20"]["mean"], abs=1e-4)
    assert result["verdict"]["kind"] in {"mmgrec", "peer", "no difference", "too few users"}
    assert " ".join(result["verdict"]["words"].split()) in " ".join(" ".join(text).split())
    assert json.loads((tmp_path / "outcome.json").read_text()) == {k: v for k, v in result.items() if k != "served"}
    table = "\n".join(text).partition("VERDICT")[0]
    assert all(len(line) <= WIDTH for line in table.splitlines()), table
    for each in result["contenders"]:
        (row,) = [line for line in table.partition("recall@20:")[0].splitlines() if line.startswith(each["name"] + " ")]
        assert f"{each['recall@20']['mean']:.4f} {each['recall@20']['low']:.4f}.." in row


def test_without_times_what_needs_order_is_left_out_and_said(job: Job, tmp_path: Path, untrained: None) -> None:
    lines = [f"k{user},a{item}" for user in range(SIZE) for item in range(user % 2, SIZE, 2) if item != user]
    log = csv(tmp_path / "log.csv", HEAD + "\n".join(lines))
    ended = job("try", log, *MAP, "--no-serve", "--home", tmp_path / "home")
    assert ended.code == 0, ended.err
    assert "SASRec: left out, the dataset has no timestamp, so a history has no order" in ended.out
    assert "transitions: left out, the dataset has no timestamp" in ended.out
    assert "No column was taken as a time." in ended.out
    assert "--map 'user_id=Kundin,item_id=Shop Article,timestamp=COLUMN'" in " ".join(ended.out.split())
    assert "VERDICT: item-kNN is clearly the best here: MMGRec is clearly worse." in ended.out
    assert "A tenth of the items of each, drawn at random, was hidden" in " ".join(ended.out.split())


def test_a_log_of_five_users_is_too_few(job: Job, tmp_path: Path, untrained: None) -> None:
    rows = "".join(f"k{user},a{user}-{item}\n" for user in range(5) for item in range(30))
    log = csv(tmp_path / "five.csv", HEAD + rows)
    ended = job("try", log, *MAP, "--no-serve", "--home", tmp_path / "home")
    assert ended.code == 0, ended.err
    assert "VERDICT: Nothing to tell" in ended.out or "VERDICT: Too few users" in ended.out
    assert "100 % of the hidden items stand in no training history" in ended.out


def test_items_that_nobody_shares_tell_nothing(job: Job, tmp_path: Path, untrained: None) -> None:
    rows = "".join(f"k{user},a{user * 10 + item}\n" for user in range(50) for item in range(10))
    ended = job("try", csv(tmp_path / "log.csv", HEAD + rows), *MAP, "--no-serve", "--home", tmp_path / "home")
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "different users share items" in said or "Too few users" in said
    assert "100 % of the hidden items stand in no training history" in said


def test_short_histories_hold_nothing_out(job: Job, tmp_path: Path, untrained: None) -> None:
    log = csv(
        tmp_path / "log.csv", HEAD + "".join(f"k{user},a{user + item}\n" for user in range(9) for item in range(2))
    )
    ended = job("try", log, *MAP, "--no-serve", "--home", tmp_path / "home", "--json", tmp_path / "o.json")
    assert ended.code == 0, ended.err
    assert "VERDICT: Nothing to judge by: no user has three different items" in ended.out
    assert json.loads((tmp_path / "o.json").read_text())["contenders"] == []


def test_the_dataset_is_kept_where_data_says_and_can_be_tried_again(job: Job, tmp_path: Path, untrained: None) -> None:
    log, kept = shop_csv(tmp_path / "orders.csv"), tmp_path / "kept"
    common = ("--no-serve", "--quick", "--home", tmp_path / "home")
    first = job("try", log, "--data", kept, *common)
    assert first.code == 0, (first.code, first.err)
    assert load_dataset(kept).num_users == SIZE
    before = (kept / "interactions.parquet").read_bytes()
    again = job("try", log, "--data", kept, *common)
    assert (again.code, again.out) == (2, "")
    assert f"--data {kept}: holds files already" in again.err
    assert f"python -m offline try {kept}" in again.err
    assert job("try", log, "--data", kept, "--overwrite", *common).code == 0
    assert (kept / "interactions.parquet").read_bytes() == before, "the same log is the same dataset"
    assert job("try", kept, *common).code == 0
    refused = job("try", kept, "--items", log, *common)
    assert (refused.code, refused.err.count("leave out --items")) == (2, 1)


# What is wrong -> (text of the log, options, what the line must say, the cure it must give)
BAD_INPUT: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "columns that say nothing": (
        "foo,bar\n1,2\n",
        (),
        "no column is known for user_id and item_id; say which by --map user_id=COLUMN,item_id=COLUMN",
        "(columns present: foo, bar)",
    ),
    "one column that says nothing": ("customer,bar\n1,2\n", (), "known for item_id", "--map item_id=COLUMN"),
    "a column that is not there": (HEAD + "1,2\n", ("--map", "user_id=Kunde"), "'Kunde' for user_id", "correct --map"),
    "two interactions": (
        *("user,item\nu,i\nv,j\n", ()),
        "log: 2 users and 2 items that they had are too few to learn from; at least 5 of each",
        "give a longer log, or correct --map (user_id is column 'user', item_id is column 'item')",
    ),
    "one user": ("user,item\n" + "".join(f"u,{item}\n" for item in range(9)), (), "1 users and 9 items", "longer log"),
    "four items": (
        "user,item\n" + "".join(f"{user},{user % 4}\n" for user in range(9)),
        (),
        "9 users and 4",
        "longer log",
    ),
    "nothing but a head": ("user,item\n", (), "holds no interactions", "name a log that has rows"),
    "an empty file": ("", (), "log.csv: is empty", "a CSV begins with a line of column names"),
    "check without a service": ("user,item\nu,i\n", ("--check", "--no-serve"), "--no-serve has none", "take one"),
    "no delimiter": ("user,item\nu,i\n", ("--delimiter", ""), "--delimiter is empty", "give the sign"),
    "a file that cannot be written": ("user,item\nu,i\n", ("--json", "/dev/null/x"), "--json /dev/null/x", "give the"),
}


@pytest.mark.parametrize("problem", BAD_INPUT)
def test_bad_input_is_one_line_with_the_cure(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    text, options, named, cure = BAD_INPUT[problem]
    monkeypatch.setattr(try_module, "fit_peer", lambda *_, **__: pytest.fail("it fits"))
    monkeypatch.setattr(try_module, "train", lambda *_: pytest.fail("it trains"))
    more = () if "--no-serve" in options else ("--no-serve",)
    ended = job("try", csv(tmp_path / "log.csv", text), *options, *more, "--home", tmp_path / "home")
    assert (ended.code, ended.out, ended.err.count("error: ")) == (2, "", 1), ended.err
    line = ended.err.splitlines()[-1]  # above it stand the guesses
    assert line.startswith("error: ")
    assert named in line
    assert cure in line


def test_no_such_log(job: Job, tmp_path: Path) -> None:
    ended = job("try", tmp_path / "nowhere.csv", "--no-serve", "--home", tmp_path / "home")
    assert ended.code == 2
    assert "nowhere.csv" in ended.err


def test_a_redis_that_cannot_be_used_is_noticed_before_anything(job: Job, tmp_path: Path) -> None:
    log = shop_csv(tmp_path / "log.csv", users=4)
    ended = job("try", log, "--home", tmp_path / "home", "--redis-url", f"unix://{tmp_path}/nowhere.sock")
    assert ended.code == 1
    assert "is not reachable" in ended.err
    assert not (tmp_path / "home" / "try").exists()


def test_a_wide_table_stays_within_100_columns(make_dataset: Callable[..., Any]) -> None:
    dataset = make_dataset([[0, 1]] * 4, [[]] * 4, [[2]] * 4, num_items=4)
    ones = np.ones(4)
    everybody = [
        Contender(name=name, recall=ones, ndcg=ones, seconds=99_999)
        for name in ("SASRec", "popularity", "MMGRec", "item-kNN", "transitions")
    ]
    outcome = outcome_of(dataset, everybody, {}, {}, "standard")
    assert [each.name for each in outcome.contenders][0::4] == ["popularity", "MMGRec"]
    assert max(map(len, outcome.as_text().splitlines())) <= WIDTH
