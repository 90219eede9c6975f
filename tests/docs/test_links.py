"""Links of the documentation: they lead to a file and a heading that exist, in the repository and on the site."""

import re
from pathlib import Path

import pytest
import yaml

from docs.making import site
from docs.making.api_page import anchor

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "client" / "README.md"])
LINK = re.compile(r"(?<=\]\()([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def links(page: Path) -> list[str]:
    text = CODE.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    return [link for link in LINK.findall(text) if not link.startswith(("http:", "https:", "mailto:"))]


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)}


def test_there_are_links_to_look_at() -> None:
    assert {"README.md", "docs/operations.md", "client/README.md"} <= set(map(name, PAGES))
    assert sum(len(links(page)) for page in PAGES) > 60


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (heading and heading not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    entries = set(re.findall(r"[\w-]+\.md", yaml.dump(yaml.safe_load(text)["nav"])))
    generated = {target for target in site.PAGES.values() if target.endswith(".md")}
    assert entries == generated | {page.name for page in (ROOT / "docs").glob("*.md")}


@pytest.mark.parametrize(
    ("source", "target", "on_the_site"),
    [
        ("README.md", "docs/guide.md", "guide.md"),
        ("README.md", "docs/images/report.png", "images/report.png"),
        ("README.md", "client/README.md", "client.md"),
        ("README.md", "LICENSE", "LICENSE.txt"),
        ("docs/operations.md", "../SECURITY.md", "security.md"),
        ("docs/calling.md", "api.md", "api.md"),
        ("docs/calling.md", "../service/app.py", "../service/app.py"),  # which the strict build refuses
    ],
)
def test_links_of_the_repository_become_links_of_the_site(source: str, target: str, on_the_site: str) -> None:
    assert site._on_the_site(source, target) == on_the_site


def test_links_elsewhere_and_headings_stay() -> None:
    class Page:
        class file:  # noqa: N801
            src_uri = "operations.md"

    text = "[a](https://x.y/docs/z.md) [b](#here) [c](../README.md#try-it) ![d](images/e.png)"
    wanted = "[a](https://x.y/docs/z.md) [b](#here) [c](index.md#try-it) ![d](images/e.png)"
    assert site.on_page_markdown(text, Page()) == wanted
