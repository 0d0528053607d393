"""Logs as JSON lines on standard error."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

from llmcache_gateway.plainjson import dumps


class JSONFormatter(logging.Formatter):
    """Writes a record as one JSON object; `extra={"fields": {...}}` adds members of its own."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in getattr(record, "fields", {}).items() if value is not None}
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        return dumps(line).decode()


def set_up_logging(level: str) -> None:
    """Send this process's log to standard error from a level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What no line shows need not be found out for each (Python's "Logging HOWTO", section Optimization).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
