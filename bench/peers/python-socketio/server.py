"""Stock python-socketio, as its documentation serves it: on aiohttp, with `web.run_app`."""

import sys
from collections.abc import Awaitable, Callable

import socketio
from aiohttp import web

sio = socketio.AsyncServer(async_mode="aiohttp")
app = web.Application()
sio.attach(app)


def each(handler: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    """A packet middleware; python-socketio has none of its own."""

    async def run(sid: str, *args: object) -> object:
        return await handler(sid, *args)

    return run


@sio.event
async def connect(sid: str, environ: dict[str, object]) -> None:
    """The connection middleware."""


@sio.on("chat")
@each
async def chat(sid: str, text: str) -> None:
    await sio.emit("res", "Hello Man!!", to=sid)


@sio.on("ask")
@each
async def ask(sid: str, text: str) -> str:
    return "Hello Man!!"


@sio.on("broadcast")
@each
async def broadcast(sid: str, text: str) -> None:
    await sio.emit("news", text)


@sio.on("echo")
@each
async def echo(sid: str, data: bytes) -> None:
    await sio.emit("echo", data, to=sid)


if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
