"""The losses of every stage that learns."""

import re
from collections.abc import Mapping

from offline.reporting.charts import Line, legend, line_chart
from offline.reporting.facts import Curve, Facts
from offline.reporting.markup import Html, join
from offline.reporting.page import Section, absent, figure, grid, lead


def losses(facts: Facts) -> Section:
    """A chart for each kind of curve."""
    if not facts.losses:
        text = "The run kept no losses: it was trained by an earlier version."
        return Section("losses", "Losses", absent(text))
    charts = [_chart(name, lines) for curves in facts.losses.values() for name, lines in _families(curves)]
    text = "Means over equal stretches of the training. A curve that still falls at its end would gain from more steps."
    return Section("losses", "Losses", join(lead(text), grid(*charts)))


def _families(curves: Mapping[str, Curve]) -> list[tuple[str, list[Line]]]:
    """Curves that share an axis: those whose names begin alike, up to a comma or a number in brackets."""
    found: dict[str, list[Line]] = {}
    for name, curve in curves.items():
        family = re.split(r",| \(", name)[0]
        found.setdefault(family, []).append(Line(name, curve.steps, curve.loss))
    return list(found.items())


def _chart(name: str, lines: list[Line]) -> Html:
    drawing = line_chart(f"Loss: {name}", lines, x_label="optimiser steps", y_label="loss")
    return figure(name.capitalize(), drawing, legend([line.name for line in lines]) if len(lines) > 1 else None)
