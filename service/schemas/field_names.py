"""Which fields a body has at the place where one was misspelt."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel


def field_names(route: Any, path: Sequence[str]) -> list[str]:
    """Names of the fields beside the one at `path`, such as `["events", "3", "usr"]`, in the body of a route."""
    model = _model(route.body_field.field_info.annotation)
    for part in path[:-1]:
        if model is not None and part in model.model_fields:  # anything else is a position in a list
            model = _model(model.model_fields[part].annotation)
    assert model is not None, f"no model holds {path}"
    return list(model.model_fields)


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model within an annotation such as `list[Event] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner: Iterable[Any] = get_args(annotation)
    return next((found for part in inner if (found := _model(part)) is not None), None)
