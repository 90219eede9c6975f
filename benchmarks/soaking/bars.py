"""The bars of the soak (issue 5, "Must show"): what must be reached, and what was found."""

from typing import Any, NamedTuple

from benchmarks.soaking.answers import FAULTS

MOST_NEW_THREADS = 8
"""Pools of threads grow to a bound (that of asyncio: cores and four more); a leak would pass it in any long run."""
MOST_NEW_DESCRIPTORS = 24
"""Connections to Redis are kept: at most 16 for writes at once, and a few for reads and releases."""


class Bar(NamedTuple):
    """One bar.

    Attributes:
        path: keys that lead to the value in the report.
        must: the limit.
        at_least: whether the value is to be at least the limit; else at most.
    """

    path: str
    must: float
    at_least: bool = False

    def judge(self, report: dict[str, Any]) -> dict[str, Any]:
        """The bar beside its value; `met` is None for what was not measured."""
        value: Any = report
        for key in self.path.split("."):
            value = value[key]
        met = None if value is None else value >= self.must if self.at_least else value <= self.must
        return {"must": self.must, "value": value, "met": met}


BARS = (
    Bar("recommendations.status_5xx", 0),
    Bar("recommendations.share_200", 0.999, at_least=True),
    Bar("recommendations.neither_200_nor_429", 0),
    *(Bar(f"faults.{name}", 0) for name in FAULTS),
    Bar("answers.otherwise", 0),
    Bar("answers.not_flagged", 0),
    Bar("events.refused.otherwise", 0),
    Bar("events.lost", 0),
    Bar("swaps.missed", 0),
    Bar("swaps.memory_ratio", 1.1),
    Bar("grown.threads", MOST_NEW_THREADS),
    Bar("grown.descriptors", MOST_NEW_DESCRIPTORS),
    Bar("log_errors", 0),
    Bar("exit_code", 0),
)


def judge(report: dict[str, Any]) -> dict[str, Any]:
    """Every bar by the place of its value, and whether all that was measured is met."""
    bars = {bar.path: bar.judge(report) for bar in BARS}
    return {"bars": bars, "all_met": all(bar["met"] is not False for bar in bars.values())}
