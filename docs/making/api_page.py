"""docs/api.md: every route and every body, from the OpenAPI document that the service gives out itself."""

import json
import re
from collections.abc import Iterator
from typing import Any

from docs.making.marked_parts import table
from service.edge.doors import Door, door_of

Node = dict[str, Any]

LINE = 120
"""Characters of an example that still stands on one line."""

_LEFT_OUT = {"HTTPValidationError", "ValidationError"}
"""FastAPI names them where a route says nothing of 422; what the service answers is an `ErrorResponse`."""
_ABOUT = (
    "Every route of the service and every body, as `GET /openapi.json` and `GET /docs` of a running one tell them. How "
    "requests share runs, what a deadline means, an example of each route by `curl`, and what is answered beyond "
    "every limit: [Calling the service](calling.md)."
)
_DOORS: dict[Door, str] = {
    "open": "no key",
    "metrics": "no key, or an API key with `MMGREC_METRICS_PUBLIC=0`",
    "admin": "an admin key",
    "api": "an API key, where there are any",
}


def api_page(document: Node, command: str) -> str:
    """The page.

    Args:
        document: OpenAPI 3.1 as `FastAPI.openapi` makes it.
        command: what writes the page, for its first line.
    """
    routes = list(_routes(document))
    overview = [
        (f"[`{method} {path}`](#{anchor(f'{method} {path}')})", _first_line(route), _DOORS[door_of(path)])
        for method, path, route in routes
    ]
    schemas = {name: node for name, node in document["components"]["schemas"].items() if name not in _LEFT_OUT}
    parts = [
        "# API reference",
        f"<!-- Made from the OpenAPI document by `{command}`: change the code, not this page. -->",
        _ABOUT,
        table(("route", "does", "wants"), overview),
        *(_route(method, path, route) for method, path, route in routes),
        "## Bodies",
        *(_schema(name, node) for name, node in sorted(schemas.items())),
    ]
    return "\n\n".join(parts) + "\n"


def anchor(heading: str) -> str:
    """What GitHub and Python-Markdown make of a heading for links."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def _routes(document: Node) -> Iterator[tuple[str, str, Node]]:
    for path, operations in document["paths"].items():
        for method, route in operations.items():
            yield method.upper(), path, route


def _first_line(route: Node) -> str:
    text = " ".join(route["description"].split())
    return re.split(r"(?<=[.]) ", text)[0]


def _route(method: str, path: str, route: Node) -> str:
    parts = [f"## `{method} {path}`", " ".join(route["description"].split())]
    if parameters := route.get("parameters", []):
        rows = [
            (
                f"`{each['name']}`",
                each["in"],
                _type(each["schema"]),
                "required" if each.get("required") else _default(each["schema"]),
                _told(each),
            )
            for each in parameters
        ]
        parts.append(table(("parameter", "in", "type", "default", "meaning"), rows))
    if "requestBody" in route:
        ((kind, content),) = route["requestBody"]["content"].items()
        parts.append(f"Takes {_type(content['schema'])} as `{kind}`.")
    answers = [(status, answer["description"], _body(answer)) for status, answer in sorted(route["responses"].items())]
    parts.append(table(("status", "when", "body"), answers))
    return "\n\n".join(parts)


def _body(answer: Node) -> str:
    shown = []
    for kind, content in answer.get("content", {}).items():
        schema = content.get("schema", {})
        shown.append(_type(schema) if "$ref" in schema else f"`{kind}`")
    return ", ".join(shown)


def _schema(name: str, node: Node) -> str:
    parts = [f"### {name}", " ".join(node.get("description", "").split())]
    required = set(node.get("required", []))
    rows = [
        (
            f"`{field}`",
            _type(told),
            "required" if field in required else _default(told),
            _told(told),
        )
        for field, told in node.get("properties", {}).items()
    ]
    parts.append(table(("field", "type", "default", "meaning"), rows))
    parts += [f"```json\n{_json(example)}\n```" for example in node.get("examples", [])]
    return "\n\n".join(part for part in parts if part)


def _json(example: Any) -> str:
    line = json.dumps(example)
    return line if len(line) <= LINE else json.dumps(example, indent=2)


def _told(node: Node) -> str:
    return " ".join(node.get("description", node.get("schema", {}).get("description", "")).split())


def _default(node: Node) -> str:
    return f"`{json.dumps(node['default'])}`" if "default" in node else "none"


def _type(node: Node) -> str:
    """A type in words, with its limits."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        name = "ErrorResponse" if name in _LEFT_OUT else name
        return f"[{name}](#{anchor(name)})"
    if "anyOf" in node:
        return " or ".join(_type(each) for each in node["anyOf"])
    if "enum" in node or "const" in node:
        return " or ".join(f"`{json.dumps(value)}`" for value in node.get("enum", [node.get("const")]))
    if node.get("type") == "array":
        return f"list of {_type(node.get('items', {}))}{_span(node, 'minItems', 'maxItems', ' items')}"
    if node.get("type") == "object":
        values = node.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, dict) and values else "object"
    if node.get("type") == "string":
        pattern = f" like `{node['pattern']}`" if "pattern" in node else ""
        return f"string{_span(node, 'minLength', 'maxLength', ' characters')}{pattern}"
    return str(node.get("type", "anything")) + _span(node, "minimum", "maximum", "")


def _span(node: Node, least: str, most: str, unit: str) -> str:
    bounds = [f"{word} {node[key]:,}" for word, key in (("from", least), ("to", most)) if key in node]
    return f" ({' '.join(bounds)}{unit})" if bounds else ""
