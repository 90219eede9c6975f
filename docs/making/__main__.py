"""Write what is made from the code: `python -m docs.making`; with --check only say what is out of date (exit 1)."""

import argparse
import sys
from pathlib import Path

from pydantic import SecretStr

from docs.making.api_page import api_page
from docs.making.jobs_table import jobs_table
from docs.making.marked_parts import with_part
from docs.making.settings_tables import settings_tables
from service.app import create_app
from service.settings import Settings

DOCS = Path(__file__).parents[1]
COMMAND = ".venv/bin/python -m docs.making"


def made() -> dict[Path, str]:
    """Every file that has something made in it, with what it should hold."""
    operations = DOCS / "operations.md"
    text = operations.read_text(encoding="utf-8")
    text = with_part(text, "settings", settings_tables(Settings))
    text = with_part(text, "jobs", jobs_table())
    app = create_app(Settings(redis_url=SecretStr("redis://127.0.0.1:1")))  # connects to nothing before it runs
    return {DOCS / "api.md": api_page(app.openapi(), COMMAND), operations: text}


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(prog="python -m docs.making", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is out of date")
    check = parser.parse_args().check
    pages = made()
    stale = [file for file, text in pages.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    for file in stale:
        if not check:
            file.write_text(pages[file], encoding="utf-8")
        sys.stderr.write(f"{'out of date' if check else 'written'}: {file.relative_to(DOCS.parent)}\n")
    if check and stale:
        sys.stderr.write(f"write it anew: {COMMAND}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
