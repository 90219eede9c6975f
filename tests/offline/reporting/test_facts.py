"""What a report reads: a damaged or unfinished run is named with its cure, what an old run lacks is no error."""

import json
from typing import Any

import numpy as np
import pytest

from offline.errors import BadInputError
from offline.reporting.facts import Curve, StageRecord, read_facts
from offline.run_folder import RunFolder


def test_a_whole_run_is_read(made: RunFolder) -> None:
    facts = read_facts(made)
    assert (facts.num_items, facts.codes.shape, facts.has_titles) == (6, (6, 2), True)
    assert facts.losses["graph"]["graph encoder"] == Curve([10, 20], [2.5, 1.25])
    assert list(facts.stages) == ["graph", "rec_ids", "generator", "decoder", "metrics"]
    assert (facts.gate, facts.version) == (None, None)
    assert facts.most_interacted(np.array([5, 3, 4]), 2) == [3, 4]
    assert [facts.name_of(row) for row in (1, 5)] == ["Deep sea", "f"]


def test_an_unfinished_run_is_refused_with_the_cure(made: RunFolder) -> None:
    made.write_json("stages.json", {"graph": 1.0, "decoder": 2.0})
    with pytest.raises(
        BadInputError, match=r"stage 'metrics' is missing; run: python -m offline train .* --run .*made"
    ):
        read_facts(made)


def test_a_run_of_an_earlier_version_lacks_what_it_did_not_keep(made: RunFolder) -> None:
    for name in ("losses.graph.json", "origin.json", "recommended.npz"):
        (made.folder / name).unlink()
    made.write_json("stages.json", {"metrics": 4.5, "graph": 1})
    facts = read_facts(made)
    assert (facts.losses, facts.origin, facts.recommended) == ({}, {}, None)
    assert list(facts.stages.items()) == [
        ("graph", StageRecord(1, None, "")),
        ("metrics", StageRecord(4.5, None, "")),
    ]


NEEDED = ("run.json", "metrics.json", "rec_ids.json", "rec_ids.npz", "item_table.npz")
OPTIONAL = ("losses.graph.json", "origin.json", "gate.json", "summary.json", "recommended.npz")


@pytest.mark.parametrize("name", [*NEEDED, *OPTIONAL])
@pytest.mark.parametrize("content", [b"", b'{"a": ', b"[1, 2]", b"\xff\xfe"])
def test_damaged_files_are_named(made: RunFolder, name: str, content: bytes) -> None:
    (made.folder / name).write_bytes(content)
    with pytest.raises(BadInputError, match=rf"{name} cannot be (read|used) .*train the run again"):
        read_facts(made)


@pytest.mark.parametrize("name", NEEDED)
def test_missing_files_are_named(made: RunFolder, name: str) -> None:
    (made.folder / name).unlink()
    with pytest.raises(BadInputError, match=rf"{name} cannot be read .*train the run again"):
        read_facts(made)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run.json", {"recipe": {}}),
        ("metrics.json", {"recall@20": "much"}),
        ("metrics.json", {"recall@20": None}),
        ("rec_ids.json", {"codebook_sizes": [2, 2]}),
        ("rec_ids.json", {"codebook_sizes": [2, 1], "report": {}}),
        ("rec_ids.json", {"codebook_sizes": [2], "report": {}}),
        ("losses.graph.json", {"a": {"steps": [1, 2], "loss": [1.0]}}),
        ("losses.graph.json", {"a": {"steps": [1], "loss": ["x"]}}),
        ("losses.graph.json", {"a": {"steps": [1], "loss": [float("nan")]}}),
        ("losses.graph.json", {"a": [1, 2]}),
        ("origin.json", {"data": {"features": {}}, "versions": []}),
        ("origin.json", {"versions": []}),
        ("stages.json", {"metrics": {"seconds": 1, "peak_bytes": "many"}}),
    ],
)
def test_json_of_another_shape_is_named(made: RunFolder, name: str, value: dict[str, Any]) -> None:
    (made.folder / name).write_text(json.dumps(value))
    named = "rec_ids.(json|npz)" if name == "rec_ids.json" else name
    with pytest.raises(BadInputError, match=rf"{named} cannot be used .*train the run again"):
        read_facts(made)


@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("rec_ids", {"rec_ids": np.zeros((5, 3), np.int32)}),
        ("rec_ids", {"rec_ids": np.zeros((6, 3), np.float32)}),
        ("rec_ids", {"codes": np.zeros((6, 3), np.int32)}),
        ("rec_ids", {"rec_ids": np.full((6, 3), -1, np.int32)}),
        ("item_table", {"items.id.bytes": np.zeros(3, np.uint8)}),
        ("recommended", {"exposure": np.zeros(6, np.int64)}),
        ("recommended", {"exposure": np.zeros(5, np.int64)}),
    ],
)
def test_arrays_of_another_shape_are_named(made: RunFolder, name: str, arrays: dict[str, Any]) -> None:
    made.save_arrays(name, arrays)
    with pytest.raises(BadInputError, match=rf"{name}.npz cannot be used .*train the run again"):
        read_facts(made)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exposure", np.zeros(5, np.int64)),
        ("history", np.array([0, 6, 1])),
        ("items", np.array([[6, 0, 0], [0, 0, 0]])),
        ("found", np.zeros((2, 2), bool)),
        ("history_start", np.array([0, 3])),
    ],
)
def test_recommendations_of_another_catalogue_are_named(made: RunFolder, name: str, value: Any) -> None:
    made.save_arrays("recommended", made.load_arrays("recommended") | {name: value})
    with pytest.raises(BadInputError, match=r"recommended.npz cannot be used \(its arrays do not fit a catalogue of 6"):
        read_facts(made)
