"""The file of a study: one JSON object per line, written when it is finished and not asked for again."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ablating.result_lines import Line, result_of
from benchmarks.ablating.variants import FULL
from benchmarks.scoring.dataset_titles import dataset_key, titles
from offline.errors import BadInputError

IDENTITY = ("variant", "dataset_sha256", "seed", "recipe_sha256", "base_sha256")
"""What makes a line the answer to a question that may be asked again."""


class Results:
    """Finished results in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reported: set[int] = set()

    def lines(self) -> list[Line]:
        """All lines, oldest first.

        One that a killed runner left unfinished, or that is no result for another reason, is reported on stderr, once,
        and left out; it stays in the file.

        Raises:
            BadInputError: the file cannot be read.
        """
        try:
            texts = self.path.read_bytes().splitlines() if self.path.exists() else []
        except OSError as error:
            raise BadInputError(f"{self.path} cannot be read ({error}); give a file of JSON lines") from error
        found = []
        for number, text in enumerate(texts, 1):
            try:
                found.append(result_of(text))
            except ValueError as error:
                self._leave_out(number, str(error))
        return found

    def _leave_out(self, number: int, reason: str) -> None:
        if number not in self._reported:  # the runner reads the file for every question
            sys.stderr.write(f"{self.path}:{number} {reason} and is left out\n")
            self._reported.add(number)

    def holds(self, line: Line) -> bool:
        """Whether the result of a line's variant, dataset, seed and recipe is there; failures are tried again."""
        return any(self._same(line, found) for found in self.lines() if "error" not in found)

    @staticmethod
    def _same(line: Line, found: Line) -> bool:
        return all(line.get(field) == found.get(field) for field in IDENTITY)

    def append(self, line: Line) -> None:
        """Write a line at the end, down to the disk; half a line before it is closed first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = not self.path.exists() or not (there := self.path.read_bytes()) or there.endswith(b"\n")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("" if whole else "\n") + json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def comparable(lines: Sequence[Line]) -> list[Line]:
    """Of every variant, dataset and seed the newest line that changes the newest full recipe of that dataset and seed.

    A file may hold results of a recipe as it was before; they stay there and are not mixed with those of today. A
    dataset is its name and the sha256 of its files: what was found on other content is of another dataset.
    """
    finished = [line for line in lines if "error" not in line]
    bases = {_subject(line): line["base_sha256"] for line in finished if line["variant"] == FULL}
    newest = {
        (line["variant"], *_subject(line)): line
        for line in finished
        if bases.get(_subject(line)) == line["base_sha256"]
    }
    return list(newest.values())


def _subject(line: Line) -> tuple[str, str, int]:
    return line["dataset"], line["dataset_sha256"], line["seed"]


def by_variant(lines: Sequence[Line], dataset: str) -> dict[str, list[Line]]:
    """The comparable lines of one of `datasets` by variant: the full recipe first, groups together, then by age."""
    kept = _by_title(lines)[dataset]
    groups = list(dict.fromkeys(["", *(line["group"] for line in kept)]))
    names = dict.fromkeys(line["variant"] for line in sorted(kept, key=lambda line: groups.index(line["group"])))
    return {name: [line for line in kept if line["variant"] == name] for name in names}


def datasets(lines: Sequence[Line]) -> list[str]:
    """The datasets that have something to compare, in the order in which they came.

    Each by its name; where one name stands for several contents, with digits of their sha256.
    """
    return list(_by_title(lines))


def _by_title(lines: Sequence[Line]) -> dict[str, list[Line]]:
    keyed: dict[str, list[Line]] = {}
    for line in comparable(lines):
        keyed.setdefault(dataset_key(line["dataset"], line["dataset_sha256"]), []).append(line)
    called = titles({key: found[0]["dataset"] for key, found in keyed.items()})
    return {called[key]: found for key, found in keyed.items()}
