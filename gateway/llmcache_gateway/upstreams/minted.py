"""Tokens that the gateway makes for its upstreams, each kept for as long as a configuration names it."""

from collections.abc import Callable
from weakref import WeakValueDictionary

from llmcache_gateway.config import Problem
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.upstreams.base import Signer


class Minted:
    """Who makes tokens, by the key that they are made of: a reload that names the same one goes on with its token.

    `clock` returns seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._googles: WeakValueDictionary[str | None, Signer] = WeakValueDictionary()

    def google(self, key: str | None, path: str) -> Signer:
        """Return who makes Google's tokens of a key file's text, or of what the pod is where it is None.

        ConfigError, with the path of the setting, for what is no key, or where google-auth, an extra, is not installed.
        """
        found = self._googles.get(key)
        if found is not None:
            return found
        try:
            from llmcache_gateway.upstreams.google import GoogleToken, credentials_of
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith(("google", "requests")):
                raise
            message = "Google's tokens need the package google-auth: install llmcache-operator[gateway,google]"
            raise ConfigError([Problem(path, message)]) from None
        try:
            made = GoogleToken(credentials_of(key), self._clock)
        except ConfigError as error:
            raise ConfigError([Problem(path, str(problem)) for problem in error.problems]) from None
        self._googles[key] = made
        return made
