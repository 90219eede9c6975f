"""Mean and standard deviation of figures over seeds."""

import statistics
from collections.abc import Mapping, Sequence

Spread = dict[str, float | None]


def spread(values: Sequence[float | None]) -> Spread:
    """Mean and sample standard deviation of what was measured; None without it, no deviation of a single value."""
    measured = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(measured) if measured else None,
        "std": statistics.stdev(measured) if len(measured) > 1 else None,
    }


def spreads(rows: Sequence[Mapping[str, float | None]]) -> dict[str, Spread]:
    """The spread of every figure, in the order of the first row that has it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: spread([row.get(name) for row in rows]) for name in names}
