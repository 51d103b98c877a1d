"""What an author wrote under a plugin name: where it stands, and whether it can be a plugin."""

from __future__ import annotations

import inspect
from types import ModuleType

from gateway.errors import Place

__all__ = ["kind_fault", "place_of"]


def place_of(definition: object, module: ModuleType) -> Place:
    """The first line of a function's or class's definition, decorators included.

    What is made in some other way is placed at the start of its module.
    """
    written = inspect.unwrap(definition) if callable(definition) else definition
    try:
        file = inspect.getsourcefile(written)  # type: ignore[arg-type]
        lines, line = inspect.getsourcelines(written)  # type: ignore[arg-type]
    except (TypeError, OSError):
        return Place(getattr(module, "__file__", None) or module.__name__)
    # A module itself begins at line 0 here.
    return Place(file or module.__name__, max(line, 1), len(lines[0]) - len(lines[0].lstrip()) + 1)


def kind_fault(target: object, method: str | None) -> str | None:
    """Why this cannot be a plugin, or `None`: it is a function, a class or a class's method."""
    if method is not None:
        attribute = getattr(target, method)
        return None if inspect.isroutine(attribute) else f"is {_kind(attribute)}, not a method"
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        return "is a generator: decorate it with contextlib's asynccontextmanager"
    if inspect.isfunction(target) or inspect.isclass(target):
        return None
    return f"is {_kind(target)}, not a function or a class"


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
