"""OpenTelemetry spans of requests and their stages, where `MMGREC_OTEL_ENDPOINT` is set and the extra `otel` installed.

Spans are made when a request has ended, from the times that its context holds: nothing is done for them on the way, and
nothing at all without an endpoint. `traceparent` of the caller becomes the parent. FastAPI's own spans stay off: they
would carry paths, and so users. What the SDK reads of `OTEL_*` (sampler, headers, resource attributes) works as usual.
"""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from service.request_context import Ended
from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

INSTALL = "pip install 'mmgrec[otel]'"


class Tracing(Protocol):
    """Where ended requests become spans.

    Attributes:
        enabled: whether they do.
    """

    enabled: bool

    def record(self, request: Ended, facts: Mapping[str, Any]) -> str | None:
        """Make the spans of an ended request; `traceparent` in its headers names the parent.

        Args:
            request: its times and stages.
            facts: of the access log; they become attributes.

        Returns:
            The trace id, 32 hexadecimal digits, None where nothing is traced.
        """

    def close(self) -> None:
        """Send what is left."""


class NoTracing:
    """Tracing is off."""

    enabled = False

    def record(self, *_: object) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class OpenTelemetryTracing:
    """Sends spans to a collector, from a thread of its own.

    Args:
        exporter: where spans go; tests pass one that keeps them.
        version: of the service, for the resource.
    """

    enabled = True

    def __init__(self, exporter: "SpanExporter", version: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        name = os.environ.get("OTEL_SERVICE_NAME") or "mmgrec"
        resource = Resource.create({"service.name": name, "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("mmgrec", version)
        self._propagator = TraceContextTextMapPropagator()
        self._server = SpanKind.SERVER
        self._failed = Status(StatusCode.ERROR)

    def record(self, request: Ended, facts: Mapping[str, Any]) -> str:  # noqa: D102
        from opentelemetry.trace import set_span_in_context

        # From monotonic seconds to nanoseconds since 1970; taken once a request, so that its spans fit each other.
        epoch_ns = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(
            f"{facts['method']} {facts['route']}",
            context=self._propagator.extract(_trace_headers(request.scope)),
            kind=self._server,
            attributes=_attributes(facts),
            start_time=epoch_ns + int(request.context.started * 1e9),
        )
        inside = set_span_in_context(span)
        for name, began, over in request.context.stages:
            child = self._tracer.start_span(name, context=inside, start_time=epoch_ns + int(began * 1e9))
            child.end(epoch_ns + int(over * 1e9))
        if facts["status"] >= 500:
            span.set_status(self._failed)
        span.end(epoch_ns + int(request.ended * 1e9))
        return f"{span.get_span_context().trace_id:032x}"

    def close(self) -> None:  # noqa: D102
        self._provider.shutdown()


def make_tracing(settings: Settings, version: str) -> Tracing:
    """Tracing as the settings say.

    Raises:
        SettingsError: an endpoint is set, and the extra `otel` is not installed.
    """
    if settings.otel_endpoint is None:
        return NoTracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise SettingsError(f"MMGREC_OTEL_ENDPOINT: traces need the extra otel; install it: {INSTALL}") from None
    endpoint = settings.otel_endpoint.rstrip("/")
    endpoint = endpoint if endpoint.endswith("/v1/traces") else f"{endpoint}/v1/traces"
    return OpenTelemetryTracing(OTLPSpanExporter(endpoint=endpoint), version)


def _trace_headers(scope: Mapping[str, Any]) -> dict[str, str]:
    wanted = (b"traceparent", b"tracestate")
    return {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in wanted}


def _attributes(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Names of OpenTelemetry where it has one, ours otherwise."""
    named = {"method": "http.request.method", "route": "http.route", "status": "http.response.status_code"}
    return {named.get(name, f"mmgrec.{name}"): value for name, value in facts.items() if name != "ms"}
