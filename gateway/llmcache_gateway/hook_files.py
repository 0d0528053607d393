"""Loading hooks from a folder."""

import hashlib
import inspect
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from llmcache_gateway.config import Problem
from llmcache_gateway.errors import ConfigError

Hook = Callable[..., Awaitable[Any]]

ARGUMENTS: Final = {
    "build_key": ("request", "default_key"),
    "pre_upstream": ("call",),
    "post_response": ("response",),
    "pre_store": ("candidate",),
}
"""Every hook, with the arguments that it is given, by position."""

PATH: Final = "spec.hooks"


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the Python files of a folder by name; ConfigError when it can't be read."""
    try:
        # Only the folder's own files: a mounted ConfigMap keeps its versions in hidden folders beside them.
        names = sorted(path for path in folder.iterdir() if path.suffix == ".py" and path.is_file())
        return {path.name: path.read_bytes() for path in names}
    except OSError as error:
        message = f"the folder {folder} can't be read: {error.strerror}; give --hooks a folder of *.py files"
        raise ConfigError([Problem(PATH, message)]) from None


def digest_of(files: dict[str, bytes]) -> str:
    """Return a digest that is equal for equal files only."""
    hashed = hashlib.sha256()
    for name, text in files.items():
        for part in (name.encode(), text):
            hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.hexdigest()


def load(files: dict[str, bytes]) -> dict[str, Hook]:
    """Return the hooks that files define; ConfigError with every problem."""
    problems: list[Problem] = []
    found: dict[str, tuple[str, Hook]] = {}
    for file, text in files.items():
        try:
            module = _module(file, text)
        except BaseException as error:
            # Whatever a user's file does when it runs, exiting included, it is a configuration that can't be used.
            problems.append(Problem(PATH, f"{file} can't be loaded: {type(error).__name__}: {error}"))
            continue
        for name, arguments in ARGUMENTS.items():
            hook = getattr(module, name, None)
            if hook is None:
                continue
            if name in found:
                problems.append(Problem(PATH, f"{file} and {found[name][0]} both define {name}: keep one of them"))
            elif not _fits(hook, arguments):
                message = f"{file}: {name} must be `async def {name}({', '.join(arguments)})`"
                problems.append(Problem(PATH, message))
            else:
                found[name] = (file, hook)
    if not found and not problems:
        message = f"no hook is defined: write one of {', '.join(ARGUMENTS)} in a *.py file, or remove spec.hooks"
        problems.append(Problem(PATH, message))
    if problems:
        raise ConfigError(problems)
    return {name: hook for name, (_, hook) in found.items()}


def _module(file: str, text: bytes) -> ModuleType:
    module = ModuleType(f"llmcache_hooks_{file.removesuffix('.py')}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102 (the operator's own files; that is the feature)
    return module


def _fits(hook: Any, arguments: tuple[str, ...]) -> bool:
    if not inspect.iscoroutinefunction(hook):
        return False
    try:
        inspect.signature(hook).bind(*arguments)
    except TypeError:
        return False
    return True
