"""What of the documentation is made from the code: up to date, whole, and refused where its place is missing."""

import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from docs.making.__main__ import COMMAND, made
from docs.making.api_page import anchor, api_page
from docs.making.marked_parts import table, with_part
from docs.making.settings_tables import settings_tables
from service.app import create_app
from service.secret_files import file_options
from service.settings import Settings

API = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture(scope="module")
def pages() -> dict[Path, str]:
    return made()


def test_what_is_made_is_up_to_date(pages: dict[Path, str]) -> None:
    stale = [file.name for file, text in pages.items() if file.read_text(encoding="utf-8") != text]
    assert stale == [], f"write it anew: {COMMAND}"


def test_every_route_and_every_field_is_on_the_page_of_the_api(pages: dict[Path, str]) -> None:
    document = create_app(Settings(redis_url=SecretStr("redis://127.0.0.1:1"))).openapi()
    page = pages[API]
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"\n## `{method.upper()} {path}`\n" in page
    for name, schema in document["components"]["schemas"].items():
        if name in ("HTTPValidationError", "ValidationError"):
            continue
        part = page[page.index(f"\n### {name}\n") :].split("\n### ")[1]
        assert [field for field in schema.get("properties", {}) if f"\n| `{field}` |" not in part] == []
    assert json.dumps(document["components"]["schemas"]["RecommendRequest"]["examples"][0]) in page


def test_links_within_the_page_of_the_api_lead_somewhere(pages: dict[Path, str]) -> None:
    headings = {anchor(heading) for heading in re.findall(r"^#+ (.*)$", pages[API], flags=re.MULTILINE)}
    asked = set(re.findall(r"\]\(#([^)]+)\)", pages[API]))
    assert len(asked) > 20
    assert asked - headings == set()


def test_a_route_without_parameters_and_a_body_without_fields_make_a_page() -> None:
    route = {"description": "Says yes.\nAlways.", "responses": {"200": {"description": "Yes"}}}
    document = {"paths": {"/health": {"get": route}}, "components": {"schemas": {"Empty": {"type": "object"}}}}
    page = api_page(document, "make it")
    assert "| [`GET /health`](#get-health) | Says yes. | no key |" in page
    assert "| 200 | Yes |  |" in page
    assert "### Empty" in page


def test_every_setting_and_every_file_of_a_secret_is_in_the_tables() -> None:
    text = settings_tables(Settings)
    for name in Settings.model_fields:
        assert text.count(f"| `MMGREC_{name.upper()}`") == 1
    for option in file_options(Settings):
        assert f"`.._{option.upper()}`" in text
    assert "| `MMGREC_PORT` | `8000` | port to listen on, 0 for a free one (from 0 to 65,535) |" in text
    assert "| `MMGREC_MAX_BODY_BYTES` | `2097152` (2 MiB) | largest accepted request body (from 1,024) |" in text


def test_a_setting_without_a_group_is_named() -> None:
    class More(Settings):
        colour: str = "blue"

    with pytest.raises(ValueError, match=r"\['colour'\]: every setting stands in one group"):
        settings_tables(More)


@pytest.mark.parametrize(
    "page",
    ["", "<!-- made: x -->", "<!-- end: x --><!-- made: x -->", "<!-- made: x --><!-- made: x --><!-- end: x -->"],
)
def test_a_page_without_its_place_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="the page must hold <!-- made: x -->"):
        with_part(page, "x", "part")


def test_a_part_replaces_only_what_stands_in_its_place() -> None:
    page = "before <!-- made: x -->\nold\n<!-- end: x --> after"
    assert with_part(page, "x", r"new \1") == "before <!-- made: x -->\n\nnew \\1\n\n<!-- end: x --> after"


def test_what_stands_in_a_cell_stays_in_it() -> None:
    assert table(("a",), [("b|c",)]) == "| a |\n| --- |\n| b\\|c |"
    assert table(("a",), [("<b> and `<c>`",)]).endswith("| &lt;b> and `<c>` |")
