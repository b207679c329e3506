"""Logs: one JSON object per line, with the object that is being worked on. Never a secret: specs are not logged."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

_FIELDS: Final[ContextVar[dict[str, Any] | None]] = ContextVar("llmfleet_log_fields", default=None)
_NOISY: Final = ("kopf.activities", "kopf.objects", "aiohttp.access")


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON: time, level, logger, message, reason, and the fields of the context."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **(_FIELDS.get() or {}),
        }
        if reason := getattr(record, "reason", ""):
            line["reason"] = reason
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str) -> None:
    """Send all logs of the process to standard error in this form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _log_the_end


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends the process is a line like all others, or else a log collector tears it apart."""
    logging.getLogger("llmfleet").critical("ended by %s: %s", kind.__name__, error, exc_info=(kind, error, trace))


@contextmanager
def log_fields(**fields: Any) -> Iterator[None]:
    """Add fields to every line that is logged inside the block, by this task and the tasks it starts."""
    token = _FIELDS.set({**(_FIELDS.get() or {}), **fields})
    try:
        yield
    finally:
        _FIELDS.reset(token)
