"""HTML and SVG as text, where whatever is not markup already is escaped: ids and titles come from anybody."""

from collections.abc import Iterable
from html import escape

VOID = frozenset({"meta", "br"})


class Html(str):
    """Text that is markup: only `tag` and `join` make it."""

    __slots__ = ()


Content = Html | str | None
"""What may stand inside of a tag: markup as it is, other text escaped, None not at all."""


def tag(name: str, /, *children: Content | Iterable[Content], **attributes: object) -> Html:
    """One element.

    Args:
        name: of the element.
        children: what it holds; lists are taken apart.
        attributes: `class_` is `class` and `stroke_width` is `stroke-width`; None leaves one out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_attribute(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    opened = f"<{name}{written}>"
    return Html(opened) if name in VOID else Html(f"{opened}{join(*children)}</{name}>")


def join(*children: Content | Iterable[Content]) -> Html:
    """Contents one after the other."""
    return Html("".join(_text(child) for child in children))


def _text(child: Content | Iterable[Content]) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    return escape(child) if isinstance(child, str) else join(*child)


def _attribute(value: object) -> str:
    """Coordinates need no more than hundredths."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
