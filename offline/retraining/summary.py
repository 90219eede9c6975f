"""What `retrain` prints at its end, for schedulers and people: one JSON object."""

from typing import Any

from offline.retraining.run_record import Result, RunRecord

EVENT_COUNTS = ("read", "archived", "duplicates", "unreadable", "tombstones", "removed")
SNAPSHOT_COUNTS = ("interactions", "items", "events", "unknown_items", "clock_ahead", "clock_behind", "forgotten")


def summary_of(record: RunRecord, state: str, gate: Result | None, streams: dict[str, Any], *, worked: bool) -> Result:
    """The summary of a run.

    Args:
        record: of the run; of the last one where there was nothing to do.
        state: how it ended: "published", "refused" or "nothing_new".
        gate: the verdict, where there was one.
        streams: size and age of each event stream, now.
        worked: whether anything was done; else no events were read.
    """
    catalogue = (gate or {}).get("catalogue", {})
    start = record.result("start")
    compared = record.result("compare").get("found", {})
    archived = record.result("archive") if worked else {}
    return {
        "result": state,
        "version": record.version,
        "run": str(record.folder),
        "recipe": record.plan["recipe"],
        "seed": record.plan["seed"],
        "started_from": start.get("from"),
        "cold_because": start.get("cold_because"),
        "steps": record.seconds() if worked else {},
        "events": {
            **{name: archived.get(name, 0) for name in EVENT_COUNTS},
            "gaps": record.plan["gaps"] if worked else [],
        },
        "dataset": {name: record.result("snapshot").get(name, 0) for name in SNAPSHOT_COUNTS},
        "items_added": catalogue.get("added"),
        "items_removed": catalogue.get("removed"),
        "metrics": {
            "test": record.result("train").get("metrics", {}),
            **{name: compared[name] for name in ("new", "served") if name in compared},
        },
        "gate": gate,
        "streams": streams,
    }
