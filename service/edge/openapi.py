"""What the OpenAPI document says of the edge: which keys there are, and the answers of the layers around the routes."""

from typing import Any

from fastapi import FastAPI

from service.edge.doors import door_of

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key; /admin/* takes admin keys alone."},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same in another header."},
}
_WITH_A_KEY: list[dict[str, list[str]]] = [{"bearer": []}, {"api_key": []}]
_WITHOUT_KEYS: list[dict[str, list[str]]] = [{}]  # a service without keys asks nobody
_OF_ALL = {"431": "The headers are too large."}
_BEHIND_A_DOOR = {
    **_OF_ALL,
    "401": "A key is missing or wrong.",
    "403": "The service has no keys and will not serve strangers.",
    "429": "Too many requests; see Retry-After.",
}


def document_the_edge(app: FastAPI) -> None:
    """Have the app's OpenAPI document tell of keys and of what the layers answer."""
    routes_alone = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_edge(routes_alone())
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign]


def _with_edge(document: dict[str, Any]) -> dict[str, Any]:
    document["components"]["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        door = door_of(path)
        for operation in operations.values():
            if door != "open":
                operation["security"] = _WITH_A_KEY if door == "admin" else [*_WITH_A_KEY, *_WITHOUT_KEYS]
            for status, told in (_OF_ALL if door == "open" else _BEHIND_A_DOOR).items():
                operation["responses"].setdefault(status, _error(told))
    return document


def _error(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ErrorResponse"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
