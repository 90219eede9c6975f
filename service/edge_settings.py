"""Settings of the edge: keys, limits of callers, log and traces. `service.settings` puts all settings together."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings


class EdgeSettings(BaseSettings):
    """A part of `Settings`."""

    max_header_bytes: int = Field(
        default=32 * 1024, ge=1024, description="largest accepted headers of a request, names and values together"
    )
    api_keys: SecretStr | None = Field(
        default=None, description="keys that callers must show, comma-separated; for small set-ups, see API_KEYS_FILE"
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="file of lines NAME:SHA256 (made by python -m service.api_keys NAME), read again when it changes",
    )
    admin_keys: SecretStr | None = Field(
        default=None, description="keys for /admin/*, comma-separated; without any, /admin/* does not exist"
    )
    admin_keys_file: Path | None = Field(default=None, description="the same as API_KEYS_FILE, for /admin/*")
    allow_anonymous: bool = Field(
        default=False, description="without API keys, be reachable from other machines all the same"
    )
    metrics_public: bool = Field(default=True, description="GET /metrics asks for no key")
    rate_limit_per_second: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="recommendations or other requests per second of one key, counted per process; none: no limit",
    )
    rate_limit_burst: int | None = Field(
        default=None, ge=1, le=10**6, description="requests of one key at once; default: those of one second"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe lines of the log: debug, info (one per request), warning or error"
    )
    log_format: Literal["json", "text"] = Field(default="json", description="json (one object per line) or text")
    log_hash_key: SecretStr | None = Field(
        default=None,
        description="key of the hashes that stand for user ids in logs and traces; default: a random one per process",
    )
    otel_endpoint: str | None = Field(
        default=None,
        description="OTLP/HTTP collector that traces are sent to, such as http://127.0.0.1:4318 (needs mmgrec[otel])",
    )

    @field_validator("otel_endpoint")
    @classmethod
    def _usable_endpoint(cls, endpoint: str | None) -> str | None:
        if endpoint is not None:
            url = urlsplit(endpoint)
            if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc:
                raise ValueError(
                    "write http:// or https:// and a host, such as http://127.0.0.1:4318; credentials belong into "
                    "OTEL_EXPORTER_OTLP_HEADERS"
                )
        return endpoint
