"""What is unusual and right passes `check` without a word: no rule of thumb may refuse it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.invoke import invoke
from tests.gateway_files import write

HANDLERS = [
    "async def it(ctx): ...",
    "async def it(c, context): return context",
    "async def it(_ctx, text: str, *more: int): ...",
    "async def it(*args): return len(args)",
    "async def it(ctx, next: int): return next",
    "async def it(ctx, next): return next",
    "async def it(ctx: 'Context', text): ...",
    "from gateway import Context\nasync def it(c: Context, text: str = ''): ...",
    "import functools\nasync def say(ctx, text): ...\ndef it(): return functools.partial(say)",
    "class it:\n    async def __call__(self, ctx, text: str): ...",
    "def it(context: str = 'web'):\n    async def say(ctx): return context\n    return say",
    "from typing import Any\nasync def it(ctx, text: Any, more: object): ...",
    "from datetime import datetime\nasync def it(ctx, at: datetime): ...",
    "from ._deco import logged\n@logged\nasync def it(ctx, text: str): ...",
]

MIDDLEWARE = [
    "async def it(ctx, next): await next()",
    "async def it(ctx, call_next): return await call_next()",
    "async def it(ctx, _): ctx.reply = 'closed'",
    "async def it(*args): await args[1]()",
    "import asyncio\nasync def it(ctx, next):\n    async with asyncio.timeout(1): await next()",
    "async def inner(ctx, go): await go()\nasync def it(ctx, go): await inner(ctx, go)",
    "import asyncio\nasync def it(ctx, next): await asyncio.gather(next(), asyncio.sleep(0))",
    "from gateway import Context, Next\nasync def it(c: Context, go: Next) -> None: await go()",
    "class it:\n    async def __call__(self, ctx, next): await next()",
    "from ._deco import logged\n@logged\nasync def it(ctx, next): await next()",
]

DECO = """
import functools

def logged(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)
    return call
"""


def checked(folder: Path, config: str, **plugins: str) -> str:
    file = write(folder, config, **plugins)
    return invoke("check", file, "--strict").output.replace(f"{file} ", "")


@pytest.mark.parametrize("source", HANDLERS)
def test_unusual_handlers_are_right(tmp_path: Path, source: str) -> None:
    config = "namespaces: {/: {routes: {say: it}}}"
    told = checked(tmp_path, config, it=source, _deco=DECO)
    assert told == "is valid: 1 namespace, 1 route\n"


@pytest.mark.parametrize("source", MIDDLEWARE)
def test_unusual_middleware_is_right(tmp_path: Path, source: str) -> None:
    config = "namespaces: {/: {packet_middleware: [it], connection_middleware: [it]}}"
    told = checked(tmp_path, config, it=source, _deco=DECO)
    assert told == "is valid: 1 namespace, 0 routes\n"


@pytest.mark.parametrize(
    ("source", "schema"),
    [
        ("async def it(ctx): ...", "[{type: string}, {type: integer}]"),
        ("async def it(ctx, text: str, more: int = 1): ...", "[{type: string}]"),
        ("async def it(ctx, *more: float): ...", "[{type: integer}, {type: number}]"),
        ("async def it(ctx, text: str | None): ...", "[{type: [string, integer]}]"),
        ("async def it(ctx, text): ...", "{type: array, minItems: 1, maxItems: 1}"),
        ("async def it(ctx, text: str): ...", "{items: {enum: [a, b]}, maxItems: 3}"),
        ("async def it(ctx, kind: dict): ...", "[{properties: {minLength: {type: string}}}]"),
        (
            "from typing import Literal\nasync def it(ctx, kind: Literal['a']): ...",
            "[{type: string}]",
        ),
        (
            (
                "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\n"
                "async def it(ctx, at: Point): ..."
            ),
            "[{type: object, required: [x]}]",
        ),
    ],
)
def test_schemas_that_some_arguments_meet_are_right(
    tmp_path: Path, source: str, schema: str
) -> None:
    config = f"namespaces:\n  /:\n    routes:\n      say: {{use: it, schema: {schema}}}\n"
    assert checked(tmp_path, config, it=source) == "is valid: 1 namespace, 1 route\n"


@pytest.mark.parametrize(
    "config",
    [
        "x-words: {any: [1, two]}\nnamespaces: {/: }",
        "x-mw: &mw [builtin.log]\nnamespaces: {/: {packet_middleware: *mw}}",
        "server: {host: '::1', port: 7002}\nadmin: {socket: a.sock}\nnamespaces: {/: }",
        "server: {port: 0}\nadmin: {port: 0}\nnamespaces: {/: }",
        "server: {host: 127.0.0.2, port: 7002}\nadmin: {port: 7002}\nnamespaces: {/: }",
    ],
)
def test_unusual_files_are_right(tmp_path: Path, config: str) -> None:
    assert checked(tmp_path, config) == "is valid: 1 namespace, 0 routes\n"


def test_any_event_may_be_limited_where_every_event_has_a_route(tmp_path: Path) -> None:
    limit = "{use: builtin.rate_limit, with: {rate: 1, events: [any]}}"
    config = f"namespaces: {{/: {{packet_middleware: [{limit}], routes: {{'*': it}}}}}}"
    told = checked(tmp_path, config, it="async def it(ctx): ...")
    assert told == "is valid: 1 namespace, 1 route\n"
