"""A tree as rings around a centre."""

import math
from collections.abc import Sequence

from offline.reporting.markup import Html, tag
from offline.reporting.rec_id_tree import Branch

SIZE = 400.0
RINGS = ((62.0, 128.0), (131.0, 196.0))
FINE = 300
"""With so many branches the lines between them are thinner."""
WHOLE = 0.9999
"""Of a circle: an arc that ends where it begins is none."""


def sunburst(title: str, branches: Sequence[Branch], num_items: int) -> Html:
    """Every branch as an arc that says on hover what it is; the number of items in the middle."""
    middle = SIZE / 2
    arcs = [
        tag(
            "path",
            tag("title", branch.text),
            d=_arc(branch.start, branch.stop, *RINGS[branch.ring]),
            fill_opacity=branch.opacity,
            class_=f"arc {branch.look}",
        )
        for branch in branches
    ]
    count = tag("text", f"{num_items:,}", x=middle, y=middle + 2, text_anchor="middle", class_="count")
    unit = tag("text", "items", x=middle, y=middle + 20, text_anchor="middle")
    box = f"0 0 {SIZE:.0f} {SIZE:.0f}"
    return tag(
        "svg",
        *arcs,
        count,
        unit,
        viewBox=box,
        role="img",
        aria_label=title,
        class_="tree" if len(branches) < FINE else "tree fine",
    )


def _arc(start: float, stop: float, inner: float, outer: float) -> str:
    """The path around a piece of a ring, clockwise from the top."""
    stop = min(stop, start + WHOLE)
    large = int(stop - start > 0.5)
    (x0, y0), (x1, y1) = _point(start, outer), _point(stop, outer)
    (x2, y2), (x3, y3) = _point(stop, inner), _point(start, inner)
    return (
        f"M{x0:.1f} {y0:.1f}A{outer:g} {outer:g} 0 {large} 1 {x1:.1f} {y1:.1f}"
        f"L{x2:.1f} {y2:.1f}A{inner:g} {inner:g} 0 {large} 0 {x3:.1f} {y3:.1f}Z"
    )


def _point(share: float, radius: float) -> tuple[float, float]:
    angle = 2 * math.pi * share
    return SIZE / 2 + radius * math.sin(angle), SIZE / 2 - radius * math.cos(angle)
