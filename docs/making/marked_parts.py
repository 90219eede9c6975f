"""A part of a hand-written page that is made: it stands between two comments that no reader sees."""

import re
from collections.abc import Sequence


def with_part(page: str, name: str, part: str) -> str:
    """The page with another text between `<!-- made: NAME -->` and `<!-- end: NAME -->`.

    Raises:
        ValueError: the page does not have that pair of comments, once and in that order.
    """
    begin, end = f"<!-- made: {name} -->", f"<!-- end: {name} -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"the page must hold {begin} and after it {end}, each once: put them where the part belongs")
    return re.sub(
        f"{re.escape(begin)}.*{re.escape(end)}", lambda _: f"{begin}\n\n{part.strip()}\n\n{end}", page, flags=re.DOTALL
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; a `|` within a cell does not end it, and outside of code a `<` begins no tag."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    pieces = text.replace("|", "\\|").split("`")
    pieces[::2] = [piece.replace("<", "&lt;") for piece in pieces[::2]]
    return "`".join(pieces)
