"""Everything that a report reads from its run folder, checked before a line is written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from offline.errors import BadInputError
from offline.origin import ORIGIN_FILE
from offline.recommended import Recommended, load_recommended
from offline.reporting.gate_verdict import GateVerdict, read_verdict, read_version
from offline.run_folder import RunFolder
from service.contract.item_table import ItemTable
from service.contract.rec_id import Int32Array

STAGES = ("graph", "rec_ids", "generator", "decoder", "metrics")


COUNTS = (
    *("users", "items", "train", "valid", "test", "has_time"),
    *("items_with_title", "items_with_categories", "items_without_interactions"),
)
"""What `origin.json` counts in the data."""


class StageRecord(NamedTuple):
    """What is noted of a finished stage; `peak_bytes` is None and `finished` (UTC) empty where it is not known."""

    seconds: float
    peak_bytes: float | None
    finished: str


class Curve(NamedTuple):
    """A loss over the steps of a training."""

    steps: list[float]
    loss: list[float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """What the files of a finished run say.

    Attributes:
        description: recipe, seed, dataset and its fingerprint.
        metrics: of the test split.
        stages: the finished stages in their order.
        rec_ids: int32 [N, L + 1], in the order of the item table.
        rec_id_description: sizes of the levels and the report that was made of them.
        table: the items.
        origin: versions and counts; empty where the run was made by a version that did not note them.
        losses: stage to curve to its points; empty like `origin`.
        recommended: None like `origin`.
        gate: verdict, None where the run has met no gate of `retrain`.
        version: that the run was published as by `retrain`, None where it was not.
    """

    run: RunFolder
    description: Mapping[str, Any]
    metrics: Mapping[str, float]
    stages: Mapping[str, StageRecord]
    rec_ids: Int32Array
    rec_id_description: Mapping[str, Any]
    table: ItemTable
    origin: Mapping[str, Any]
    losses: Mapping[str, Mapping[str, Curve]]
    recommended: Recommended | None
    gate: GateVerdict | None
    version: str | None

    @property
    def num_items(self) -> int:
        """Items of the catalogue."""
        return len(self.table)

    @property
    def codes(self) -> Int32Array:
        """int32 [N, L], without the popularity token."""
        return self.rec_ids[:, :-1]

    @cached_property
    def has_titles(self) -> bool:
        """Whether any item has one."""
        return any(self.table.titles)

    def name_of(self, row: int) -> str:
        """Title of an item, or its id where it has none."""
        return self.table.titles[row] or self.table.item_ids[row]

    def most_interacted(self, rows: npt.NDArray[np.int64], count: int) -> list[int]:
        """Of some item rows those with the most training interactions, most first."""
        order = np.argsort(-self.table.train_counts[rows], kind="stable")[:count]
        return [int(row) for row in rows[order]]


def read_facts(run: RunFolder) -> Facts:
    """Read a finished run.

    Raises:
        BadInputError: it is not finished, or a file is missing or damaged; names it and the cure.
    """
    run.require("metrics")
    table = _item_table(run)
    rec_ids, description = _rec_ids(run, len(table))
    return Facts(
        run=run,
        description=_with_keys(run, "run.json", ("recipe", "dataset", "dataset_sha256")),
        metrics=_numbers(run, "metrics.json"),
        stages=_stages(run),
        rec_ids=rec_ids,
        rec_id_description=description,
        table=table,
        origin=_origin(run),
        losses={stage: curves for stage in STAGES if (curves := _curves(run, f"losses.{stage}.json"))},
        recommended=load_recommended(run, len(table)),
        gate=read_verdict(run),
        version=read_version(run),
    )


def _stages(run: RunFolder) -> dict[str, StageRecord]:
    """JSON keeps keys sorted; these are the stages as they run, whatever is unknown behind them."""
    records = run.stage_records()
    ordered = {name: records[name] for name in STAGES if name in records} | records
    try:
        return {
            name: StageRecord(
                seconds=record["seconds"],
                peak_bytes=None if record.get("peak_bytes") is None else float(record["peak_bytes"]),
                finished=str(record.get("finished", ""))[:19].replace("T", " "),
            )
            for name, record in ordered.items()
        }
    except (TypeError, ValueError) as error:
        raise _damaged(run, "stages.json", error) from error


def _origin(run: RunFolder) -> dict[str, Any]:
    """What `offline.origin` wrote, with everything that is read of it; or nothing."""
    found = _optional(run, ORIGIN_FILE)
    if found is None:
        return {}
    data, versions = found.get("data"), found.get("versions")
    if not isinstance(data, dict) or not isinstance(data.get("features"), dict):
        raise _damaged(run, ORIGIN_FILE, "it lacks the counts of the data")
    if missing := [name for name in COUNTS if not isinstance(data.get(name), int)]:
        raise _damaged(run, ORIGIN_FILE, f"its data lacks {', '.join(missing)}")
    if not isinstance(versions, list) or not all(isinstance(each, dict) for each in versions):
        raise _damaged(run, ORIGIN_FILE, "it lacks the versions")
    return found


def _item_table(run: RunFolder) -> ItemTable:
    try:
        return ItemTable.from_arrays(run.load_arrays("item_table"))
    except BadInputError:
        raise
    except (ValueError, IndexError, TypeError) as error:
        raise _damaged(run, "item_table.npz", error) from error


def _rec_ids(run: RunFolder, num_items: int) -> tuple[Int32Array, dict[str, Any]]:
    description = _with_keys(run, "rec_ids.json", ("codebook_sizes", "report"))
    rec_ids = run.load_arrays("rec_ids").get("rec_ids", np.zeros((0, 0), np.int32))
    num_levels = len(description["codebook_sizes"]) + 1
    if rec_ids.shape != (num_items, num_levels) or not np.issubdtype(rec_ids.dtype, np.integer):
        raise _damaged(run, "rec_ids.npz", f"Rec-IDs {rec_ids.shape}, not {(num_items, num_levels)}")
    sizes = [int(size) for size in description["codebook_sizes"]]
    if (rec_ids.min(initial=0) < 0) or (rec_ids[:, :-1].max(axis=0, initial=0) >= sizes).any():
        raise _damaged(run, "rec_ids.npz", f"a code outside of the codebooks {sizes}")
    return rec_ids.astype(np.int32), description


def _with_keys(run: RunFolder, name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    found = run.read_json(name)
    if missing := [key for key in keys if key not in found]:
        raise _damaged(run, name, f"it lacks {', '.join(missing)}")
    return found


def _optional(run: RunFolder, name: str) -> dict[str, Any] | None:
    return run.read_json(name) if (run.folder / name).exists() else None


def _numbers(run: RunFolder, name: str) -> dict[str, float]:
    try:
        return {metric: float(value) for metric, value in run.read_json(name).items()}
    except (TypeError, ValueError) as error:
        if isinstance(error, BadInputError):
            raise
        raise _damaged(run, name, error) from error


def _curves(run: RunFolder, name: str) -> dict[str, Curve]:
    """The curves of a stage, without the empty ones.

    Raises:
        BadInputError: a curve is not as many steps as finite losses.
    """
    curves = {}
    for curve, points in (_optional(run, name) or {}).items():
        try:
            steps, loss = [float(step) for step in points["steps"]], [float(value) for value in points["loss"]]
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(run, name, f"curve {curve!r}: {error!r}") from error
        if len(steps) != len(loss) or not all(map(math.isfinite, steps + loss)):
            raise _damaged(run, name, f"curve {curve!r} is not as many steps as finite losses")
        if steps:
            curves[str(curve)] = Curve(steps, loss)
    return curves


def _damaged(run: RunFolder, name: str, why: object) -> BadInputError:
    return BadInputError(f"{run.folder / name} cannot be used ({why}); train the run again")
