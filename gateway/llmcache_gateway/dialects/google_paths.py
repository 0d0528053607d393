"""Google's paths: which of them ask for content, and of which model; and the credentials in their queries.

Formats: the paths that Google's SDK asks (google-genai 3.6), of the Gemini API and of Vertex AI.
"""

import re
from typing import Final
from urllib.parse import unquote_plus

GOOGLES: Final = re.compile(
    r"/(?:(?:upload|download)/)?v1(?:alpha|beta)[0-9]*/|/v1/(?:projects|publishers|cachedContents|tunedModels|endpoints)\b"
    r"|/v1/models/[^/]+:(?:[a-z]+(?:Content|Contents|Tokens|Answer)|streamGenerateContent|batch[A-Za-z]+Contents?"
    r"|predict|predictLongRunning)$"
)
"""Begins a path that is Google's alone. Those that others have, too (`/v1/models`), a credential tells apart."""

_SHARED: Final = re.compile(r"/v1/(?:models|files|batches|operations|interactions)(?:/|$)")
"""Begins a path that Google has and others, too, none of whom takes a credential in its query."""

_RESOURCE: Final = (
    r"(?P<resource>/v1(?:(?:alpha|beta)[0-9]*)?/(?P<vertex>(?:projects/[^/%]+/locations/[^/%]+/)?(?:publishers/google/)?)"
    r"(?:models|tunedModels|endpoints)/(?P<model>[A-Za-z0-9._@-]{1,256}))"
)
_GENERATE: Final = re.compile(f"{_RESOURCE}:(?P<verb>generateContent|streamGenerateContent)")
_EMBED: Final = re.compile(f"{_RESOURCE}:(?P<verb>embedContent|batchEmbedContents)")

API_KEY: Final = "x-goog-api-key"

CREDENTIAL_FIELDS: Final = {"key": (API_KEY, ""), "access_token": ("Authorization", "Bearer ")}
"""Fields of a query that carry a credential: the header that says the same, and how its value begins."""


def generating(path: str) -> re.Match[str] | None:
    """Return the parts of a path that asks for content: `resource`, `vertex` (not empty for it), `model`, `verb`."""
    return _GENERATE.fullmatch(path)


def embedding(path: str) -> re.Match[str] | None:
    """Return the parts of a path that asks for embeddings, as `generating` does."""
    return _EMBED.fullmatch(path)


def is_vertex(path: str) -> bool:
    """Say whether a path of Google's is one of Vertex AI."""
    return "/projects/" in path or "/publishers/" in path


def may_carry_credentials(path: str) -> bool:
    """Say whether a credential may stand in the query of a path; anywhere else such a field is the user's own."""
    return GOOGLES.match(path) is not None or _SHARED.match(path) is not None


def credentials_taken_out(query: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a query without its credentials, and the headers that say the same."""
    kept, headers = [], []
    for field in query.split("&"):
        name, _, value = field.partition("=")
        header, begins = CREDENTIAL_FIELDS.get(unquote_plus(name), ("", ""))
        if not header:
            kept.append(field)
        elif value:
            plain = unquote_plus(value)
            # What can't stand in a header is no credential of Google's; as it was sent, it is one of nobody's.
            headers.append((header, begins + (plain if plain.isascii() and plain.isprintable() else value)))
    return "&".join(kept), headers
