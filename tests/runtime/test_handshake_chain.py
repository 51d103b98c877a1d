"""Handshake middleware, driven without a network, and what `check` finds in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.errors import ConfigError
from gateway.testing import Refused, TestGateway
from tests.deadline import until

Scenario = Callable[..., TestGateway]

CONFIG = """
server: {handshake_middleware: [gates.outer, {use: gates.Inner, with: {code: full}}]}
limits: {sockets: 2}
services: {people: people.People}
namespaces:
  /: {routes: {data: gates.data}}
"""

GATES = """
from gateway import HandshakeContext, HandshakeMiddleware, Next, Reject

steps = []

async def outer(ctx: HandshakeContext, next: Next) -> None:
    steps.append("outer")
    ctx.data["name"] = ctx.service.people.by_cookie(ctx.handshake.cookies)
    await next()
    steps.append("out")
    ctx.headers["X-Steps"] = " ".join(steps)

class Inner:
    def __init__(self, code: str) -> None:
        self.code = code

    async def __call__(self, ctx: HandshakeContext, next: Next) -> None:
        steps.append("inner")
        ctx.set_cookie("visit", "1")
        if "refuse" in ctx.handshake.query:
            raise Reject(self.code, "no", {"more": 1}, status=429)
        if "wait" in ctx.handshake.query:
            import asyncio
            await asyncio.Event().wait()
        await ctx.gateway.of("/").emit("knock", ctx.handshake.address)
        await next()

async def data(ctx):
    return ctx.socket.data
"""

PEOPLE = """
class People:
    def by_cookie(self, cookies):
        return {"7": "Ada"}.get(cookies.get("session"), "nobody")
"""


def gates(scenario: Scenario) -> TestGateway:
    return scenario(CONFIG, gates=GATES, people=PEOPLE)


async def test_a_client_passes_the_chain_from_outside_in(scenario: Scenario) -> None:
    async with gates(scenario) as gateway:
        client = await gateway.connect(headers={"Cookie": "session=7"})
        assert await client.call("data") == [{"name": "Ada"}]
        assert client.headers == {"X-Steps": "outer inner out"}
        assert client.cookies == {"visit": "1"}
        await gateway.connect()
        assert (await client.receive("knock")).args == ["127.0.0.1"]


async def test_a_refused_client_learns_why(scenario: Scenario) -> None:
    async with gates(scenario) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect(query="refuse")
        assert refused.value.status == 429
        assert refused.value.message == "no"
        assert refused.value.data == {"code": "full", "data": {"more": 1}}


async def test_a_refused_client_gives_its_room_back(scenario: Scenario) -> None:
    async with gates(scenario) as gateway:
        for _ in range(5):
            with pytest.raises(Refused):
                await gateway.connect(query="refuse")
        for _ in range(2):
            await gateway.connect()
        with pytest.raises(ConnectionError, match="takes no more connections"):
            await gateway.connect()


async def test_a_client_that_gives_up_is_forgotten(scenario: Scenario) -> None:
    async with gates(scenario) as gateway:
        waiting = asyncio.create_task(gateway.connect(query="wait", timeout=120))
        await until(lambda: gateway._server.engine.admission._count)
        waiting.cancel()
        await asyncio.wait([waiting])
        for _ in range(2):
            await gateway.connect()


FAULTS = [
    (
        "async def gate(next, ctx): ...",
        "'gate.gate': middleware must take (ctx, next), got (next, ctx)",
    ),
    (
        "async def gate(ctx): ...",
        "'gate.gate': middleware must take (ctx, next), got (ctx)",
    ),
    (
        "def gate(): return lambda ctx, next: None",
        "'gate.gate': middleware must be an 'async def', got a function without 'async'",
    ),
    (
        "from gateway import Context\nasync def gate(ctx: 'Context', next): ...",
        "'gate.gate': it needs a socket, so it is for connection_middleware or packet_middleware",
    ),
]


@pytest.mark.parametrize(("source", "message"), FAULTS)
async def test_middleware_that_does_not_fit_is_a_problem(
    scenario: Scenario, source: str, message: str
) -> None:
    config = "server: {handshake_middleware: [gate]}\nnamespaces: {/: }"
    with pytest.raises(ConfigError) as raised:
        async with scenario(config, gate=source):
            pass
    [problem] = raised.value.problems
    assert (problem.path, problem.message) == ("server.handshake_middleware[0]", message)


async def test_a_built_in_for_sockets_is_a_problem(scenario: Scenario) -> None:
    config = """
    server:
      handshake_middleware: [{use: builtin.ip_allow, with: {allow: ["10.0.0.0/8"]}}]
    namespaces: {/: }
    """
    with pytest.raises(ConfigError) as raised:
        async with scenario(config):
            pass
    [problem] = raised.value.problems
    assert problem.message == (
        "'builtin.ip_allow': it needs a socket, so it is for connection_middleware or"
        " packet_middleware"
    )


@pytest.mark.parametrize("chain", ["connection_middleware", "packet_middleware"])
async def test_handshake_middleware_in_another_chain_is_a_problem(
    scenario: Scenario, chain: str
) -> None:
    source = """
        from gateway import HandshakeContext, Next
        class Gate:
            async def __call__(self, ctx: HandshakeContext, next: Next) -> None: ...
    """
    with pytest.raises(ConfigError) as raised:
        async with scenario(f"namespaces: {{/: {{{chain}: [gate.Gate]}}}}", gate=source):
            pass
    [problem] = raised.value.problems
    assert problem.path == f"namespaces./.{chain}[0]"
    assert problem.message == (
        "'gate.Gate': it takes a handshake, so it is for server.handshake_middleware"
    )
