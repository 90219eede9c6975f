"""The OpenAPI document beside its snapshot, so that nobody breaks callers unawares.

When a change is meant: `.venv/bin/python -m tests.service.edge.test_openapi` writes the snapshot anew, and CHANGELOG.md
says what callers must know. What is said in words is left out of it.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings

SNAPSHOT = Path(__file__).with_name("openapi.json")
WORDS = {"description", "summary", "title", "examples", "example", "operationId"}
"""Keys of the document that promise nothing."""
NAMES_BELOW = {"properties", "schemas", "paths", "responses", "securitySchemes"}
"""Their keys are names of ours, `title` and `description` too."""


def contract(node: Any, *, names: bool = False) -> Any:
    """A document without what it says in words."""
    if isinstance(node, dict):
        kept = {key: value for key, value in node.items() if names or key not in WORDS}
        return {key: contract(value, names=key in NAMES_BELOW and not names) for key, value in kept.items()}
    return [contract(each) for each in node] if isinstance(node, list) else node


def current() -> Any:
    document = create_app(Settings(redis_url="redis://127.0.0.1:1")).openapi()
    del document["info"]
    return contract(document)


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """What has gone from a document, come to it, or changed, with its place."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in new:
                yield f"gone     {place}/{key}"
            elif key not in old:
                yield f"came     {place}/{key}"
            else:
                yield from differences(old[key], new[key], f"{place}/{key}")
    elif old != new:
        yield f"changed  {place}: {json.dumps(old)} -> {json.dumps(new)}"


def test_the_document_is_as_in_the_snapshot() -> None:
    found = list(differences(json.loads(SNAPSHOT.read_text(encoding="utf-8")), current()))
    assert not found, "\n".join(
        [
            "the API is not the one that callers know. What is gone or changed may break them (and mmgrec_client).",
            *found,
            "If it is meant: .venv/bin/python -m tests.service.edge.test_openapi, and a line in CHANGELOG.md",
        ]
    )


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("paths", "/recommend", "post", "responses", "429"), None, "gone     {}"),
        (("components", "schemas", "RecommendedItem", "properties", "title"), None, "gone     {}"),
        (("components", "schemas", "RecommendRequest", "properties", "n", "minimum"), 2, "changed  {}: "),
        (("components", "schemas", "EventsRequest", "required"), ["events", "by"], "changed  {}: "),
        (("paths", "/recommend", "get"), {"responses": {}}, "came     {}"),
    ],
)
def test_a_change_is_told_with_its_place(path: tuple[str, ...], value: Any, told: str) -> None:
    before = current()
    after = copy.deepcopy(before)
    node = after
    for key in path[:-1]:
        node = node[key]
    if value is None:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    (found,) = differences(before, after)
    assert found.startswith(told.format("/" + "/".join(path)))


def test_words_do_not_count_and_names_do() -> None:
    schema = {"title": "T", "description": "d", "properties": {"title": {"title": "Title", "type": "string"}}}
    assert contract(schema) == {"properties": {"title": {"type": "string"}}}
    assert contract({"properties": {"properties": {"title": "x", "type": "object"}}}) == {
        "properties": {"properties": {"type": "object"}}
    }


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(current(), indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
