"""Which lines are done, kept in a file so that a run that was cut off can go on."""

from pathlib import Path
from typing import Final

from llmcache_gateway.errors import ConfigError

_HEAD: Final = "llmcache-warm 1"


class Journal:
    """A file with the number of each line that is done, one a line, written as soon as it is.

    Each is one short append, so that a process that is killed leaves at most one torn line, the last, which is
    not read. `source` names what is warmed and from what: a journal of something else is refused.
    """

    def __init__(self, path: Path | None, source: str) -> None:
        self._path = path
        self._head = f"{_HEAD} {source}"
        self._done = bytearray()  # a bit a line
        self.count = 0
        self._file = None
        if path is None:
            return
        try:
            kept = self._read(path) if path.exists() else 0
            self._file = path.open("r+b" if kept else "wb")
            self._file.truncate(kept)
            self._file.seek(kept)
            if not kept:
                self._append(self._head)
        except OSError as error:
            raise ConfigError([f"{path}: can't be used to resume from: {error.strerror}"]) from None

    def done(self, number: int) -> bool:
        """Say whether a line is done."""
        return number >> 3 < len(self._done) and bool(self._done[number >> 3] & 1 << (number & 7))

    def add(self, number: int) -> None:
        """Note that a line is done."""
        self._mark(number)
        if self._file is not None:
            self._append(str(number))

    def close(self, *, finished: bool) -> None:
        """Let go of the file; a run that finished needs it no more."""
        if self._file is not None and self._path is not None:
            self._file.close()
            if finished:
                self._path.unlink(missing_ok=True)

    def _append(self, text: str) -> None:
        assert self._file is not None
        self._file.write(text.encode() + b"\n")
        self._file.flush()

    def _mark(self, number: int) -> None:
        if not self.done(number):
            short = (number >> 3) + 1 - len(self._done)
            self._done.extend(bytes(max(short, 0)))
            self._done[number >> 3] |= 1 << (number & 7)
            self.count += 1

    def _read(self, path: Path) -> int:
        """Mark what the file says; return how many of its bytes are whole lines."""
        kept = 0
        with path.open("rb") as file:
            for at, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                text = line[:-1].decode("ascii", "replace")
                if at == 0 and text != self._head:
                    wrong = "is of other requests or another gateway: remove it, or name another file"
                    raise ConfigError([f"{path}: {wrong if text.startswith(_HEAD) else 'is no state of warm'}"])
                if at and text.isdigit() and len(text) < 12:
                    self._mark(int(text))
                kept += len(line)
        return kept
