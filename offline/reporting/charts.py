"""Charts as inline SVG: drawn for the width of a phone, so that text stays readable there; colours come from the page.

A library would draw into a picture of its own: its fonts and colours would not follow the page into the dark, and
nothing could be said on hover.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from offline.reporting.markup import Html, tag

WIDTH, HEIGHT = 360.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 10.0, 12.0, 40.0
MAX_LABELS = 10
LARGEST_SPAN = 50
FAR_FROM_ZERO = 0.35
"""A curve that stays above this share of its highest value is looked at closely, not from zero on."""


class Line(NamedTuple):
    """A curve: its name, and as many x as y."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Bars(NamedTuple):
    """One series of bars: its name, and a height for every label of the chart."""

    name: str
    heights: Sequence[float]


class Axis(NamedTuple):
    """An axis from `low` to `high` with ticks; logarithmic where `log`."""

    low: float
    high: float
    ticks: Sequence[float]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value stands, 0 at the low end and 1 at the high."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def line_chart(title: str, lines: Sequence[Line], *, x_label: str, y_label: str) -> Html:
    """Curves over common axes; the vertical one is logarithmic where they span more than a factor of 50.

    Args:
        title: what is seen, for those who do not see it.
        lines: at least one, each with at least one point, finite.
        x_label: with unit.
        y_label: with unit.
    """
    x_axis = fitted_axis([value for line in lines for value in line.x])
    values = [value for line in lines for value in line.y]
    y_axis = linear_axis(values, from_zero=min(values) < FAR_FROM_ZERO * max(values))
    if 0 < LARGEST_SPAN * min(values) < max(values):
        y_axis = log_axis(values)
    curves = []
    for number, line in enumerate(lines):
        points = [(_x(x_axis.place(x)), _y(y_axis.place(y))) for x, y in zip(line.x, line.y, strict=True)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        curves.append(tag("path", tag("title", line.name), d=path, class_=f"line s{number % 8}"))
    x_ticks = [(_x(x_axis.place(tick)), short(tick)) for tick in x_axis.ticks]
    return _chart(title, [*_frame(y_axis, x_ticks, x_label, y_label), *curves])


def step_chart(title: str, heights: Sequence[float], *, x_label: str, y_label: str) -> Html:
    """Many bars without gaps, as one area; x counts them from 1."""
    y_axis = linear_axis(heights)
    count = len(heights)
    corners = [f"M{_x(0):.1f} {_y(0):.1f}"]
    previous = None
    for at, height in enumerate(heights):
        if height != previous:
            corners.append(f"L{_x(at / count):.1f} {_y(y_axis.place(previous or 0)):.1f}")
            corners.append(f"L{_x(at / count):.1f} {_y(y_axis.place(height)):.1f}")
        previous = height
    corners.append(f"L{_x(1):.1f} {_y(y_axis.place(previous or 0)):.1f}L{_x(1):.1f} {_y(0):.1f}Z")
    ticks = [tick for tick in linear_axis([count]).ticks if 0 < tick <= count]
    x_ticks = [(_x((tick - 0.5) / count), short(tick)) for tick in ticks]
    area = tag("path", d="".join(corners), class_="area s0")
    return _chart(title, [*_frame(y_axis, x_ticks, x_label, y_label), area])


def bar_chart(
    title: str, labels: Sequence[str], series: Sequence[Bars], *, x_label: str, y_label: str, percent: bool = False
) -> Html:
    """Bars beside each other under every label; each says its value on hover."""
    y_axis = linear_axis([height for bars in series for height in bars.heights])
    say = percentage if percent else short
    slot = (WIDTH - LEFT - RIGHT) / len(labels)
    width = min(28.0, slot * 0.8 / len(series))
    drawn = []
    for number, bars in enumerate(series):
        for at, (label, height) in enumerate(zip(labels, bars.heights, strict=True)):
            x = LEFT + (at + 0.5) * slot + (number - len(series) / 2) * width
            top = _y(y_axis.place(height))
            hover = tag("title", f"{bars.name}, {label}: {say(height)}")
            shape = {"x": x + 0.5, "y": top, "width": max(0.5, width - 1), "height": max(0.0, _y(0) - top)}
            drawn.append(tag("rect", hover, **shape, rx=1.5, class_=f"s{number % 8}"))
    every = -(-len(labels) // MAX_LABELS)
    x_ticks = [(LEFT + (at + 0.5) * slot, label) for at, label in enumerate(labels) if at % every == 0]
    return _chart(title, [*_frame(y_axis, x_ticks, x_label, y_label, percent=percent), *drawn])


def ranked_bars(title: str, named: Sequence[tuple[str, float]], *, own: str, axis_label: str) -> Html:
    """One horizontal bar for each name, longest first, with its value; the bar called `own` stands out."""
    ordered = sorted(named, key=lambda pair: -pair[1])
    left, right, row = 112.0, 56.0, 21.0
    longest = max((value for _, value in ordered), default=0.0) or 1.0
    drawn = []
    for at, (name, value) in enumerate(ordered):
        middle, length = TOP + (at + 0.5) * row, value / longest * (WIDTH - left - right)
        class_ = "own" if name == own else ""
        drawn += [
            tag("text", name, x=left - 8, y=middle + 4, text_anchor="end", class_=f"label {class_}".strip()),
            tag("rect", x=left, y=middle - 7, width=max(1.0, length), height=14.0, rx=2, class_=class_ or "other"),
            tag("text", f"{value:.4f}", x=left + length + 6, y=middle + 4, class_=f"label {class_}".strip()),
        ]
    bottom = TOP + len(ordered) * row
    drawn.append(tag("text", axis_label, x=left, y=bottom + 18, class_="axis"))
    return _chart(title, drawn, height=bottom + 26)


def legend(names: Sequence[str], *, swatches: Sequence[str] | None = None) -> Html:
    """Names beside the colours of a chart's series; it stands below the chart, where it wraps as the page is wide."""
    classes = swatches or [f"s{number % 8}" for number in range(len(names))]
    entries = [
        tag("li", tag("span", class_=f"swatch {class_}"), name) for name, class_ in zip(names, classes, strict=True)
    ]
    return tag("ul", *entries, class_="legend")


def linear_axis(values: Sequence[float], *, from_zero: bool = True) -> Axis:
    """An axis between round ticks, four to six of them, that holds all values."""
    low, high = _span(min(0.0, *values) if from_zero else min(values), max(values))
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, [number * step for number in range(first, last + 1)])


def fitted_axis(values: Sequence[float]) -> Axis:
    """An axis from the lowest value to the highest, with the round ticks between them."""
    low, high = _span(min(values), max(values))
    step = _round_step((high - low) / 4)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, [number * step for number in range(first, last + 1)])


def log_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis from the power of ten below the values to that above."""
    first = math.floor(math.log10(min(values)))
    last = max(first + 1, math.ceil(math.log10(max(values))))
    return Axis(10.0**first, 10.0**last, [10.0**power for power in range(first, last + 1)], log=True)


def short(value: float) -> str:
    """A number as it stands at an axis: 0.05, 12, 3.4k, 2M."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def percentage(value: float) -> str:
    """A share in percent, with three figures at most."""
    return f"{100 * value:.3g} %"


def _span(low: float, high: float) -> tuple[float, float]:
    """Both, apart from each other."""
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _frame(
    y_axis: Axis, x_ticks: Sequence[tuple[float, str]], x_label: str, y_label: str, *, percent: bool = False
) -> list[Html]:
    """Grid lines, ticks and the names of both axes."""
    say = percentage if percent else short
    drawn = []
    for tick in y_axis.ticks:
        y = _y(y_axis.place(tick))
        drawn.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        drawn.append(tag("text", say(tick), x=LEFT - 6, y=y + 3.5, text_anchor="end", class_="tick"))
    for x, label in x_ticks:
        drawn.append(tag("text", label, x=x, y=HEIGHT - BOTTOM + 15, text_anchor="middle", class_="tick"))
    across, down = LEFT + (WIDTH - LEFT - RIGHT) / 2, TOP + (HEIGHT - TOP - BOTTOM) / 2
    drawn.append(tag("text", x_label, x=across, y=HEIGHT - 6, text_anchor="middle", class_="axis"))
    turned = f"rotate(-90 11 {down:.1f})"
    drawn.append(tag("text", y_label, x=11, y=down, text_anchor="middle", transform=turned, class_="axis"))
    return drawn


def _chart(title: str, drawn: Sequence[Html], *, height: float = HEIGHT) -> Html:
    box = f"0 0 {WIDTH:.0f} {height:.0f}"
    return tag("svg", *drawn, viewBox=box, role="img", aria_label=title, class_="chart")
