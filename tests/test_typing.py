"""What type checkers make of plugins that name the types of `ctx.socket.data` and `ctx.service`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.compiler import load
from gateway.testing import TestGateway
from tests.gateway_files import write

ROOT = Path(__file__).parents[1]

TYPES = """
from typing import NotRequired, Protocol, TypedDict

from gateway import Context, HandshakeContext


class Users:
    def name_of(self, token: object) -> str | None:
        return "Ada" if token == "secret" else None


class Data(TypedDict):
    name: str
    said: NotRequired[int]


class Services(Protocol):
    users: Users


Ctx = Context[Data, Services]
Handshaking = HandshakeContext[Data, Services]
"""

RIGHT = """
from collections.abc import AsyncIterator
from typing import Any, assert_type

from gateway import (
    Context,
    Delivery,
    Gateway,
    Middleware,
    Namespace,
    Next,
    Reject,
    Services,
    Socket,
    Sockets,
)

from plugins import types
from plugins.types import Ctx, Data, Handshaking, Users


async def auth(request: Ctx, next: Next) -> None:
    name = request.service.users.name_of(request.socket.handshake.auth.get("token"))
    if name is None:
        raise Reject("unauthorized")
    request.socket.data["name"] = name
    await next()


async def early(ctx: Handshaking, next: Next) -> None:
    ctx.data["said"] = 0
    assert_type(ctx.service.users, Users)
    await next()


async def say(client: Ctx, text: str) -> list[object]:
    data = client.socket.data
    data["said"] = data.get("said", 0) + len(text)
    return [data["name"], data["said"], *[name async for name in names(client.namespace)]]


async def names(namespace: Namespace[Data]) -> AsyncIterator[str]:
    for socket in await namespace.sockets():
        assert_type(socket, Socket[Data])
        yield socket.data["name"]


async def targets(ctx: Ctx, gateway: Gateway) -> None:
    assert_type(ctx.namespace.to("lobby").except_("hall").volatile, Namespace[Data])
    assert_type(ctx.socket.to("lobby"), Namespace[Data])
    assert_type(await ctx.socket.broadcast.sockets(), Sockets[Data])
    assert_type(await gateway.of("/").emit("hi"), None)
    assert_type(await gateway.of("/").emit("hi", confirm=True), Delivery)
    assert_type(await gateway.of("/").count(), int)
    assert_type(ctx.socket.siblings, tuple[Socket, ...])
    assert_type(gateway.of("/"), Namespace)


def at_most(said: int) -> Middleware:
    async def check(ctx: Ctx, next: Next) -> None:
        if ctx.socket.data.get("said", 0) > said:
            raise Reject("enough")
        await anything(ctx)
        await next()

    return check


async def anything(ctx: Context[Any, Any]) -> None:
    ctx.log.info("here")


async def plain(ctx: Context, next: Next) -> None:
    assert_type(ctx.socket.data, dict[str, object])
    assert_type(ctx.service, Services)
    await at_most(2)(ctx, next)


async def only_data(ctx: Context[Data], next: Next) -> None:
    assert_type(ctx.service, Services)
    assert_type(ctx.socket.data["name"], str)


chain: list[Middleware] = [auth, at_most(1), plain, only_data]
_ = types
"""

WRONG = """
from gateway import Context, Middleware, Next

from plugins.types import Ctx, Handshaking, Users


async def service(ctx: Ctx) -> None:
    ctx.service.user  # "Services" has no attribute "user"; maybe "users"?
    ctx.service.users.names()  # "Users" has no attribute "names"


async def read(ctx: Ctx) -> int:
    ctx.socket.data["nane"]  # TypedDict "Data" has no key "nane"
    return ctx.socket.data["name"]  # got "str", expected "int"


async def write(ctx: Ctx) -> None:
    ctx.socket.data["said"] = "often"  # Value of "said" has incompatible type "str"


async def early(ctx: Handshaking, next: Next) -> None:
    ctx.data["nane"] = ""  # TypedDict "Data" has no key "nane"


async def others(ctx: Ctx) -> None:
    for socket in await ctx.namespace.sockets():
        socket.data["nane"]  # TypedDict "Data" has no key "nane"


async def plain(ctx: Context) -> int:
    return ctx.socket.data["said"]  # got "object", expected "int"


async def no_dict(ctx: Context[Users]) -> None:  # must be a subtype of "Mapping[str, object]"
    ...


chain: list[Middleware] = [early]  # incompatible type "Callable[[HandshakeContext[Data, Services]
"""

CONFIG = """
server: {handshake_middleware: [right.early]}
services: {users: types.Users}
namespaces:
  /:
    connection_middleware: [right.auth]
    packet_middleware: [{use: right.at_most, with: {said: 6}}]
    routes: {say: right.say}
"""


def mypy(folder: Path) -> list[tuple[str, str]]:
    """The lines of which `mypy --strict` says something, as `FILE:LINE`, and what it says."""
    options = ["--strict", "--no-pretty", "--no-error-summary", "--explicit-package-bases"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(folder / "plugins")],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    found = (line.partition("plugins/")[2] for line in done.stdout.splitlines())
    return [(line.partition(": ")[0], line.partition(": ")[2]) for line in found]


def test_right_uses_are_right_and_each_mistake_is_told(tmp_path: Path) -> None:
    write(tmp_path, "", types=TYPES, right=RIGHT, wrong=WRONG)
    told = mypy(tmp_path)
    lines = enumerate(WRONG.splitlines(), 1)
    expected = {f"wrong.py:{at}": line.partition("  # ")[2] for at, line in lines if "  # " in line}
    assert [where for where, _ in told] == [*expected]
    assert [message for where, message in told if expected[where] not in message] == []


@pytest.mark.parametrize("head", ["", "from __future__ import annotations\n"])
async def test_typed_plugins_run(tmp_path: Path, head: str) -> None:
    """Whatever their contexts are called, and whether or not annotations are evaluated."""
    file = write(tmp_path, CONFIG, types=head + TYPES, right=head + RIGHT)
    assert load(file, {}).warnings == ()
    async with TestGateway(file) as gateway:
        client = await gateway.connect(auth={"token": "secret"})
        assert await client.call("say", "hello") == [["Ada", 5, "Ada"]]
        [misfit] = await client.call("say", 7)
        assert misfit["error"]["code"] == "bad_request"
        assert await client.call("say", "you") == [["Ada", 8, "Ada"]]
        [refused] = await client.call("say", "all")
        assert refused == {"error": {"code": "enough", "message": "enough"}}
