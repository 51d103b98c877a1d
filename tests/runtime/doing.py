"""A handler that runs the code it is sent, and what a client heard meanwhile."""

from __future__ import annotations

from gateway.testing import TestClient

__all__ = ["DO", "heard"]

DO = """
async def do(ctx, code):
    scope = dict(globals())
    exec("async def run(ctx):\\n    " + code, scope)
    return await scope["run"](ctx)
"""
"""A part of a plugin; the code may use the names of the others."""


async def heard(client: TestClient) -> list[str]:
    """The names of the events a client got, up to an answer that follows them all."""
    await client.call("do", "await ctx.socket.emit('end')")
    names = []
    while (event := await client.receive()).name != "end":
        names.append(event.name)
    return names
