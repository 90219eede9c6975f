"""The bars of issue 3: what must be reached, what is aimed at, and what was measured."""

from typing import Any, NamedTuple

Figures = dict[str, Any]


class Bar(NamedTuple):
    """One bar.

    Attributes:
        path: keys that lead to the value in the report.
        must: the limit.
        goal: what is aimed at beyond it.
        at_least: whether the value is to be at least the limit; else at most.
    """

    path: tuple[str, ...]
    must: float
    goal: float
    at_least: bool = False

    def judge(self, report: Figures) -> Figures:
        """The bar beside its value; `met` is None for what was not measured."""
        value: Any = report
        for key in self.path:
            value = value.get(key) if value is not None else None
        verdict: Figures = {"must": self.must, "goal": self.goal, "value": value}
        for name, limit in (("met", self.must), ("goal_met", self.goal)):
            verdict[name] = None if value is None else value >= limit if self.at_least else value <= limit
        return verdict


BARS = (
    Bar(("speedup_over_generate", "1"), 8, 15, at_least=True),
    Bar(("speedup_over_generate", "8"), 14, 30, at_least=True),
    Bar(("over_floor", "1"), 4.0, 2.5),
    Bar(("over_floor", "32"), 2.5, 1.6),
    Bar(("catalogue_10m_over_10k",), 1.15, 1.05),
    Bar(("flat_crossover_items",), 300_000, 100_000),
    Bar(("filter_overhead",), 0.10, 0.05),
)


def judge(report: Figures) -> Figures:
    """Every bar by the name of its value."""
    return {".".join(bar.path): bar.judge(report) for bar in BARS}
