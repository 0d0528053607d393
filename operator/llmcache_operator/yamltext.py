"""Writes YAML as a person would: texts of several lines as blocks."""

from collections.abc import Iterable
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, with block texts and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def document(one: Any) -> str:
    """Return one object as YAML text."""
    return yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def documents(objects: Iterable[Any]) -> str:
    """Return objects as the documents of one YAML text."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True, explicit_start=True)
