"""The report as a file: whole or not at all, safe, self-contained; the job; what `train` does of it by itself."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from offline import train as train_module
from offline.errors import BadInputError
from offline.origin import _git_commit
from offline.publish import publish
from offline.reporting import Served, latency_section, write_report
from offline.run_folder import RunFolder
from offline.train import train
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore

SECTIONS = ("quality", "changes", "exposure", "examples", "tree", "codebooks", "buckets", "losses")
SECTIONS += ("latency", "stages", "data", "configuration")


@pytest.fixture(autouse=True)
def few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency from as few runs as there may be."""
    monkeypatch.setattr(latency_section, "BUDGET_SECONDS", 0.0)


class Nesting(HTMLParser):
    """What is open when the page ends, the tags that occur, and everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.usefixtures("no_decoder")
def test_the_page_is_well_formed_needs_nothing_and_runs_nothing(made: RunFolder) -> None:
    """Its dataset and the first title are scripts."""
    text = write_report(made).read_text()
    page = Nesting()
    page.feed(text)
    assert page.open == []
    assert "script" not in page.tags
    assert all(address.startswith("#") for address in page.fetched)
    assert [address[1:] for address in page.fetched] == list(SECTIONS)
    assert not re.search(r"url\(|@import|http", text.replace("http-equiv", ""))
    assert "default-src 'none'" in text.replace("&#x27;", "'")
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_report_of_a_trained_run(run: RunFolder, own_run: RunFolder) -> None:
    """`train` has written one; a later one has the same figures."""
    assert (run.folder / "report.html").exists()
    metrics = own_run.read_json("metrics.json")
    text = write_report(own_run).read_text()
    for name in ("recall", "ndcg"):
        for prefix in ("", "generator_", "dense_", "popularity_"):
            for cutoff in (5, 10, 20):
                assert f"{metrics[f'{prefix}{name}@{cutoff}']:.4f}" in text
    parts = {anchor: re.search(rf'id="{anchor}">(.*?)</section>', text, re.DOTALL) for anchor in SECTIONS}
    assert all(parts.values())
    drawn = {anchor for anchor, part in parts.items() if part and "<svg" in part[1]}
    assert drawn >= {"quality", "exposure", "tree", "codebooks", "buckets"}
    assert "The odd thing" in text
    origin = own_run.read_json("origin.json")
    assert (origin["data"]["users"], origin["data"]["items"], origin["data"]["features"]) == (
        60,
        60,
        {"image": 6, "text": 4},
    )
    assert f"<dt>torch</dt><dd>{origin['versions'][0]['torch']}</dd>" in text
    assert all(entry["peak_bytes"] > 2**20 for entry in own_run.read_json("stages.json").values())


def test_what_a_run_keeps_of_its_recommendations_is_what_it_was_scored_on(run: RunFolder) -> None:
    kept, metrics = run.load_arrays("recommended"), run.read_json("metrics.json")
    assert kept["exposure"].sum() == 20 * metrics["users"] == 20 * kept["lists"]
    assert (kept["exposure"] > 0).mean() == pytest.approx(metrics["coverage@20"])
    assert kept["items"].shape == kept["found"].shape == (60, 10)
    starts = kept["history_start"]
    for row, (first, last) in enumerate(pairwise(starts)):
        assert not np.isin(kept["items"][row], kept["history"][first:last]).any()
    # Everybody has recall@10 of their own test items: the share of the first ten that are held out is theirs.
    assert 0 < kept["found"].mean() < 1


@pytest.mark.usefixtures("no_decoder")
def test_a_disk_that_is_full_leaves_the_old_report(made: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_report(made).read_bytes()
    whole = Path.write_text

    def half(path: Path, text: str, **more: Any) -> int:
        whole(path, text[: len(text) // 2], **more)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(BadInputError, match=r"report\.html cannot be written .*No space left"):
        write_report(made)
    assert (made.folder / "report.html").read_bytes() == before
    assert not list(made.folder.glob("*.part"))


def test_a_damaged_decoder_is_named(own_run: RunFolder) -> None:
    own_run.decoder.write_bytes(b"no graph")
    before = (own_run.folder / "report.html").read_bytes()
    with pytest.raises(BadInputError, match=r"decoder\.onnx cannot be used .*train the run again"):
        write_report(own_run)
    assert (own_run.folder / "report.html").read_bytes() == before


def forget_report(run: RunFolder) -> None:
    (run.folder / "report.html").unlink()


def test_a_report_that_fails_costs_a_finished_run_a_warning(
    trained: tuple[Path, Path], own_run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("something that nobody thought of")

    forget_report(own_run)
    with monkeypatch.context() as patch:
        patch.setattr("offline.reporting.report.read_facts", fail)
        metrics = train(trained[0], own_run, "tiny", 0)
    assert metrics["recall@20"] == own_run.read_json("metrics.json")["recall@20"]
    own_run.require("metrics")
    said = capsys.readouterr().err
    assert "warning: the run is finished, its report could not be written" in said
    assert f"python -m offline report --run {own_run.folder}" in said
    train(trained[0], own_run, "tiny", 0)  # which makes up for it
    assert (own_run.folder / "report.html").exists()


def test_a_report_that_is_there_stays_until_the_run_is_scored_anew(
    trained: tuple[Path, Path], own_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_run.folder / "report.html").write_text("mine")
    train(trained[0], own_run, "tiny", 0)
    assert (own_run.folder / "report.html").read_text() == "mine"
    (own_run.folder / "recommended.npz").unlink()  # as in a run of an earlier version
    for name in ("_make_graph", "_make_rec_ids", "train_generator", "_make_decoder"):
        monkeypatch.setattr(train_module, name, lambda *_: pytest.fail("only the last stage is to be done"))
    train(trained[0], own_run, "tiny", 0)
    assert (own_run.folder / "recommended.npz").exists()
    assert (own_run.folder / "report.html").read_text() != "mine"


def test_other_versions_are_noted_and_refuse_nothing(
    trained: tuple[Path, Path], own_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = own_run.read_json("origin.json")["versions"]
    monkeypatch.setattr("offline.origin.versions", lambda: {"python": "4.0"})
    train(trained[0], own_run, "tiny", 0)
    assert own_run.read_json("origin.json")["versions"] == [*before, {"python": "4.0"}]
    assert "<h3>Resumed with</h3>" in write_report(own_run).read_text()


def test_a_run_beside_the_release_that_it_became(run: RunFolder, client: redis.Redis, namespace: str) -> None:
    store = ReleaseStore(client, RedisKeys(namespace))
    served = Served.from_store(store, publish(run, store))
    np.testing.assert_array_equal(served.codes, run.load_arrays("rec_ids")["rec_ids"][:, :-1])
    assert served.item_ids[:2] == ("item-00", "item-01")
    assert served.metrics == run.read_json("metrics.json")


def test_the_job_compares_with_what_is_served(job: Any, own_run: RunFolder, redis_url: str, namespace: str) -> None:
    here = ("--redis-url", redis_url, "--namespace", namespace)
    ended = job("report", "--run", own_run.folder, "--served", "active", *here)
    assert (ended.code, ended.out) == (2, "")
    assert f"namespace {namespace} serves nothing yet" in ended.err
    version = job("publish", "--run", own_run.folder, *here).result["version"]
    for asked in ("active", version):
        found = job("report", "--run", own_run.folder, "--served", asked, *here).result
        assert found == {"report": str(own_run.folder / "report.html")}
        text = (own_run.folder / "report.html").read_text()
        assert f"compared with {version}" in text
        assert "This run is what that release serves." in text
    ended = job("report", "--run", own_run.folder, "--served", "20200101", *here)
    assert (ended.code, ended.out) == (2, "")
    assert "release 20200101 is not in namespace" in ended.err


def test_the_job_writes_a_report_with_baselines(
    job: Any, trained: tuple[Path, Path], own_run: RunFolder, tmp_path: Path
) -> None:
    peers = tmp_path / "baselines.json"
    assert job("baselines", "--data", trained[0], "--only", "popularity,item-knn", "--json", peers).code == 0
    forget_report(own_run)
    assert job("report", "--run", own_run.folder, "--baselines", peers).code == 0
    measured = {peer["name"]: peer["metrics"]["recall@20"] for peer in json.loads(peers.read_text())["peers"]}
    text = (own_run.folder / "report.html").read_text()
    assert f"{measured['item-knn']:.4f}" in text
    assert "item-knn" in text


def test_the_job_refuses_what_is_no_finished_run(job: Any, tmp_path: Path) -> None:
    ended = job("report", "--run", tmp_path / "nowhere")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "holds no finished run: stage 'metrics' is missing; run: python -m offline train" in ended.err
    assert not (tmp_path / "nowhere").exists()


def test_the_job_waits_for_nobody_who_trains_in_the_folder(job: Any, own_run: RunFolder) -> None:
    with own_run.locked():
        assert job("report", "--run", own_run.folder).code == 4


@pytest.mark.skipif(not shutil.which("git"), reason="there is no git")
def test_the_commit_is_that_of_a_checkout_alone(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ("git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments)
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    (tmp_path / "inside").mkdir()
    assert _git_commit(tmp_path) is None
    git("init", "-q")
    assert _git_commit(tmp_path) is None  # nothing was ever committed
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "First")
    commit = git("rev-parse", "HEAD")[:12]
    assert _git_commit(tmp_path) == commit
    assert _git_commit(tmp_path / "inside") is None  # an installed package within somebody's repository
    (tmp_path / "file").write_text("2")
    assert _git_commit(tmp_path) == f"{commit}-dirty"
