"""What stands on the page is what stands in the run's files, and what is not there is said."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from offline.beyond_accuracy import exposure_gini
from offline.run_folder import RunFolder

Changed = Callable[[str, dict[str, Any]], RunFolder]
pytestmark = pytest.mark.usefixtures("no_decoder")


def test_the_metrics_are_those_of_the_run(made: RunFolder, section: Any, rows_of: Any) -> None:
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


def test_a_generator_above_the_served_list_is_explained(made: RunFolder, changed: Changed, section: Any) -> None:
    said = "chosen on the validation split"
    served = made.read_json("metrics.json")
    assert said not in section(made, "quality")
    run = changed("metrics.json", {"generator_ndcg@20": served["ndcg@20"] + 0.001})
    assert said in section(run, "quality")
    assert "above the served list in ndcg@20." in section(run, "quality")


def test_a_run_without_held_out_items_says_so(made: RunFolder, section: Any) -> None:
    made.write_json("metrics.json", {"users": 0.0, "illegal": 0.0})
    assert "holds nothing out for test" in section(made, "quality")
    assert "recall@20" not in section(made, "quality")


def test_losses_have_a_chart_for_each_kind_of_curve(made: RunFolder, section: Any) -> None:
    html = section(made, "losses")
    assert re.findall(r"<h3>(.*?)</h3>", html) == ["Content to keys", "Graph encoder"]
    assert html.count("<svg") == 2
    assert html.count('class="line ') == 4
    assert "</span>graph encoder, temperature 0.2 (2)</li>" in html
    assert "nothing" not in html
    made.write_json("losses.graph.json", {"quantizer": {"steps": [1, 2], "loss": [2, 1]}})
    assert "<li>" not in section(made, "losses")  # a curve alone needs no legend
    (made.folder / "losses.graph.json").unlink()
    assert "kept no losses" in section(made, "losses")


def test_codebooks_say_what_was_reported_of_them(made: RunFolder, section: Any, rows_of: Any) -> None:
    html = section(made, "codebooks")
    assert rows_of(html)["level 0"] == ["2 of 2", "100 %", "50 %", "2.0", "0.2", "50 %"]
    assert html.count("<svg") == 2
    assert "1 items got another last code" in html


def test_the_tree_names_its_largest_branches(made: RunFolder, section: Any, rows_of: Any) -> None:
    html = section(made, "tree")
    assert html.count("<path") == 6
    assert rows_of(html)["1"] == ["3", "Red rose \u00b7 Oak \u00b7 f"]
    assert "Blue &lt;script&gt;x&lt;/script&gt;" in html


def test_buckets_are_counted_and_the_largest_is_named(made: RunFolder, section: Any, rows_of: Any) -> None:
    html = section(made, "buckets")
    assert "The largest holds 2 items" in html
    assert "codes 0 \u00b7 0" in html
    assert rows_of(html)["Blue <script>x</script>"] == ["9"]
    assert "33.3 % of the items have their codes to themselves" in html
    assert "items, 2: 66.7 %" in html


def test_items_that_are_all_alone_have_no_largest_bucket(made: RunFolder, section: Any) -> None:
    made.save_arrays("rec_ids", {"rec_ids": np.column_stack([np.arange(6), np.zeros((6, 2), int)]).astype(np.int32)})
    made.write_json("rec_ids.json", made.read_json("rec_ids.json") | {"codebook_sizes": [6, 1]})
    assert "No two items share all their codes." in section(made, "buckets")


def test_exposure_by_popularity_is_that_of_the_lists(made: RunFolder, section: Any) -> None:
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
def test_a_run_that_kept_no_recommendations_says_so(made: RunFolder, anchor: str, section: Any) -> None:
    (made.folder / "recommended.npz").unlink()
    assert "train it again to have it scored anew" in section(made, anchor)


def test_examples_show_history_answer_and_reason(made: RunFolder, section: Any) -> None:
    html = section(made, "examples")
    text = re.sub(r"<[^>]+>", "|", html)
    assert "A user with 3 items" in html
    assert "Oak \u00b7 Deep sea \u00b7 Coral" in html  # newest first
    # Item 0 has the codes of item 1, which the user had; item 5 those of item 4.
    assert re.search(r"x&lt;/script&gt;\| ✓\|+shares 2 of 2 codes with Deep sea\|", text)
    assert re.search(r"\|f\|+shares 2 of 2 codes with Oak\|", text)
    assert html.count("✓") == 1
    assert html.count("<ol") == 1  # the other user has no history


def test_items_without_titles_have_no_examples(made: RunFolder, section: Any) -> None:
    arrays = made.load_arrays("item_table")
    arrays |= {"items.title.bytes": np.zeros(0, np.uint8), "items.title.start": np.zeros(7, np.int64)}
    made.save_arrays("item_table", arrays)
    assert "no titles" in section(made, "examples")


def test_stages_data_and_versions(made: RunFolder, section: Any, rows_of: Any) -> None:
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


def test_latency_is_as_measured(made: RunFolder, section: Any, rows_of: Any) -> None:
    html = section(made, "latency")
    assert rows_of(html)["8"] == ["4.00", "5.25", "2000", "20"]
    assert "1 thread" in html
