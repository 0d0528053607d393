"""Logs as JSON lines on standard error."""

import contextlib
import logging
import queue
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from llmcache_gateway.plainjson import dumps

log = logging.getLogger(__name__)

LINES_WAITING: Final = 10_000
"""Most lines that wait to be written: some 5 MB. What comes on top is dropped and counted."""

QUIET: Final = ("botocore", "httpcore", "httpx", "urllib3")
"""Libraries that log each of their calls, botocore with the token that it signs. Only their warnings are shown."""

END_SECONDS: Final = 1.0
"""Longest time in which the last lines are written at the end of the process."""


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


class ThreadedHandler(logging.Handler):
    """Writes lines in a thread of its own.

    A pipe that nobody empties makes its writer wait, and no request may wait for a log line. Lines beyond
    `LINES_WAITING` are dropped; how many were is a line of its own, once there is room.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_WAITING)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a line to the thread, or drop it; never wait."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1
        except Exception:
            self.handleError(record)  # as every handler of the standard library does: no line is worth a request

    def close(self) -> None:
        """Write what waits, for `END_SECONDS` at most, and end the thread."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=END_SECONDS)
            self._thread.join(END_SECONDS)
        super().close()

    def _write(self) -> None:
        told = 0
        for line in iter(self._lines.get, None):
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except OSError:
                return  # nobody reads it any more, and there is nowhere to say so
            if (dropped := self._dropped - told) and self._lines.empty():
                told += dropped
                log.warning(
                    "log lines were dropped: they came faster than they were read", extra={"fields": {"lines": dropped}}
                )


def set_up_logging(level: str) -> None:
    """Send this process's log to standard error from a level on."""
    handler = ThreadedHandler(sys.stderr)
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    # What no line shows need not be found out for each (Python's "Logging HOWTO", section Optimization).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
