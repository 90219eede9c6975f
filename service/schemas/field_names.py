"""Which fields a body, or a query, has at the place where one was misspelt."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel


def field_names(route: Any, place: Sequence[str | int]) -> list[str]:
    """Names of the fields at a place such as `("body", "events", 3)`; empty where it is no model of ours."""
    roots = [route.body_field] if place[0] == "body" else route.dependant.query_params
    model = _model(root.field_info.annotation for root in roots if root is not None)
    for part in place[1:]:
        if model is not None and part in model.model_fields:  # anything else is a position in a list
            model = _model([model.model_fields[str(part)].annotation])
    return [] if model is None else list(model.model_fields)


def _model(annotations: Iterable[Any]) -> type[BaseModel] | None:
    """The first model that some annotations name, such as that of `list[Event] | None`."""
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
        if (inner := _model(get_args(annotation))) is not None:
            return inner
    return None
