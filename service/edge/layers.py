"""The edge of the service: the layers around the routes, and what they share.

From outside in: context and limits on headers and body, authentication, rate limit. Each refuses before the body is
read.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from service.api_keys import KeyRing
from service.edge.authentication import AuthenticationMiddleware, owner_of_key
from service.edge.middleware import RequestContextMiddleware
from service.edge.openapi import document_the_edge
from service.edge.rate_limit import RateLimitMiddleware, burst_of
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.observation import Observation
from service.telemetry.redaction import Redaction
from service.telemetry.scraped import RuntimeCollector
from service.telemetry.tracing import make_tracing

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

    from service.runtime import Runtime

OWN_TRACES_ALONE: "TelemetryConfig" = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's own telemetry would send paths, and so users, to wherever `OTEL_*` points; ours is `telemetry.tracing`."""


class Edge:
    """Keys, metrics, redaction and tracing of one app.

    Args:
        settings: of the service.
        version: of the service, for traces.

    Raises:
        SettingsError: a key or a file of keys cannot be used, or an extra is missing.
    """

    def __init__(self, settings: Settings, version: str) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self._keys = KeyRing(settings.api_keys, settings.api_keys_file, setting="MMGREC_API_KEYS")
        self._admin_keys = KeyRing(settings.admin_keys, settings.admin_keys_file, setting="MMGREC_ADMIN_KEYS")
        self._tracing = make_tracing(settings, version)
        hash_key = settings.log_hash_key
        redaction = Redaction(settings.secrets(), None if hash_key is None else hash_key.get_secret_value())
        self._observation = Observation(self.metrics, self._tracing, redaction)

    def knows(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether they show an API key; where there are none, everybody is known."""
        return not self._keys or owner_of_key(headers, self._keys) is not None

    def surround(self, app: FastAPI) -> None:
        """Lay the layers around an app; the first is the innermost."""
        settings = self._settings
        if (per_second := settings.rate_limit_per_second) is not None:
            burst = burst_of(per_second, settings.rate_limit_burst)
            app.add_middleware(RateLimitMiddleware, per_second=per_second, burst=burst)
        app.add_middleware(
            AuthenticationMiddleware,
            keys=self._keys,
            admin_keys=self._admin_keys,
            metrics_public=settings.metrics_public,
            allow_anonymous=settings.allow_anonymous,
        )
        app.add_middleware(
            RequestContextMiddleware,
            max_body_bytes=settings.max_body_bytes,
            max_header_bytes=settings.max_header_bytes,
            observation=self._observation,
        )
        document_the_edge(app)

    @contextmanager
    def running(self, runtime: "Runtime") -> Iterator[None]:
        """While a runtime lives, scrapes ask it; at its end the last spans are sent."""
        collector = RuntimeCollector(runtime, self.metrics)
        self.metrics.pull_from(collector)
        try:
            yield
        finally:
            self.metrics.forget(collector)
            self._tracing.close()
