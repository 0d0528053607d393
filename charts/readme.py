"""Write the values table of a chart's README from the comments in its values.yaml.

    python charts/readme.py [--check]

The comments are those of helm-docs: `# -- text` above a key, continued by further comment lines. A key is described by
its own comment or by that of a key above it; one that is described by neither is an error. `--check` writes nothing
and exits 1 where the table is stale.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

CHART = Path(__file__).parent / "llmcache"
START, END = "<!-- values -->\n", "<!-- /values -->\n"

_KEY = re.compile(r"^(?P<indent> *)(?P<name>[A-Za-z][\w-]*):(?: |$)")


def described_keys(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (path of the key, its description) for every key of a values.yaml, "" where it has no comment."""
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            comment = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("#"):
            if comment:
                comment.append(stripped.removeprefix("#").strip())
        elif match := _KEY.match(line):
            indent = len(match["indent"])
            path = [(depth, name) for depth, name in path if depth < indent] + [(indent, match["name"])]
            yield tuple(name for _, name in path), " ".join(comment)
            comment = []
        else:
            comment = []


def rows(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (key, default as JSON, description) per described key; raise ValueError for one that nobody describes."""
    values = yaml.safe_load(text)
    described: set[tuple[str, ...]] = set()
    for path, description in described_keys(text):
        default = values
        for name in path:
            default = default[name]
        if description:
            described.add(path)
            yield ".".join(path), json.dumps(default, ensure_ascii=False), description
        elif not isinstance(default, dict) and not any(path[:n] in described for n in range(1, len(path))):
            raise ValueError(f"values.yaml: {'.'.join(path)} has no `# --` comment")


def with_table(readme: str, values: str) -> str:
    """Return the README with the table between its markers made anew."""
    head, _, rest = readme.partition(START)
    _, _, tail = rest.partition(END)
    table = ["| Key | Default | Description |", "|---|---|---|"]
    table += [f"| `{key}` | `{default}` | {text.replace('|', '&#124;')} |" for key, default, text in rows(values)]
    return head + START + "\n".join(table) + "\n" + END + tail


def main(arguments: list[str]) -> int:
    readme = CHART / "README.md"
    current = readme.read_text()
    wanted = with_table(current, (CHART / "values.yaml").read_text())
    if "--check" in arguments:
        if current != wanted:
            sys.stderr.write(f"{readme}: the values table is stale; run python charts/readme.py\n")
            return 1
        return 0
    readme.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
