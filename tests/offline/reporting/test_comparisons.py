"""What a run is put beside: baselines, the served release, the verdict of the gate; and the head of the page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline.errors import BadInputError
from offline.reporting import Served, write_report
from offline.run_folder import RunFolder

Changed = Callable[[str, dict[str, Any]], RunFolder]
pytestmark = pytest.mark.usefixtures("no_decoder")


def baselines_file(folder: Path, **changes: Any) -> Path:
    peers = [
        {"name": "popularity", "metrics": {"recall@20": 0.1234, "ndcg@20": 0.0617, "cold_item_recall@20": None}},
        {"name": "item-knn", "metrics": {"recall@20": 0.4321, "ndcg@20": 0.2222}},
    ]
    found = {"dataset": "shop", "split": "test", "users": 4, "peers": peers, "skipped": {"sasrec": "no <b>order</b>"}}
    path = folder / "baselines.json"
    path.write_text(json.dumps(found | changes))
    return path


def test_baselines_stand_beside(made: RunFolder, tmp_path: Path, section: Any, rows_of: Any) -> None:
    html = section(made, "quality", baselines=baselines_file(tmp_path))
    rows = rows_of(html)
    assert rows["item-knn"] == ["\u2013", "\u2013", "0.4321", "\u2013", "\u2013", "0.2222"]
    assert rows["popularity"][2] == "0.1234"  # measured with the peers: not shown twice
    assert "sasrec was skipped: no &lt;b&gt;order&lt;/b&gt;" in html
    assert "a dataset called shop" in html
    assert "python -m offline baselines" not in html


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"users": 5}, "holds figures of 5 users of split 'test', the run was scored on 4 users"),
        ({"split": "valid"}, "of split 'valid'"),
        ({"peers": {"a": 1}}, "is not what the baselines job writes"),
        ({"peers": [{"name": "a", "metrics": {"recall@20": "x"}}]}, "is not what the baselines job writes"),
        ({"users": "all"}, "is not what the baselines job writes"),
        ({"skipped": []}, "is not what the baselines job writes"),
    ],
)
def test_other_baselines_are_refused(made: RunFolder, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=rf"--baselines .*{said}.*python -m offline baselines --data DIR --json"):
        write_report(made, baselines=baselines_file(tmp_path, **changes))
    assert not (made.folder / "report.html").exists()


@pytest.mark.parametrize("content", [None, b"", b"[1", b"\xff\xfe"])
def test_a_file_that_holds_no_baselines_is_refused(made: RunFolder, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "baselines.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"--baselines .*baselines\.json (cannot be read|is not what)"):
        write_report(made, baselines=path)


def served(**changes: Any) -> Served:
    """A release of the items a, b, c and x."""
    codes = np.array([[0, 0], [0, 1], [1, 1], [0, 0]], np.int32)
    metrics = {"recall@20": 0.4, "ndcg@20": 0.255, "coverage@20": 0.3}
    return Served("20261101T000000-abc", metrics, ("a", "b", "c", "x"), codes)._replace(**changes)


def test_changes_are_set_beside_the_release(made: RunFolder, section: Any, rows_of: Any) -> None:
    html = section(made, "changes", served=served())
    rows = rows_of(html)
    assert rows["recall@20"] == ["0.4000", "0.3000", "-25.0 %"]
    assert rows["ndcg@20"] == ["0.2550", "0.2500", "-2.0 %"]
    assert rows["beam_recall"] == ["\u2013", "0.8765", "\u2013"]
    assert html.count('class="worse"') == 1  # recall@20 alone is further below than 5 %
    assert "3: Red rose \u00b7 Oak \u00b7 f" in html
    assert "<dd>1: x</dd>" in html
    # Of a, b and c, a and b have the same first code, a alone the same codes.
    assert "<dt>same first code</dt><dd>66.7 %</dd>" in html
    assert "<dt>same codes at all levels</dt><dd>33.3 %</dd>" in html
    assert "is what that release serves" not in html


def test_the_share_that_a_warm_start_kept_is_told(changed: Changed, section: Any) -> None:
    html = section(changed("rec_ids.json", {"kept_codes_share": 0.875}), "changes", served=served())
    assert "87.5 %" in html


def test_a_release_of_other_levels_or_items_is_still_compared(made: RunFolder, section: Any) -> None:
    other = served(codes=np.zeros((4, 3), np.int32))
    assert "3 levels there, 2 here: not comparable" in section(made, "changes", served=other)
    stranger = served(item_ids=("w", "x", "y", "z"), metrics={})
    html = section(made, "changes", served=stranger)
    assert "of which 0 are in the release" in html
    assert "same first code" not in html


def test_the_release_of_this_very_run_is_recognised(made: RunFolder, section: Any) -> None:
    html = section(made, "changes", served=served(metrics=made.read_json("metrics.json")))
    assert "This run is what that release serves." in html


def test_without_a_release_the_cure_is_said(made: RunFolder, section: Any) -> None:
    assert f"report --run {made.folder} --served active" in section(made, "changes")


def test_the_head_says_what_and_how_good(made: RunFolder, head_of: Any) -> None:
    html = head_of(made)
    for text in ("recipe tiny", "seed 7", "2026-11-28 12:34", "<b>0.3000</b>", "3.0 times popularity", "<b>1.5 ms</b>"):
        assert text in html
    assert "gate" not in html
    assert "published" not in html


@pytest.mark.parametrize(("passed", "said"), [(True, "gate passed"), (False, "gate refused")])
def test_the_head_says_the_verdict_of_the_gate(made: RunFolder, passed: bool, said: str, head_of: Any) -> None:
    made.write_json("gate.json", {"passed": passed, "reasons": ["recall@20 fell <b>"]})
    made.write_json("summary.json", {"version": "2026-abc"})
    html = head_of(made, served=served())
    assert said in html
    assert "recall@20 fell &lt;b&gt;" in html
    assert "published as 2026-abc" in html
    assert "compared with 20261101T000000-abc" in html


def test_what_the_gate_of_retrain_found_is_told_in_words_and_figures(
    made: RunFolder, section: Any, rows_of: Any, head_of: Any
) -> None:
    """As `offline.retraining` writes it."""
    reason = {"name": "recall@20", "value": 0.2, "limit": 0.3, "text": "recall@20 fell by a third", "final": False}
    comparison = {
        "users": 17,
        "common_items": 5,
        "new": {"recall@20": 0.2, "coverage@20": 0.5},
        "served": {"recall@20": 0.3, "coverage@20": 0.4},
        "difference": {"recall@20": -0.1},
        "standard_error": {"recall@20": 0.0123},
    }
    verdict = {"passed": False, "forced": True, "reasons": [reason], "compared_with": "v", "comparison": comparison}
    made.write_json("gate.json", verdict)
    html = head_of(made)
    assert "gate overruled" in html
    assert "<li>recall@20 fell by a third</li>" in html
    html = section(made, "changes")
    assert "17 users" in html
    rows = rows_of(html)
    assert rows["recall@20"] == ["0.3000", "0.2000", "-0.1000", "0.0123"]
    assert rows["coverage@20"] == ["0.4000", "0.5000", "+0.1000", "\u2013"]
    assert "--served active" in html


@pytest.mark.parametrize(
    "verdict",
    [
        {"reasons": []},
        {"passed": False, "reasons": [{"name": "no text"}]},
        {"passed": True, "comparison": {"new": {"a": "x"}, "served": {"a": 1}, "users": 1}},
        {"passed": True, "comparison": [1]},
    ],
)
def test_a_verdict_of_another_shape_is_named(made: RunFolder, verdict: dict[str, Any]) -> None:
    made.write_json("gate.json", verdict)
    with pytest.raises(BadInputError, match=r"gate\.json cannot be used .*run retrain again"):
        write_report(made)
