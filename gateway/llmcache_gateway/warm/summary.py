"""How a run ended, for programs: as the last line of standard output, and in a file."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Summary:
    """Where the summary goes: to standard output, to a file such as a Job's termination message, or nowhere."""

    printed: bool = False
    file: Path | None = None

    def ended(self, numbers: Mapping[str, Any]) -> None:
        """Say what came of a run."""
        self._write(numbers)

    def refused(self, problems: Sequence[str]) -> None:
        """Say why there was no run."""
        self._write({"complete": False, "error": [problem[:300] for problem in problems[:10]]})

    def _write(self, value: Mapping[str, Any]) -> None:
        text = msgspec.json.encode(value).decode() + "\n"
        if self.printed:
            sys.stdout.write(text)
            sys.stdout.flush()
        if self.file is not None:
            try:
                self.file.write_text(text, encoding="utf-8")
            except OSError as error:
                sys.stderr.write(f"{self.file}: the summary can't be written: {error.strerror}\n")
