"""The end of every request, told once to metrics, log and trace. None of them learns who the user is."""

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

from service.edge.doors import door_of
from service.request_context import Ended, RequestContext
from service.telemetry.logs import FIELDS
from service.telemetry.metrics import Metrics
from service.telemetry.redaction import Redaction
from service.telemetry.tracing import Tracing

logger = logging.getLogger("service.access")

_TOLD = itemgetter("method", "route", "status")

CLIENT_GONE = 499
"""Told of a request whose caller left before an answer began; nobody receives it."""


class Observation:
    """Where ended requests are told.

    Args:
        metrics: counts them.
        tracing: makes spans of them, or nothing where tracing is off.
        redaction: names users.
    """

    def __init__(self, metrics: Metrics, tracing: Tracing, redaction: Redaction) -> None:
        self.metrics = metrics
        self._tracing = tracing
        self.redaction = redaction

    def ended(self, request: Ended) -> None:
        """Count it, trace it, and write its line."""
        context, route = request.context, route_of(request.scope)
        self.metrics.request(route, request.status, request.ended - request.context.started, context.error_code)
        self.metrics.stages(context.stages)
        for answer in context.answers:
            self.metrics.answer(answer)
        level = _level(request, route)
        traced = self._tracing.enabled
        if not traced and not logger.isEnabledFor(level):
            return
        fields = self._fields(request, route)
        trace_id = self._tracing.record(request, fields)
        if trace_id is not None:
            fields["trace_id"] = trace_id
        if logger.isEnabledFor(level):
            # Not `logger.log`: it walks the stack for a file and line that this line does not tell.
            record = logging.LogRecord(logger.name, level, "", 0, "%s %s %d", _TOLD(fields), None)
            setattr(record, FIELDS, fields)
            logger.handle(record)

    def _fields(self, request: Ended, route: str) -> dict[str, Any]:
        context = request.context
        fields: dict[str, Any] = {
            "request_id": context.request_id,
            "method": request.scope["method"],
            "route": route,
            "status": request.status,
            "ms": round((request.ended - request.context.started) * 1000, 3),
        }
        if context.release is not None:
            fields["release"] = context.release
        if context.caller is not None:
            fields["caller"] = context.caller
        if context.error_code is not None:
            fields["error"] = context.error_code
        users = users_of(request.scope, context)
        if len(users) == 1:
            fields["user"] = self.redaction.user_hash(users[0])
        elif users:
            fields["users"] = len(users)
        if context.answers:
            fields["source"] = ",".join(dict.fromkeys(answer.source for answer in context.answers))
        if context.batch_size is not None:
            fields["batch_size"] = context.batch_size
        return fields


def users_of(scope: Mapping[str, Any], context: RequestContext) -> list[str]:
    """Every user that a request is about: those of its body, and the one of its path."""
    in_path = scope.get("path_params", {}).get("user_id")
    return context.user_ids if in_path is None else [*context.user_ids, str(in_path)]


def route_of(scope: Mapping[str, Any]) -> str:
    """The template of a path, such as "/users/{user_id}/history": a path itself may hold a user, and has no end.

    A request that was refused before it was routed has its path where that is one of a few fixed ones.
    """
    template = getattr(scope.get("route"), "path", None)
    if template is not None:
        return _without_convertors(template)
    path = scope["path"]
    return path if path in FIXED_PATHS else "other"


@lru_cache
def _without_convertors(template: str) -> str:
    """How a parameter is matched is our own affair: `{user_id:id}` is told as `{user_id}`."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", template)


FIXED_PATHS = frozenset({"/recommend", "/recommend/batch", "/events", "/info", "/metrics"})


def _level(request: Ended, route: str) -> int:
    """Faults are warnings; those who ask every few seconds whether all is well are seen at level debug alone.

    Also when they are told that it is not: what is wrong is logged once, by the part that knows.
    """
    asks_how_it_is = door_of(request.scope["path"]) == "open"
    if request.status >= 500 and not (asks_how_it_is and request.status == 503):
        return logging.WARNING
    return logging.DEBUG if asks_how_it_is or route == "/metrics" else logging.INFO
