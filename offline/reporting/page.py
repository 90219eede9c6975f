"""Pieces that the sections of a report are made of."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from offline.reporting.markup import Content, Html, tag

NOT_KNOWN = "\N{EN DASH}"
"""In a table, in place of a figure that there is not."""


class Section(NamedTuple):
    """One part of the report; `anchor` is its address within the page."""

    anchor: str
    title: str
    body: Html

    def html(self) -> Html:
        """The section as it stands on the page."""
        return tag("section", tag("h2", self.title), self.body, id=self.anchor)


def lead(*text: Content) -> Html:
    """What the section shows and how to read it."""
    return tag("p", *text, class_="lead")


def absent(*text: Content) -> Html:
    """Why a part is not there."""
    return tag("p", *text, class_="absent")


def figure(title: str, drawing: Content, *below: Content) -> Html:
    """A chart with its title, and what is to be said below it."""
    return tag("figure", tag("h3", title), drawing, *below)


def caption(*text: Content) -> Html:
    """A remark below a chart."""
    return tag("figcaption", *text)


def grid(*parts: Content) -> Html:
    """Parts side by side where there is room."""
    return tag("div", *parts, class_="grid")


class Cell(NamedTuple):
    """A cell of a table that looks unlike the others: "best", "worse" or "text"."""

    content: Content
    look: str


Row = Sequence[Content | Cell]


def table(head: Row, rows: Iterable[Row], *, own: int | None = None) -> Html:
    """A table that scrolls within itself on a narrow screen; row number `own` stands out."""
    body = [
        tag("tr", *(_cell("td", cell) for cell in row), class_="own" if at == own else None)
        for at, row in enumerate(rows)
    ]
    top = tag("thead", tag("tr", *(_cell("th", cell) for cell in head)))
    return tag("div", tag("table", top, tag("tbody", *body)), class_="scroll")


def pairs(named: Iterable[tuple[str, Content]]) -> Html:
    """Names and what they stand for."""
    return tag("dl", *((tag("dt", name), tag("dd", value)) for name, value in named))


def folded(summary: str, *content: Content) -> Html:
    """What is shown on demand."""
    return tag("details", tag("summary", summary), *content)


def bytes_text(count: float) -> str:
    """A size in MiB or GiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def seconds_text(seconds: float) -> str:
    """A duration: 4.2 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _cell(kind: str, cell: Content | Cell) -> Html:
    if isinstance(cell, Cell):
        return tag(kind, cell.content, class_=cell.look)
    return tag(kind, cell)
