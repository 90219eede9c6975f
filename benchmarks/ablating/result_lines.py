"""What a line of a study must hold to be a result: all that is compared, and all that table and plot show."""

import json
from collections.abc import Mapping
from typing import Any

Line = dict[str, Any]

TEXTS = (
    *("variant", "group", "dataset", "dataset_sha256", "base", "base_sha256", "recipe_sha256"),
    *("commit", "sources_sha256"),
)
SHOWN = {
    **dict.fromkeys(("served", "generator"), ("recall@10", "ndcg@10", "recall@20", "ndcg@20")),
    "dense": ("recall@20", "ndcg@20"),
}
"""Figures by list. A line has more, and an older one may have others."""
NUMBERS = (
    *(("lists", row, figure) for row, figures in SHOWN.items() for figure in figures),
    *(("beam", "recall"), ("beam", "dense_share"), ("dense_weight",)),
)


def result_of(text: bytes) -> Line:
    """A line of the file as a result.

    Raises:
        ValueError: it is none; the message says why, as in "is no JSON object".
    """
    try:
        line = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error
    if not isinstance(line, dict):
        raise ValueError("is no JSON object")
    flaw = first_flaw(line)
    if flaw is not None:
        raise ValueError(f"is no result (it has {flaw})")
    return line


def first_flaw(line: Mapping[str, Any]) -> str | None:
    """What a result needs and a line does not have, as in "no number lists.served.ndcg@20"; None for a sound line.

    The line of a failure, which has an `error`, is never compared or shown, and needs nothing.
    """
    if "error" in line:
        return None
    for name in TEXTS:
        if not isinstance(line.get(name), str):
            return f"no text {name}"
    if type(line.get("seed")) is not int:
        return "no whole number seed"
    for path in NUMBERS:
        if not _is_number(_at(line, path)):
            return f"no number {'.'.join(path)}"
    seconds = line.get("stage_seconds")
    if not isinstance(seconds, dict) or not all(map(_is_number, seconds.values())):
        return "no numbers stage_seconds"
    return None


def _at(line: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        line = line.get(name) if isinstance(line, Mapping) else None
    return line


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
