"""A request's head: its method, target and headers, and what follows from them alone."""

from typing import Any, Final

from multidict import CIMultiDict

from llmcache_gateway.dialects import credentials_taken_out
from llmcache_gateway.freshness import Controls, read_controls
from llmcache_gateway.headers import Headers, counted

Counted = dict[str, list[str]]

MAX_KEPT: Final = 16
"""Most answers to one question that a head keeps: as many as there are pairs of a dialect and a policy, mostly one."""


class Head:
    """What all requests with one head have in common. Found out when it is asked for, and kept for the next of them.

    Nothing kept here depends on a configuration: what does is an argument. A credential in the query is taken for the
    header that says the same, so that it makes the tenant, and stands nowhere that a query does.
    """

    __slots__ = ("_controls", "_counted", "headers", "method", "path", "query", "target")

    def __init__(self, method: str, target: str, headers: Headers) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.target = target
        """The raw path with its query, as the client sent it, but for a credential in it."""

        self.headers = headers
        if "=" in self.query:
            query, credentials = credentials_taken_out(self.path, self.query)
            if query != self.query:
                self.query, self.target = query, f"{self.path}?{query}" if query else self.path
                self.headers = CIMultiDict(headers)
                for name, value in credentials:
                    self.headers.add(name, value)
        self._controls: Controls | None = None
        self._counted: dict[tuple[tuple[str, ...], frozenset[str]], Counted] = {}

    def controls(self, body_object: Any) -> Controls:
        """Return what the headers, and the body's `cache` object, ask; RequestError(400) for what is malformed."""
        if body_object is not None:
            return read_controls(self.headers, body_object)
        if self._controls is None:
            self._controls = read_controls(self.headers, None)
        return self._controls

    def counted_query(self, uncounted: frozenset[str]) -> str:
        """Return the query without the fields, as they were written, that don't count."""
        if not self.query or not uncounted:
            return self.query
        return "&".join(field for field in self.query.split("&") if field not in uncounted)

    def counted(self, flags: tuple[str, ...], ignore: frozenset[str]) -> Counted:
        """Return the headers that can change the answer, by name in lower case, less those that match `ignore`.

        Those named in `flags` hold sets: neither order nor lines count. What is returned must not be changed.
        """
        wanted = (flags, ignore)
        found = self._counted.get(wanted)
        if found is None:
            found = counted(self.headers, ignore)
            for name in flags:
                if name in found:
                    found[name] = _items(found[name])
            if len(self._counted) < MAX_KEPT:
                self._counted[wanted] = found
        return found


def _items(values: list[str]) -> list[str]:
    """Return a header as a set: these are lists of flags, or one value. A list may come in several lines (RFC 9110)."""
    return sorted({item.strip() for value in values for item in value.split(",")})
