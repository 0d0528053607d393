"""Rules between the fields of one type, which no field's own schema can say."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """One rule, told twice: to the API server in CEL, to the gateway in Python.

    Both run on the same values (`self`, with defaults filled in) and tests hold them against each other over
    a common table. `message` says what to write instead. `field` is the path below `self` that the error names.
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str
    field: str = ""
