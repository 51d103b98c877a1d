"""A bare echo on aiohttp's WebSocket and uvloop: the libraries below sockgw."""

import sys

import uvloop
from aiohttp import WSMsgType, web


async def echo(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse(compress=False)
    await websocket.prepare(request)
    async for message in websocket:
        if message.type is WSMsgType.TEXT:
            await websocket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await websocket.send_bytes(message.data)
    return websocket


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.get("/socket.io/", echo)])
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
