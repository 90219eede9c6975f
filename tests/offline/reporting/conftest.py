"""A finished run by hand: six items whose Rec-IDs, counts and figures are known by eye, and no model.

```
row  id  title                     categories    training interactions   codes   top-20 lists it stands in
0    a   Blue <script>x</script>   sea           9                       0 0     3
1    b   Deep sea                  sea           5                       0 0     1
2    c   Coral                     sea, red      3                       0 1     0
3    d   Red rose                  land, red     2                       1 0     0
4    e   Oak                       land          1                       1 1     0
5    f   (none)                    (none)        0                       1 1     0
```
"""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline.reporting import write_report
from offline.reporting.latency_section import Latencies, Latency
from offline.run_folder import RunFolder
from service.contract.item_table import ItemTable

TITLES = ("Blue <script>x</script>", "Deep sea", "Coral", "Red rose", "Oak", "")
CATEGORIES = (("sea",), ("sea",), ("sea", "red"), ("land", "red"), ("land",), ())
COUNTS = (9, 5, 3, 2, 1, 0)
REC_IDS = ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1))
METRICS = {
    **{f"recall@{cutoff}": 0.1 + cutoff / 100 for cutoff in (5, 10, 20)},
    **{f"ndcg@{cutoff}": 0.05 + cutoff / 100 for cutoff in (5, 10, 20)},
    "generator_recall@20": 0.2612,
    "generator_ndcg@20": 0.2113,
    "dense_recall@20": 0.3214,
    "popularity_recall@20": 0.1,
    "popularity_ndcg@20": 0.0517,
    "users": 4.0,
    "users_without_history": 1.0,
    "beam_recall": 0.8765,
    "coverage@20": 2 / 6,
    "illegal": 0.0,
    "duplicates": 0.0,
    "seen": 0.0,
}
LOSSES = {
    "graph encoder": {"steps": [10, 20], "loss": [2.5, 1.25]},
    "graph encoder, temperature 0.2 (2)": {"steps": [10, 20], "loss": [3.5, 1.5]},
    "content to keys": {"steps": [20], "loss": [0.5]},
    "content to keys (2)": {"steps": [20], "loss": [0.25]},
    "nothing": {"steps": [], "loss": []},
}


def write_run(folder: Path) -> RunFolder:
    run = RunFolder(folder)
    folder.mkdir(parents=True)
    recipe = {"name": "tiny", "seed": 7, "rec_ids": {"min_code_usage": 0.5}}
    run.write_json("run.json", {"recipe": recipe, "dataset": "<script>alert(1)</script>", "dataset_sha256": "ab" * 32})
    run.write_json("metrics.json", METRICS)
    report = {"usage": [1.0, 1.0], "perplexity": [2.0, 2.0], "unique_share": 2 / 6, "largest_bucket": 2, "moved": 1}
    run.write_json("rec_ids.json", {"codebook_sizes": [2, 2], "popularity_size": 10, "report": report})
    run.save_arrays("rec_ids", {"rec_ids": np.array(REC_IDS, np.int32)})
    run.save_arrays("item_table", ItemTable(tuple("abcdef"), TITLES, CATEGORIES, np.array(COUNTS)).arrays())
    stage = {"seconds": 75.0, "sha256": {}, "peak_bytes": 3 * 2**30, "finished": "2026-11-28T12:34:56+00:00"}
    run.write_json("stages.json", dict.fromkeys(("graph", "rec_ids", "generator", "decoder", "metrics"), stage))
    run.write_json("losses.graph.json", LOSSES)
    data = {"users": 4, "items": 6, "train": 20, "valid": 2, "test": 4, "has_time": False, "features": {"text": 3}}
    data |= {"items_with_title": 5, "items_with_categories": 5, "items_without_interactions": 1}
    run.write_json("origin.json", {"data": data, "versions": [{"python": "3.11.7", "torch": "2.13.0"}]})
    run.save_arrays(
        "recommended",
        {
            "exposure": np.array([3, 1, 0, 0, 0, 0]),
            "lists": np.array(4),
            "history": np.array([2, 1, 4]),
            "history_start": np.array([0, 3, 3]),
            "items": np.array([[0, 5, -1], [0, 1, -1]]),
            "found": np.array([[True, False, False], [False, False, False]]),
        },
    )
    return run


@pytest.fixture
def made(tmp_path: Path) -> RunFolder:
    """The run, the test's own."""
    return write_run(tmp_path / "made")


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made run has none: its latency is told instead of measured."""
    told = Latencies((Latency(1, 20, 1.5, 2.5), Latency(8, 20, 4.0, 5.25)), 50, 1, "CPU")
    monkeypatch.setattr("offline.reporting.report.measure_latency", lambda *_: told)


@pytest.fixture
def changed(made: RunFolder) -> Callable[[str, dict[str, Any]], RunFolder]:
    """The run with other values in one of its JSON files."""

    def change(name: str, values: dict[str, Any]) -> RunFolder:
        made.write_json(name, made.read_json(name) | values)
        return made

    return change


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


def _rows(html: str) -> dict[str, list[str]]:
    cells = Cells()
    cells.feed(html)
    return {row[0]: row[1:] for row in cells.rows if row}


@pytest.fixture
def section() -> Callable[..., str]:
    """One section of the report of a run as it is written: run, anchor, and what `write_report` is given beside."""

    def written(run: RunFolder, anchor: str, **given: Any) -> str:
        page = write_report(run, **given).read_text()
        found = re.search(rf'<section id="{anchor}">.*?</section>', page, re.DOTALL)
        assert found, anchor
        return found[0]

    return written


@pytest.fixture
def head_of() -> Callable[..., str]:
    """The head of the report of a run, like `section`."""

    def written(run: RunFolder, **given: Any) -> str:
        found = re.search(r"<header>.*?</header>", write_report(run, **given).read_text(), re.DOTALL)
        assert found
        return found[0]

    return written


@pytest.fixture
def rows_of() -> Callable[[str], dict[str, list[str]]]:
    """The rows of all tables in some HTML: the first cell to the others."""
    return _rows
