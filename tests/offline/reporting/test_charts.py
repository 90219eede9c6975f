"""Charts: bars and curves stand where their values are, axes hold everything, and the SVG is well-formed."""

import re
import xml.etree.ElementTree as ET

import pytest

from offline.reporting.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Bars,
    Line,
    bar_chart,
    fitted_axis,
    legend,
    line_chart,
    linear_axis,
    log_axis,
    percentage,
    ranked_bars,
    short,
    step_chart,
)


def texts(svg: str, class_: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(svg).iter("text") if node.get("class", "").startswith(class_)]


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+) ([\d.-]+)", path)]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.18], [0, 0.05, 0.1, 0.15, 0.2]),
        ([320, 12], [0, 100, 200, 300, 400]),
        ([-1, 3], [-1, 0, 1, 2, 3]),
        ([0, 0], [0, 0.25, 0.5, 0.75, 1]),
    ],
)
def test_an_axis_from_zero_holds_all_values_between_round_ticks(values: list[float], ticks: list[float]) -> None:
    axis = linear_axis(values)
    assert axis.ticks == pytest.approx(ticks)
    assert all(0 <= axis.place(value) <= 1 for value in values)


def test_an_axis_may_begin_at_the_round_tick_below_the_lowest_value() -> None:
    axis = linear_axis([110, 200], from_zero=False)
    assert (axis.low, axis.high, axis.ticks[:2]) == (100, 200, [100, 125])


def test_a_fitted_axis_ends_where_its_values_do() -> None:
    axis = fitted_axis([3, 500])
    assert (axis.place(3), axis.place(500)) == (0, 1)
    assert axis.ticks == pytest.approx([200, 400])


def test_losses_far_above_zero_are_looked_at_closely() -> None:
    near = line_chart("t", [Line("loss", [0, 1], [6.1, 5.2])], x_label="x", y_label="y")
    assert texts(near, "tick")[:6] == ["5", "5.25", "5.5", "5.75", "6", "6.25"]


def test_a_logarithmic_axis_puts_tenths_at_equal_distances() -> None:
    axis = log_axis([0.02, 5])
    assert axis.ticks == pytest.approx([0.01, 0.1, 1, 10])
    assert [axis.place(tick) for tick in axis.ticks] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_one_value_alone_has_a_logarithmic_axis_too() -> None:
    assert log_axis([10]).place(10) in (0, 1)


def test_bars_are_as_high_as_their_values() -> None:
    chart = bar_chart("t", ["a", "b"], [Bars("n", [1, 4]), Bars("m", [2, 0])], x_label="x", y_label="y")
    rects = list(ET.fromstring(chart).iter("rect"))
    heights = [float(rect.get("height", "")) for rect in rects]
    full = HEIGHT - TOP - BOTTOM
    assert heights == pytest.approx([full / 4, full, full / 2, 0], abs=0.01)
    assert [rect.findtext("title") for rect in rects] == ["n, a: 1", "n, b: 4", "m, a: 2", "m, b: 0"]
    assert texts(chart, "axis") == ["x", "y"]


def test_a_bar_for_each_of_many_labels_but_not_a_label() -> None:
    chart = bar_chart("t", [str(n) for n in range(25)], [Bars("n", [1.0] * 25)], x_label="x", y_label="y")
    assert len(list(ET.fromstring(chart).iter("rect"))) == 25
    assert [text for text in texts(chart, "tick") if text in map(str, range(0, 25, 3))][-9:] == [
        str(n) for n in range(0, 25, 3)
    ]


def test_a_curve_goes_through_its_points() -> None:
    chart = line_chart("t", [Line("loss", [0, 50, 100], [4, 2, 0])], x_label="steps", y_label="loss")
    (path,) = ET.fromstring(chart).iter("path")
    middle = (LEFT + (WIDTH - LEFT - RIGHT) / 2, TOP + (HEIGHT - TOP - BOTTOM) / 2)
    assert points(path.get("d", "")) == [(LEFT, TOP), pytest.approx(middle), (WIDTH - RIGHT, HEIGHT - BOTTOM)]
    assert path.findtext("title") == "loss"


def test_losses_that_fall_to_a_hundredth_have_a_logarithmic_axis() -> None:
    chart = line_chart("t", [Line("loss", [0, 1], [9, 0.09])], x_label="x", y_label="y")
    assert {"0.01", "0.1", "1", "10"} <= set(texts(chart, "tick"))


@pytest.mark.parametrize("line", [Line("one", [5], [3]), Line("flat", [1, 2], [7, 7]), Line("nothing", [1, 2], [0, 0])])
def test_curves_without_extent_are_drawn_inside_the_frame(line: Line) -> None:
    chart = line_chart("t", [line], x_label="x", y_label="y")
    (path,) = ET.fromstring(chart).iter("path")
    for x, y in points(path.get("d", "")):
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP <= y <= HEIGHT - BOTTOM


def test_steps_enclose_the_area_of_their_bars() -> None:
    heights = [8, 8, 3, 1]
    (path,) = ET.fromstring(step_chart("t", heights, x_label="x", y_label="y")).iter("path")
    corners = points(path.get("d", ""))
    pairs = zip(corners, [*corners[1:], corners[0]], strict=True)
    area = abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)) / 2
    unit = (WIDTH - LEFT - RIGHT) / 4 * (HEIGHT - TOP - BOTTOM) / 8
    assert area == pytest.approx(20 * unit, rel=0.01)


def test_ranked_bars_stand_in_order_and_one_stands_out() -> None:
    chart = ranked_bars("t", [("a", 0.1), ("mine", 0.3), ("<b>", 0.2)], own="mine", axis_label="recall")
    root = ET.fromstring(chart)
    assert texts(chart, "label") == ["mine", "0.3000", "<b>", "0.2000", "a", "0.1000"]
    widths = [float(rect.get("width", "")) for rect in root.iter("rect")]
    assert widths == pytest.approx([widths[0], widths[0] * 2 / 3, widths[0] / 3], abs=0.02)
    assert [rect.get("class") for rect in root.iter("rect")] == ["own", "other", "other"]


def test_a_legend_names_every_series_beside_its_colour() -> None:
    assert legend(["<a>", "b"]).count("<li>") == 2
    assert '<span class="swatch s1"></span>b' in legend(["<a>", "b"])
    assert "&lt;a&gt;" in legend(["<a>", "b"])


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.05, "0.05"), (12, "12"), (3400, "3.4k"), (2e6, "2M"), (-1500, "-1.5k")]
)
def test_numbers_at_axes_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_percentages_have_three_figures() -> None:
    assert [percentage(share) for share in (1, 0.07712, 0.0002)] == ["100 %", "7.71 %", "0.02 %"]
