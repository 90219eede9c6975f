"""The losses of every stage that learns."""

from offline.reporting.charts import Line, legend, line_chart
from offline.reporting.facts import Facts
from offline.reporting.markup import join
from offline.reporting.page import Section, absent, figure, grid, lead

STAGE_NAMES = {"graph": "Graph encoder", "rec_ids": "Quantizer", "generator": "Generator"}


def losses(facts: Facts) -> Section:
    """A chart for each stage."""
    if not facts.losses:
        text = "The run kept no losses: it was trained by an earlier version."
        return Section("losses", "Losses", absent(text))
    charts = []
    for stage, curves in facts.losses.items():
        lines = [Line(name, curve.steps, curve.loss) for name, curve in curves.items()]
        name = STAGE_NAMES.get(stage, stage)
        drawing = line_chart(f"Losses of stage {stage}", lines, x_label="optimiser steps", y_label="loss")
        charts.append(figure(name, drawing, legend([line.name for line in lines])))
    text = "Means over equal stretches of the training. A curve that still falls at its end would gain from more steps."
    return Section("losses", "Losses", join(lead(text), grid(*charts)))
