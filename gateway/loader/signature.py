"""Checks of whether a callable can be middleware or a handler."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable
from inspect import Parameter, Signature
from typing import TypeGuard

__all__ = ["BY_POSITION", "handler_fault", "is_async_callable", "middleware_fault", "signature_of"]

if sys.version_info >= (3, 14):  # evaluates annotations, unless told otherwise
    from annotationlib import Format

    _signature = functools.partial(inspect.signature, annotation_format=Format.FORWARDREF)
else:
    _signature = inspect.signature

BY_POSITION = (
    Parameter.POSITIONAL_ONLY,
    Parameter.POSITIONAL_OR_KEYWORD,
    Parameter.VAR_POSITIONAL,
)


def signature_of(target: Callable[..., object]) -> Signature:
    """Return the signature, whether or not its annotations can be evaluated.

    Raises `ValueError` or `TypeError` for a callable in C that has no signature.
    """
    return _signature(target)


def is_async_callable(target: object) -> TypeGuard[Callable[..., Awaitable[object]]]:
    """Tell whether calling the target returns something to await.

    True of an `async def`, a bound method or `functools.partial` of one, an object with
    `async def __call__`, and an `async def` behind decorators that use `functools.wraps`.
    """
    while isinstance(target, functools.partial):
        target = target.func
    if inspect.isclass(target) or not callable(target):
        return False
    function = target if inspect.isroutine(target) else type(target).__call__
    return inspect.iscoroutinefunction(inspect.unwrap(function))


def handler_fault(handler: object) -> str | None:
    """Return why this cannot be a handler, or `None`. It is called as `handler(ctx, *args)`."""
    if not is_async_callable(handler):
        return f"a handler must be an 'async def', got {_kind(handler)}"
    parameters = _parameters(handler)
    if not any(each.kind in BY_POSITION for each in parameters):
        return f"a handler must take (ctx) or (ctx, text, ...), got {_shown(parameters)}"
    return _keyword_fault(parameters)


def middleware_fault(middleware: object) -> str | None:
    """Return why this cannot be middleware, or `None`. It is called as `middleware(ctx, next)`."""
    if not is_async_callable(middleware):
        return f"middleware must be an 'async def', got {_kind(middleware)}"
    parameters = _parameters(middleware)
    places = [each for each in parameters if each.kind in BY_POSITION]
    needed = [each for each in places if _is_needed(each)]
    takes_more = any(each.kind is Parameter.VAR_POSITIONAL for each in places)
    is_swapped = bool(places) and places[0].name == "next"
    if len(needed) > 2 or (len(places) < 2 and not takes_more) or is_swapped:
        return f"middleware must take (ctx, next), got {_shown(parameters)}"
    return _keyword_fault(parameters)


def _parameters(target: Callable[..., object]) -> list[Parameter]:
    return list(signature_of(target).parameters.values())


def _is_needed(parameter: Parameter) -> bool:
    is_variable = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return parameter.default is Parameter.empty and not is_variable


def _keyword_fault(parameters: list[Parameter]) -> str | None:
    for each in parameters:
        if each.kind is Parameter.KEYWORD_ONLY and _is_needed(each):
            return f"parameter {each.name!r} must have a default or come before the '*'"
    return None


def _shown(parameters: list[Parameter]) -> str:
    bare = (
        each.replace(annotation=Parameter.empty, default=Parameter.empty) for each in parameters
    )
    return f"({', '.join(map(str, bare))})"


def _kind(target: object) -> str:
    if inspect.isclass(target):
        return f"the class {target.__name__}"
    if inspect.isroutine(target):
        return "a function without 'async'"
    return f"a value of type {type(target).__name__}"
