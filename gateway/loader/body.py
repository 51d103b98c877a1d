"""The body of a function, read from its source: what becomes of the `next` it is given."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Body", "body_of"]


@dataclass(frozen=True, slots=True)
class Body:
    """What a function does with a parameter.

    `called` is true if it calls it, `goes_on` also if it passes it on beside the context.
    `forgotten_await` is a call as it is written that nothing awaits, "" for none. Without the
    source nothing is known.
    """

    is_known: bool = False
    called: bool = False
    goes_on: bool = False
    forgotten_await: str = ""


def body_of(target: Callable[..., object], context: str, name: str) -> Body:
    """Read what `target` does with its parameter `name`; `context` is the name of its first."""
    while isinstance(target, functools.partial):
        target = target.func
    function = target if inspect.isroutine(target) else type(target).__call__
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
        nodes = list(ast.walk(ast.parse(source)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return Body()
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    called = any(_is(name, call.func) for call in calls)
    passed = any(_takes(context, call) and _takes(name, call) for call in calls)
    alone = [
        ast.unparse(node)
        for node in nodes
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and _is(name, node.value.func)
    ]
    return Body(True, called, called or passed, next(iter(alone), ""))


def _takes(name: str, call: ast.Call) -> bool:
    return any(_is(name, each) for each in [*call.args, *(each.value for each in call.keywords)])


def _is(name: str, node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == name
