"""What a plugin name may mean, and which names there are."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from types import ModuleType

from gateway.errors import PluginError

__all__ = ["did_you_mean", "names_in", "readings", "split_name"]


def split_name(name: str) -> list[str]:
    """The parts of a plugin name, written out: `auth` is `auth.auth`. Raises `PluginError`."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise PluginError(f"{name!r} is not a plugin name: write module.attribute")
    if hidden := next((part for part in parts if part.startswith("_")), None):
        raise PluginError(f"no plugin {name!r}: {hidden} starts with '_', so it is not one")
    return parts * 2 if len(parts) == 1 else parts


def readings(parts: Sequence[str]) -> Iterator[tuple[Sequence[str], str, str | None]]:
    """The ways to read a name: as module and attribute, or as module, class and method."""
    yield parts[:-1], parts[-1], None
    if len(parts) > 2:
        yield parts[:-2], parts[-2], parts[-1]


def names_in(path: str, module: ModuleType) -> Iterator[str]:
    """The plugin names a module defines; what it imported from elsewhere is not among them."""
    for attribute, value in vars(module).items():
        if attribute.startswith("_") or not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        if f"{value.__module__}.".startswith(f"{module.__name__}."):
            yield attribute if attribute == path else f"{path}.{attribute}"
            if inspect.isclass(value):
                yield from _methods(f"{path}.{attribute}", value)


def did_you_mean(word: str, words: Sequence[str]) -> str:
    """`, did you mean 'x'?` after a message about an unknown word, or nothing."""
    near = get_close_matches(word, words, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _methods(name: str, kind: type) -> Iterator[str]:
    for method, value in vars(kind).items():
        if inspect.isfunction(value) and not method.startswith("_"):
            yield f"{name}.{method}"
