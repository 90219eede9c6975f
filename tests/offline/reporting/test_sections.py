"""What stands on the page is what stands in the run's files, and what is not there is said."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline.beyond_accuracy import exposure_gini
from offline.errors import BadInputError
from offline.reporting import Served, write_report
from offline.run_folder import RunFolder

Changed = Callable[[str, dict[str, Any]], RunFolder]
pytestmark = pytest.mark.usefixtures("no_decoder")


def section(run: RunFolder, anchor: str, **given: Any) -> str:
    """One section of the report as it is written."""
    page = write_report(run, **given).read_text()
    found = re.search(rf'<section id="{anchor}">.*?</section>', page, re.DOTALL)
    assert found, anchor
    return found[0]


class Cells(HTMLParser):
    """The text of every row of the tables."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def rows_of(html: str) -> dict[str, list[str]]:
    cells = Cells()
    cells.feed(html)
    return {row[0]: row[1:] for row in cells.rows if row}


def test_the_metrics_are_those_of_the_run(made: RunFolder) -> None:
    metrics = made.read_json("metrics.json")
    html = section(made, "quality")
    rows = rows_of(html)
    columns = rows.pop("")
    assert columns == ["recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20"]
    assert rows["MMGRec"] == [f"{metrics[name]:.4f}" for name in columns]
    assert rows["generator alone"] == ["\u2013", "\u2013", "0.2612", "\u2013", "\u2013", "0.2113"]
    assert rows["dense search"][2] == "0.3214"
    assert rows["popularity"][2] == "0.1000"
    assert "1 of them have no history" in html
    assert "0.8765" in html
    assert html.count("<svg") == 2
    assert '<td class="best">0.3214</td>' in html
    assert "python -m offline baselines --data DIR --json FILE" in html


def test_a_run_without_held_out_items_says_so(made: RunFolder) -> None:
    made.write_json("metrics.json", {"users": 0.0, "illegal": 0.0})
    assert "holds nothing out for test" in section(made, "quality")
    assert "recall@20" not in section(made, "quality")


def baselines_file(folder: Path, **changes: Any) -> Path:
    peers = [
        {"name": "popularity", "metrics": {"recall@20": 0.1234, "ndcg@20": 0.0617, "cold_item_recall@20": None}},
        {"name": "item-knn", "metrics": {"recall@20": 0.4321, "ndcg@20": 0.2222}},
    ]
    found = {"dataset": "shop", "split": "test", "users": 4, "peers": peers, "skipped": {"sasrec": "no <b>order</b>"}}
    path = folder / "baselines.json"
    path.write_text(json.dumps(found | changes))
    return path


def test_baselines_stand_beside(made: RunFolder, tmp_path: Path) -> None:
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


def test_losses_have_a_chart_for_each_stage(made: RunFolder) -> None:
    html = section(made, "losses")
    assert html.count("<svg") == 1
    assert html.count('class="line ') == 2
    assert "graph encoder" in html
    (made.folder / "losses.graph.json").unlink()
    assert "kept no losses" in section(made, "losses")


def test_codebooks_say_what_was_reported_of_them(made: RunFolder) -> None:
    html = section(made, "codebooks")
    assert rows_of(html)["level 0"] == ["2 of 2", "100 %", "50 %", "2.0", "0.2", "50 %"]
    assert html.count("<svg") == 2
    assert "1 items got another last code" in html


def test_the_tree_names_its_largest_branches(made: RunFolder) -> None:
    html = section(made, "tree")
    assert html.count("<path") == 6
    assert rows_of(html)["1"] == ["3", "Red rose \u00b7 Oak \u00b7 f"]
    assert "Blue &lt;script&gt;x&lt;/script&gt;" in html


def test_buckets_are_counted_and_the_largest_is_named(made: RunFolder) -> None:
    html = section(made, "buckets")
    assert "The largest holds 2 items" in html
    assert "codes 0 \u00b7 0" in html
    assert rows_of(html)["Blue <script>x</script>"] == ["9"]
    assert "33.3 % of the items have their codes to themselves" in html
    assert "items, 2: 66.7 %" in html


def test_items_that_are_all_alone_have_no_largest_bucket(made: RunFolder) -> None:
    made.save_arrays("rec_ids", {"rec_ids": np.column_stack([np.arange(6), np.zeros((6, 2), int)]).astype(np.int32)})
    made.write_json("rec_ids.json", made.read_json("rec_ids.json") | {"codebook_sizes": [6, 1]})
    assert "No two items share all their codes." in section(made, "buckets")


def test_exposure_by_popularity_is_that_of_the_lists(made: RunFolder) -> None:
    html = section(made, "exposure")
    assert "of 4 lists" in html
    assert "2 of 6 items, 33.3 %" in html
    exposure, counts = np.array([3, 1, 0, 0, 0, 0]), np.array([9, 5, 3, 2, 1, 0])
    ranking = np.repeat(np.arange(6), exposure)[None, :]
    taken = np.repeat(np.arange(6), counts)[None, :]
    figures = f"{exposure_gini(ranking, 6):.4f} of the recommendations, {exposure_gini(taken, 6):.4f} of the training"
    assert figures in html
    # Six items are six parts: 9 of 20 interactions and 3 of 4 recommendations go to the first.
    assert "training interactions, 1: 45 %" in html
    assert "recommendations, top 20, 1: 75 %" in html


@pytest.mark.parametrize("anchor", ["exposure", "examples"])
def test_a_run_that_kept_no_recommendations_says_so(made: RunFolder, anchor: str) -> None:
    (made.folder / "recommended.npz").unlink()
    assert "train it again to have it scored anew" in section(made, anchor)


def test_examples_show_history_answer_and_reason(made: RunFolder) -> None:
    html = section(made, "examples")
    text = re.sub(r"<[^>]+>", "|", html)
    assert "A user with 3 items" in html
    assert "Oak \u00b7 Deep sea \u00b7 Coral" in html  # newest first
    # Item 0 has the codes of item 1, which the user had; item 5 those of item 4.
    assert re.search(r"x&lt;/script&gt;\| ✓\|+shares 2 of 2 codes with Deep sea\|", text)
    assert re.search(r"\|f\|+shares 2 of 2 codes with Oak\|", text)
    assert html.count("✓") == 1
    assert html.count("<ol") == 1  # the other user has no history


def test_items_without_titles_have_no_examples(made: RunFolder) -> None:
    arrays = made.load_arrays("item_table")
    arrays |= {"items.title.bytes": np.zeros(0, np.uint8), "items.title.start": np.zeros(7, np.int64)}
    made.save_arrays("item_table", arrays)
    assert "no titles" in section(made, "examples")


def served(**changes: Any) -> Served:
    """A release of the items a, b, c and x."""
    codes = np.array([[0, 0], [0, 1], [1, 1], [0, 0]], np.int32)
    metrics = {"recall@20": 0.4, "ndcg@20": 0.255, "coverage@20": 0.3}
    return Served("20261101T000000-abc", metrics, ("a", "b", "c", "x"), codes)._replace(**changes)


def test_changes_are_set_beside_the_release(made: RunFolder) -> None:
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


def test_the_share_that_a_warm_start_kept_is_told(changed: Changed) -> None:
    html = section(changed("rec_ids.json", {"kept_codes_share": 0.875}), "changes", served=served())
    assert "87.5 %" in html


def test_a_release_of_other_levels_or_items_is_still_compared(made: RunFolder) -> None:
    other = served(codes=np.zeros((4, 3), np.int32))
    assert "3 levels there, 2 here: not comparable" in section(made, "changes", served=other)
    stranger = served(item_ids=("w", "x", "y", "z"), metrics={})
    html = section(made, "changes", served=stranger)
    assert "of which 0 are in the release" in html
    assert "same first code" not in html


def test_the_release_of_this_very_run_is_recognised(made: RunFolder) -> None:
    html = section(made, "changes", served=served(metrics=made.read_json("metrics.json")))
    assert "This run is what that release serves." in html


def test_without_a_release_the_cure_is_said(made: RunFolder) -> None:
    assert f"report --run {made.folder} --served active" in section(made, "changes")


def test_stages_data_and_versions(made: RunFolder) -> None:
    rows = rows_of(section(made, "stages"))
    assert rows["graph"] == ["1 min 15 s", "3.0 GiB", "2026-11-28 12:34:56"]
    assert rows["together"][0] == "6 min 15 s"
    data = section(made, "data")
    assert "20 train, 2 valid, 4 test" in data
    assert "ab" * 32 in data
    configuration = section(made, "configuration")
    assert "<dt>torch</dt><dd>2.13.0</dd>" in configuration
    assert "&quot;min_code_usage&quot;: 0.5" in configuration
    (made.folder / "origin.json").unlink()
    assert "noted no versions" in section(made, "configuration")
    assert "noted no counts" in section(made, "data")


def test_latency_is_as_measured(made: RunFolder) -> None:
    html = section(made, "latency")
    assert rows_of(html)["8"] == ["4.00", "5.25", "2000", "20"]
    assert "1 thread" in html


def head_of(run: RunFolder, **given: Any) -> str:
    found = re.search(r"<header>.*?</header>", write_report(run, **given).read_text(), re.DOTALL)
    assert found
    return found[0]


def test_the_head_says_what_and_how_good(made: RunFolder) -> None:
    html = head_of(made)
    for text in ("recipe tiny", "seed 7", "2026-11-28 12:34", "<b>0.3000</b>", "3.0 times popularity", "<b>1.5 ms</b>"):
        assert text in html
    assert "gate" not in html
    assert "published" not in html


@pytest.mark.parametrize(("passed", "said"), [(True, "gate passed"), (False, "gate refused")])
def test_the_head_says_the_verdict_of_the_gate(made: RunFolder, passed: bool, said: str) -> None:
    made.write_json("gate.json", {"passed": passed, "reasons": ["recall@20 fell <b>"]})
    made.write_json("summary.json", {"version": "2026-abc"})
    html = head_of(made, served=served())
    assert said in html
    assert "recall@20 fell &lt;b&gt;" in html
    assert "published as 2026-abc" in html
    assert "compared with 20261101T000000-abc" in html


def test_what_the_gate_of_retrain_found_is_told_in_words_and_figures(made: RunFolder) -> None:
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
