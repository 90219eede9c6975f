"""How much of the catalogue is recommended, and how much more often the popular part of it."""

import numpy as np
import numpy.typing as npt

from offline.recommended import TOP
from offline.reporting.charts import Bars, Line, bar_chart, legend, line_chart, percentage, short
from offline.reporting.facts import Facts
from offline.reporting.markup import Content, join, tag
from offline.reporting.page import Section, absent, figure, lead, pairs

Shares = npt.NDArray[np.float64]


def exposure(facts: Facts) -> Section:
    """Shares by popularity, and the inequality of both."""
    title = "Coverage and popularity"
    kept = facts.recommended
    if kept is None or not kept.exposure.any():
        why = "The run kept no count of what it recommended; train it again to have it scored anew."
        return Section("exposure", title, absent(why if kept is None else "There were no users to recommend to."))
    counts = facts.table.train_counts.astype(np.float64)
    order = np.argsort(-counts, kind="stable")
    given, had = _shares(kept.exposure[order].astype(np.float64)), _shares(counts[order])
    names = ["training interactions", f"recommendations, top {TOP}"]
    drawing = bar_chart(
        "Shares by popularity of the items",
        [str(number) for number in range(1, len(_parts(had)) + 1)],
        [Bars(name, _parts(shares)) for name, shares in zip(names, (had, given), strict=True)],
        x_label="tenths of the items, most interacted first",
        y_label="share",
        percent=True,
    )
    lorenz = line_chart(
        "Cumulative shares",
        [_cumulative(name, shares) for name, shares in zip(names, (had, given), strict=True)],
        x_label="% of the items, least first",
        y_label="% of the total",
    )
    charts = tag(
        "div",
        figure("By popularity", drawing, legend(names)),
        figure("How unequal: the lower the curve, the more so", lorenz, legend(names)),
        class_="grid",
    )
    text = (
        f"The first {TOP} items of {kept.lists} lists. Where recommendations are more concentrated on the first tenths "
        "than interactions are, popular items are favoured beyond what users chose by themselves."
    )
    return Section("exposure", title, join(lead(text), charts, pairs(_figures(facts, had, given))))


def _figures(facts: Facts, had: Shares, given: Shares) -> list[tuple[str, Content]]:
    metrics, used = facts.metrics, int((given > 0).sum())
    rows: list[tuple[str, Content]] = [
        ("coverage@20", f"{used} of {facts.num_items} items, {percentage(used / facts.num_items)}"),
        ("Gini index", f"{_gini(given):.4f} of the recommendations, {_gini(had):.4f} of the training interactions"),
    ]
    if "popularity@20" in metrics:
        rows.append(("popularity@20", f"{short(metrics['popularity@20'])} training interactions of a recommended item"))
    if "novelty@20" in metrics:
        rows.append(("novelty@20", f"{metrics['novelty@20']:.2f} bits of self-information of a recommended item"))
    return rows


def _shares(values: Shares) -> Shares:
    total = values.sum()
    return values / total if total else values


def _parts(shares: Shares) -> list[float]:
    """Sums over ten equal parts; fewer where there are fewer items."""
    return [float(part.sum()) for part in np.array_split(shares, min(10, len(shares)))]


def _cumulative(name: str, shares: Shares) -> Line:
    """The Lorenz curve, 100 points at most, in percent."""
    points = np.unique(np.linspace(0, len(shares), 101).astype(np.int64))
    sums = np.concatenate([[0.0], np.cumsum(np.sort(shares))])
    return Line(name, (100 * points / len(shares)).tolist(), (100 * sums[points]).tolist())


def _gini(shares: Shares) -> float:
    """As `offline.beyond_accuracy.exposure_gini`, of shares."""
    if len(shares) < 2 or not shares.any():
        return 0.0
    places = 2 * np.arange(1, len(shares) + 1) - len(shares) - 1
    return float(places @ np.sort(shares) / shares.sum() / (len(shares) - 1))
