"""Hook of MkDocs (mkdocs.yml): pages of the site that lie outside of docs/, and links between the two places.

In the repository a link must work as a reader on a code host follows it: `docs/guide.md` in README.md, `../SECURITY.md`
in docs/operations.md. On the site all pages are neighbours.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "client/README.md": "client.md",
    "LICENSE": "LICENSE.txt",
    "CITATION.cff": "CITATION.cff.txt",
}
"""Files of the repository and what they are called on the site."""

_SOURCES = {page: source for source, page in PAGES.items()}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")


def on_files(files: Any, config: Any) -> Any:
    """Bring the pages in."""
    from mkdocs.structure.files import File  # only `make docs` has it

    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links of the repository lead to pages of the site."""
    source = _SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return _LINK.sub(lambda link: _on_the_site(source, link[1]), markdown)


def _on_the_site(source: str, target: str) -> str:
    """What a link of a file leads to; a target that the site lacks stays, and the strict build names it."""
    found = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    return PAGES.get(found, found.removeprefix("docs/") if found.startswith("docs/") else target)
