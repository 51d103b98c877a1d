from __future__ import annotations

import functools
from typing import Any

import pytest
from typing_extensions import TypeAliasType, TypedDict

from gateway import Context, HandshakeContext
from gateway.loader import (
    doubts,
    first_annotation,
    handler_fault,
    is_async_callable,
    middleware_fault,
)


async def function(ctx: Any, next: Any) -> None: ...


def plain(ctx: Any) -> None: ...


def quiet(wrapped: Any) -> Any:
    @functools.wraps(wrapped)
    def call(*args: object) -> object:
        return wrapped(*args)

    return call


class Thing:
    async def method(self, ctx: Any, next: Any) -> None: ...

    @classmethod
    async def of_class(cls, ctx: Any, next: Any) -> None: ...

    @staticmethod
    async def static(ctx: Any, next: Any) -> None: ...

    def plain(self, ctx: Any) -> None: ...


class Call:
    async def __call__(self, ctx: Any, next: Any) -> None: ...


class PlainCall:
    def __call__(self, ctx: Any) -> None: ...


AWAITED = [
    function,
    Thing().method,
    Thing.of_class,
    Thing().static,
    Call(),
    quiet(function),
    functools.partial(function),
    functools.partial(functools.partial(Thing().method)),
    functools.partial(Call()),
    quiet(Call().__call__),
]


@pytest.mark.parametrize("target", AWAITED)
def test_what_gives_something_to_await_is_async(target: object) -> None:
    assert is_async_callable(target)
    assert middleware_fault(target) is None
    assert handler_fault(target) is None


@pytest.mark.parametrize(
    ("target", "got"),
    [
        (plain, "a function without 'async'"),
        (lambda ctx: None, "a function without 'async'"),
        (Thing().plain, "a function without 'async'"),
        (len, "a function without 'async'"),
        (Thing, "the class Thing"),
        (Call, "the class Call"),
        (PlainCall(), "a value of type PlainCall"),
        (functools.partial(plain), "a value of type partial"),
        (None, "a value of type NoneType"),
        (1, "a value of type int"),
    ],
)
def test_what_gives_nothing_to_await_is_told(target: object, got: str) -> None:
    assert not is_async_callable(target)
    assert handler_fault(target) == f"a handler must be an 'async def', got {got}"
    assert middleware_fault(target) == f"middleware must be an 'async def', got {got}"


async def none() -> None: ...
async def one(ctx: Any) -> None: ...
async def three(ctx: Any, next: Any, more: int) -> None: ...
async def optional(ctx: Any, next: Any, more: int = 1) -> None: ...
async def any_number(*args: object) -> None: ...
async def one_and_any(ctx: Any, *args: object) -> None: ...
async def keyword(ctx: Any, next: Any, *, text: str) -> None: ...
async def keyword_default(ctx: Any, next: Any, *, text: str = "", **more: str) -> None: ...
async def only_keywords(**more: str) -> None: ...


@pytest.mark.parametrize("target", [one, optional, any_number, one_and_any, keyword_default])
def test_handler_takes_context_and_what_it_likes(target: object) -> None:
    assert handler_fault(target) is None


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        (none, "a handler must take (ctx) or (ctx, text, ...), got ()"),
        (only_keywords, "a handler must take (ctx) or (ctx, text, ...), got (**more)"),
        (functools.partial(one, 1), "a handler must take (ctx) or (ctx, text, ...), got ()"),
        (keyword, "parameter 'text' must have a default or come before the '*'"),
    ],
)
def test_handler_that_cannot_be_called_is_told(target: object, fault: str) -> None:
    assert handler_fault(target) == fault


@pytest.mark.parametrize("target", [optional, any_number, one_and_any, keyword_default])
def test_middleware_takes_context_and_next(target: object) -> None:
    assert middleware_fault(target) is None


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        (none, "middleware must take (ctx, next), got ()"),
        (one, "middleware must take (ctx, next), got (ctx)"),
        (three, "middleware must take (ctx, next), got (ctx, next, more)"),
        (Thing.method, "middleware must take (ctx, next), got (self, ctx, next)"),
        (keyword, "parameter 'text' must have a default or come before the '*'"),
    ],
)
def test_middleware_that_cannot_be_called_is_told(target: object, fault: str) -> None:
    assert middleware_fault(target) == fault


class Data(TypedDict):
    name: str


Typed = Context[Data]
Named = TypeAliasType("Named", Context[Data, Any])
Handshaking = HandshakeContext[Data]


class Lazy:
    """An alias as `type Broken = Nowhere` makes it."""

    @property
    def __value__(self) -> object:
        raise NameError("Nowhere")


Broken: Any = Lazy()


async def typed(request: Typed, text: str) -> None: ...


async def subscripted(request: Context[Data], text: str) -> None: ...


async def named(request: Named, text: str) -> None: ...


async def last(text: str, request: Typed) -> None: ...


async def broken(request: Broken, text: str) -> None: ...


async def handshaking(request: Handshaking, go_on: Any) -> None:
    await go_on()


def evaluated(function: Any) -> Any:
    """A function like it whose annotations are not text."""

    async def call(request: object, text: object) -> None: ...

    hints = {name: eval(hint, globals()) for name, hint in function.__annotations__.items()}
    call.__annotations__ = hints
    return call


@pytest.mark.parametrize("target", [typed, subscripted, named])
@pytest.mark.parametrize("given", [lambda function: function, evaluated])
def test_a_context_with_types_is_a_context(target: Any, given: Any) -> None:
    handler = given(target)
    assert handler_fault(handler) is None
    assert list(doubts(handler, "handler")) == []
    assert first_annotation(handler) is Context


def test_a_handshakes_context_with_types_is_one() -> None:
    assert middleware_fault(handshaking) is None
    assert list(doubts(handshaking, "middleware")) == []
    assert first_annotation(handshaking) is HandshakeContext


def test_a_context_with_types_comes_first() -> None:
    assert str(handler_fault(last)).startswith("its first parameter must be the context")


def test_an_alias_that_cannot_be_evaluated_is_no_context() -> None:
    assert handler_fault(broken) is None
    [doubt] = doubts(broken, "handler")
    assert doubt.startswith("its first parameter, 'request', gets the context")
