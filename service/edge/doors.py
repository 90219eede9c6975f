"""Which key a path wants, in one table for authentication, rate limit and the OpenAPI document."""

from typing import Literal

Door = Literal["open", "metrics", "admin", "api"]

_OPEN = frozenset(
    {
        *("/health", "/health/live", "/health/ready", "/livez", "/readyz"),
        *("/v2", "/v2/health/live", "/v2/health/ready"),
        *("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"),  # what they say stands in the public source
    }
)


def door_of(path: str) -> Door:
    """The door that a path leads through: "open" wants no key, "admin" one of its own, "api" an API key.

    An orchestrator that asks for health has no key; that includes the Open Inference Protocol's names of it.
    """
    if path in _OPEN:
        return "open"
    if path == "/metrics":
        return "metrics"
    if path == "/admin" or path.startswith("/admin/"):
        return "admin"
    if path.startswith("/v2/models/") and path.endswith("/ready"):
        return "open"
    return "api"
