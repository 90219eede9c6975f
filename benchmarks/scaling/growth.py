"""What grew faster than the log: ratios of the largest size to the smallest, and the bars."""

from collections.abc import Sequence
from typing import Any

from benchmarks.scaling.stages import UNITS

MOST_GROWTH = 1.5
"""Of a stage's time for one interaction (item, user), from the smallest log to the largest; linear = 1."""


def growth(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By stage: how many times as long one unit of its work takes at the largest size as at the smallest.

    In seconds of the processor, which neighbours on the machine disturb least. Beside it how the peak of its memory
    grew; the log itself grew by `interactions`.
    """
    smallest, largest = reports[0], reports[-1]
    found = {}
    for stage, unit in UNITS.items():
        small, large = smallest["stages"][stage], largest["stages"][stage]
        units = largest[unit.replace(" ", "_")] / smallest[unit.replace(" ", "_")]
        found[stage] = {
            "unit": unit,
            "seconds_per_unit": round(large["projected_cpu_seconds"] / small["projected_cpu_seconds"] / units, 3),
            "peak_mib": round(large["peak_mib"] / small["peak_mib"], 3),
        }
    return {"interactions": round(largest["interactions"] / smallest["interactions"], 3), "stages": found}


def bars(grown: dict[str, Any]) -> dict[str, Any]:
    """Every stage's growth in time beside its limit."""
    values = {stage: figures["seconds_per_unit"] for stage, figures in grown["stages"].items()}
    verdicts = {
        name: {"must": MOST_GROWTH, "value": value, "met": value <= MOST_GROWTH} for name, value in values.items()
    }
    return {"bars": verdicts, "all_met": all(verdict["met"] for verdict in verdicts.values())}
