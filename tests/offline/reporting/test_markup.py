"""Text that is no markup never becomes any."""

import pytest

from offline.reporting.markup import Html, join, tag

EVIL = "</td><script>alert('x')</script>&\""


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "a < b & c", tag("b", "d")) == "<p>a &lt; b &amp; c<b>d</b></p>"


def test_attributes_are_escaped_and_named_as_in_html() -> None:
    made = tag("rect", x=1.0, y=2.346, stroke_width=3, class_="a", title=EVIL, fill=None)
    assert made.startswith('<rect x="1" y="2.35" stroke-width="3" class="a" title="')
    assert "<script" not in made
    assert made.count('"') == 10


@pytest.mark.parametrize("place", [lambda: tag("td", EVIL), lambda: join([EVIL, [EVIL]]), lambda: tag("td", [EVIL])])
def test_nothing_gets_through_at_any_depth(place) -> None:
    assert "<script" not in place()


def test_lists_are_taken_apart_and_none_is_nothing() -> None:
    assert tag("ul", (tag("li", word) for word in "ab"), None) == "<ul><li>a</li><li>b</li></ul>"
    assert join() == ""


def test_an_element_without_content_is_not_closed() -> None:
    assert tag("meta", name="viewport", content="x") == '<meta name="viewport" content="x">'


def test_markup_put_together_is_markup_still() -> None:
    assert isinstance(join(tag("b", "x"), "y"), Html)
