"""Checks of whether a callable can be middleware or a handler."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from inspect import Parameter, Signature
from typing import Literal, TypeAlias, TypeGuard, get_origin

from gateway.loader.body import Body, body_of

__all__ = [
    "BY_POSITION",
    "Role",
    "class_behind",
    "definition_fault",
    "doubts",
    "handler_fault",
    "is_async_callable",
    "is_routine",
    "middleware_fault",
    "names_seen_by",
    "signature_of",
]

Role: TypeAlias = Literal["middleware", "handler", "service"]
"""The use that a configuration makes of a plugin."""

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

_SUBJECT = {"handler": "a handler", "middleware": "middleware"}
_CONTEXT = ("ctx", "context")
_CONTEXTS = ("Context", "HandshakeContext")
_NEXT = ("Next", "Callable")
_VALUES = ("bool", "bytes", "dict", "float", "int", "list", "set", "str", "tuple")


def signature_of(target: Callable[..., object]) -> Signature:
    """Return the signature, whether or not its annotations can be evaluated.

    Raises `ValueError` or `TypeError` for a callable in C that has no signature.
    """
    return _signature(target)


def names_seen_by(target: Callable[..., object]) -> dict[str, object]:
    """Return the names that annotations of a function, class or callable object may use."""
    while isinstance(target, functools.partial):
        target = target.func
    if inspect.isclass(target):
        function = target.__init__
    else:
        function = target if inspect.isroutine(target) else type(target).__call__
    function = inspect.unwrap(function)
    module = sys.modules.get(target.__module__)
    return getattr(function, "__globals__", None) or (vars(module) if module else {})


def class_behind(hint: object) -> object:
    """Return the class of an annotation: `Context` for `Context[Data]`, and for an alias of it."""
    try:
        hint = getattr(hint, "__value__", hint)  # of `type Ctx = Context[Data]`
    except Exception:  # which is evaluated only now
        return hint
    return get_origin(hint) or hint


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


def definition_fault(definition: object, name: str, role: Role) -> str | None:
    """Return why what `name` leads to is neither the thing itself nor a factory, or `None`.

    A plain `def` is a factory, called with the options; one that takes a context is not meant so.
    """
    if inspect.isgeneratorfunction(definition) or inspect.isasyncgenfunction(definition):
        return _GENERATOR[role]
    if role == "service" or not inspect.isfunction(definition) or is_async_callable(definition):
        return None
    parameters = _parameters(definition)
    if not any(map(_must_be_context, parameters[:2])):
        return None
    instead = f"write 'async def {name.rpartition('.')[2]}{_shown(parameters)}'"
    kind = ", not a lambda" if definition.__name__ == "<lambda>" else ""
    return f"{_SUBJECT[role]} must be an 'async def'{kind}: {instead}"


_GENERATOR: dict[Role, str] = {
    "handler": "a handler cannot 'yield': 'return' the answer, and 'await ctx.socket.emit(...)'",
    "middleware": "middleware cannot 'yield': write 'await next()' where the rest should run",
    "service": "is a generator: decorate it with contextlib's asynccontextmanager",
}


def handler_fault(handler: object) -> str | None:
    """Return why this cannot be a handler, or `None`. It is called as `handler(ctx, *args)`."""
    if not is_async_callable(handler):
        return f"a handler must be an 'async def', got {_kind(handler)}"
    parameters = _parameters(handler)
    places = [each for each in parameters if each.kind in BY_POSITION]
    if not places:
        return f"a handler must take (ctx) or (ctx, text, ...), got {_shown(parameters)}"
    if fault := _order_fault(places, handler):
        return fault
    if any(_takes_next(each, handler) for each in places[1:]):
        return "it takes 'next' as middleware does: name it in a chain, not in 'routes'"
    return _keyword_fault(parameters)


def middleware_fault(middleware: object) -> str | None:
    """Return why this cannot be middleware, or `None`. It is called as `middleware(ctx, next)`."""
    if not is_async_callable(middleware):
        return f"middleware must be an 'async def', got {_kind(middleware)}"
    parameters = _parameters(middleware)
    places = [each for each in parameters if each.kind in BY_POSITION]
    needed = [each for each in places if _is_needed(each)]
    takes_more = any(each.kind is Parameter.VAR_POSITIONAL for each in places)
    must = f"middleware must take (ctx, next), got {_shown(parameters)}"
    if len(needed) > 2 or (len(places) < 2 and not takes_more):
        return must
    if _is_next(places[0]) or (len(places) > 1 and _must_be_context(places[1])):
        return must
    if len(places) > 1 and _type_name(places[1]) in _VALUES:
        return f"{must}; a handler belongs in 'routes'"
    if line := _body(middleware, places).forgotten_await:
        return f"write 'await {places[1].name}()': without 'await', '{line}' does nothing"
    return _keyword_fault(parameters)


def doubts(target: object, role: Role) -> Iterator[str]:
    """Yield what is most likely not meant in middleware or a handler that has no fault."""
    if not is_async_callable(target):
        return
    places = [each for each in _parameters(target) if each.kind in BY_POSITION]
    first = places[0]
    if first.kind is not Parameter.VAR_POSITIONAL and not _may_be_context(first):
        yield (
            f"its first parameter, {first.name!r}, gets the context: "
            f"write {_with_context(places, target)}"
        )
    if role == "middleware" and len(places) > 1 and not _is_next(places[1]):
        body = _body(target, places)
        if body.is_known and not body.goes_on and not places[1].name.startswith("_"):
            yield (
                f"it never calls {places[1].name!r}, which runs what comes after it; "
                "a handler belongs in 'routes'"
            )


def _order_fault(places: list[Parameter], handler: Callable[..., object]) -> str | None:
    """Return why the first parameter is not for the context, or `None` if it may be."""
    first = places[0]
    if _is_context(first) or first.kind is Parameter.VAR_POSITIONAL:
        return None
    if _type_name(first) in _VALUES or _is_next(first) or any(map(_must_be_context, places)):
        return f"its first parameter must be the context: write {_with_context(places, handler)}"
    return None


def _with_context(places: list[Parameter], target: Callable[..., object]) -> str:
    name = getattr(target, "__name__", type(target).__name__)
    bound = ["self"] if inspect.ismethod(target) else []
    context = next((each.name for each in places if _must_be_context(each)), "ctx")
    others = [str(each.replace(default=Parameter.empty)) for each in places if each.name != context]
    return f"'async def {name}({', '.join([*bound, context, *others])})'"


def _takes_next(parameter: Parameter, handler: Callable[..., object]) -> bool:
    """True of `next` that is called: an argument from a client never can be."""
    if _type_name(parameter) in _NEXT:
        return True
    return parameter.name == "next" and bool(body_of(handler, "", "next").called)


def _body(middleware: Callable[..., object], places: list[Parameter]) -> Body:
    if len(places) < 2 or places[1].kind is Parameter.VAR_POSITIONAL:
        return Body()
    return body_of(middleware, places[0].name, places[1].name)


def _must_be_context(parameter: Parameter) -> bool:
    """True only of what cannot be an option or an argument of an event, as `context` may be."""
    return parameter.name == "ctx" or _type_name(parameter) in _CONTEXTS


def _is_context(parameter: Parameter) -> bool:
    return parameter.name == "context" or _must_be_context(parameter)


def _may_be_context(parameter: Parameter) -> bool:
    name = parameter.name
    return (
        _is_context(parameter) or len(name) == 1 or name.startswith("_") or name.endswith(_CONTEXT)
    )


def _is_next(parameter: Parameter) -> bool:
    return parameter.name == "next" or _type_name(parameter) in _NEXT


def _type_name(parameter: Parameter) -> str:
    """Return the name of the annotation without its module and `[...]`; `""` without one."""
    if parameter.annotation is Parameter.empty:
        return ""
    hint = parameter.annotation
    text = hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))
    return text.partition("[")[0].rpartition(".")[2].strip("'\" ")


def _parameters(target: Callable[..., object]) -> list[Parameter]:
    """Return the parameters; a context under a name of the author's own is named as ours."""
    names = names_seen_by(target)
    return [_renamed(each, names) for each in signature_of(target).parameters.values()]


def _renamed(parameter: Parameter, names: Mapping[str, object]) -> Parameter:
    hint = parameter.annotation
    kind = class_behind(names.get(hint) if isinstance(hint, str) else hint)
    is_context = inspect.isclass(kind) and kind.__name__ in _CONTEXTS
    return parameter.replace(annotation=kind) if is_context else parameter


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


def is_routine(target: object) -> bool:
    """Tell whether this is a function or a method; a `partial` is neither, also in Python 3.14."""
    return inspect.isroutine(target) and not isinstance(target, functools.partial)


def _kind(target: object) -> str:
    if inspect.isclass(target):
        return f"the class {target.__name__}"
    if is_routine(target):
        return "a function without 'async'"
    return f"a value of type {type(target).__name__}"
