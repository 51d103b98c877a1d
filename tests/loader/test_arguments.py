from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest

from gateway.errors import Reject
from gateway.loader import arguments_of

if TYPE_CHECKING:
    from gateway import Context


def refusal(handler: Callable[..., Any], *args: object) -> str:
    with pytest.raises(Reject) as caught:
        arguments_of(handler).bind(args)
    assert caught.value.code == "bad_request"
    return caught.value.message


def bound(handler: Callable[..., Any], *args: object) -> Sequence[object]:
    return list(arguments_of(handler).bind(args))


@dataclass
class Message:
    text: str
    likes: int = 0


async def nothing(ctx: Context) -> None: ...
async def loose(ctx, a, b): ...
async def optional(ctx, a, b=1): ...
async def defaults(ctx, a=1, b=2, c=3): ...
async def rest(ctx, a, *more): ...
async def everything(*args): ...
async def any_type(ctx: Context, a: Any, b: object) -> None: ...
async def one(ctx: Context, text: str) -> None: ...
async def typed(ctx: Context, text: str, count: int = 1, *more: float) -> None: ...
async def binary(ctx: Context, data: bytes) -> None: ...
async def record(ctx: Context, message: Message) -> None: ...
async def choice(ctx: Context, kind: Literal["a", "b"]) -> None: ...
async def keywords(ctx: Context, text: str, *, flag: bool = False) -> None: ...
async def either(ctx: Context, data: str | bytes, flag: bool | None) -> None: ...


class Chat:
    async def index(self, ctx: Context, text: str) -> None: ...

    async def __call__(self, ctx: Context, text: str) -> None: ...


def test_handler_that_names_no_arguments_takes_all() -> None:
    arguments = arguments_of(nothing)
    assert arguments.takes_all
    assert arguments.bind([1, 2, 3]) == ()
    assert not arguments_of(everything).takes_all


def test_unannotated_arguments_are_passed_as_they_are() -> None:
    args = ["x", {"a": 1}]
    assert arguments_of(loose).bind(args) is args
    assert arguments_of(any_type).bind(args) is args


@pytest.mark.parametrize(
    ("handler", "fits"),
    [
        (loose, {2}),
        (optional, {1, 2}),
        (defaults, {0, 1, 2, 3}),
        (rest, {1, 2, 3, 4, 5}),
        (everything, {0, 1, 2, 3, 4, 5}),
    ],
)
def test_count_must_fit(handler: Callable[..., Any], fits: set[int]) -> None:
    arguments = arguments_of(handler)
    for count in range(6):
        args = list(range(count))
        if count in fits:
            assert arguments.bind(args) == args
        else:
            with pytest.raises(Reject):
                arguments.bind(args)


@pytest.mark.parametrize(
    ("handler", "count", "message"),
    [
        (one, 0, "expected 1 argument (text), got 0"),
        (one, 3, "expected 1 argument (text), got 3"),
        (loose, 1, "expected 2 arguments (a, b), got 1"),
        (optional, 0, "expected 1 to 2 arguments (a, b), got 0"),
        (defaults, 4, "expected 0 to 3 arguments (a, b, c), got 4"),
        (rest, 0, "expected at least 1 argument (a), got 0"),
        (keywords, 2, "expected 1 argument (text), got 2"),
    ],
)
def test_wrong_count_is_told(handler: Callable[..., Any], count: int, message: str) -> None:
    assert refusal(handler, *["x"] * count) == message


@pytest.mark.parametrize(
    ("handler", "args", "message"),
    [
        (one, [1], "argument 'text' must be string, got integer"),
        (one, [None], "argument 'text' must be string, got null"),
        (one, [b"x"], "argument 'text' must be string, got bytes"),
        (one, [{}], "argument 'text' must be string, got object"),
        (typed, ["x", 1.5], "argument 'count' must be integer, got number"),
        (typed, ["x", True], "argument 'count' must be integer, got boolean"),
        (typed, ["x", 1, 2.5, []], "argument 'more[1]' must be number, got array"),
        (binary, ["aGk="], "argument 'data' must be bytes, got string"),
        (record, [{"text": 1}], "argument 'message.text' must be string, got integer"),
        (record, [{}], "argument 'message': object missing required field 'text'"),
        (choice, ["c"], "argument 'kind' must be one of 'a', 'b', got 'c'"),
        (either, [1, "x"], "argument 'flag' must be boolean or null, got string"),
    ],
)
def test_wrong_type_is_told(handler: Callable[..., Any], args: list[object], message: str) -> None:
    assert refusal(handler, *args) == message


def test_arguments_arrive_as_their_annotations_say() -> None:
    assert bound(typed, "x") == ["x"]
    assert bound(typed, "x", 2, 3, 4.5) == ["x", 2, 3.0, 4.5]
    assert bound(binary, b"\0") == [b"\0"]
    assert bound(record, {"text": "hi", "unknown": 1}) == [Message("hi")]
    assert bound(either, b"x", None) == [b"x", None]


def test_annotation_of_the_context_is_not_looked_at() -> None:
    """It is commonly imported for the type checker only, as in this file."""
    assert bound(one, "x") == ["x"]


@pytest.mark.parametrize(
    "handler",
    [Chat().index, Chat(), functools.partial(one), functools.partial(Chat().index)],
)
def test_every_kind_of_handler_tells_its_arguments(handler: Callable[..., Any]) -> None:
    assert bound(handler, "x") == ["x"]
    assert refusal(handler) == "expected 1 argument (text), got 0"


def test_decorated_handler_tells_the_arguments_behind_the_decorator() -> None:
    @functools.wraps(one)
    async def call(*args: object) -> None: ...

    assert refusal(call, 1) == "argument 'text' must be string, got integer"


def test_given_arguments_are_not_changed() -> None:
    args = [{"text": "hi"}]
    arguments_of(record).bind(args)
    assert args == [{"text": "hi"}]
