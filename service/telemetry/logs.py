"""The log of the process: one JSON object (or one line of text) for each record, on standard error.

JSON fields: `time` (UTC), `level`, `logger`, `message`, and what a record adds, see `service.telemetry.observation`.
"""

import json
import logging
import sys
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from service.settings import Settings
from service.telemetry.redaction import Redaction

MOST_LINES = 100
FIELDS = "mmgrec_fields"
"""Attribute of a record that holds its own fields: `logger.info("...", extra={FIELDS: {...}})`."""


class LineFormatter(logging.Formatter):
    """Writes a record on one line, without any configured secret.

    Args:
        as_json: an object, else text for human eyes.
        redaction: knows the secrets.
    """

    def __init__(self, *, as_json: bool, redaction: Redaction) -> None:
        super().__init__()
        self._as_json = as_json
        self._redaction = redaction
        self._second = (0, "")  # and its text: most lines share theirs with the one before

    def format(self, record: logging.LogRecord) -> str:
        """The line; a trace is a field of JSON, and follows on lines of its own in text."""
        line = self._json(record) if self._as_json else self._text(record)
        return self._redaction.without_secrets(line)

    def _json(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": self._utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        try:
            return to_json(told, fallback=str).decode()  # a third of the time that `json` takes
        except ValueError:  # half of a surrogate pair, which UTF-8 cannot hold
            return json.dumps(told, default=str)

    def _text(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in getattr(record, FIELDS, {}).items())
        line = f"{self._utc(record.created)} {record.levelname:<7} {record.name}: {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def _utc(self, created: float) -> str:
        """Such as 2026-11-21T10:30:00.123Z."""
        second = int(created)
        known, text = self._second
        if second != known:
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = (second, text)
        return f"{text}.{int((created - second) * 1000):03d}Z"


class GatheringHandler(logging.Handler):
    """Writes lines to standard error together: for each of its own, the system and the other threads cost more than it.

    A warning is written at once, with what came before it; other lines when there are many, or at the next `flush`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        try:
            self._lines.append(self.format(record))
        except Exception:  # noqa: BLE001 - logging's own rule: what fails here must not fail its caller
            self.handleError(record)
        if record.levelno >= logging.WARNING or len(self._lines) >= MOST_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Where nobody takes it (a full disk, a closed pipe) it is lost, and the service goes on."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                with suppress(OSError, ValueError):
                    sys.stderr.write("\n".join(lines) + "\n")
                    sys.stderr.flush()


def flush_logs() -> None:
    """Write what waits in the handlers; called several times a second."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def leave_out_what_no_line_tells() -> None:
    """Thread and process of a record: to look them up costs more than the line itself."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def log_config(settings: Settings) -> dict[str, Any]:
    """What `logging.config.dictConfig` and uvicorn take. Uvicorn's access log shows paths, hence users: it is off."""
    redaction = Redaction(settings.secrets())
    formatter = {"()": LineFormatter, "as_json": settings.log_format == "json", "redaction": redaction}
    level = settings.log_level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "handlers": {"stderr": {"()": GatheringHandler, "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},  # libraries, and asyncio's unretrieved errors
        "loggers": {"service": {"level": level}, "uvicorn": {"level": level}, "uvicorn.access": {"level": "CRITICAL"}},
    }
