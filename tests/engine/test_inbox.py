"""What the inbox relies on in the installed aiohttp, and what it promises."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web

from gateway.engine.inbox import Inbox, InboxResponse


def test_aiohttp_makes_its_websocket_as_it_did() -> None:
    """If this fails after an update, compare `_post_start` with `InboxResponse`."""
    source = inspect.getsource(web.WebSocketResponse._post_start)
    for promise in (
        "self._ws_protocol = protocol",
        "self._writer = writer",
        "self._reader = WebSocketDataQueue(",
        "self._parser = WebSocketReader(",
        "request.protocol.set_parser(self._parser",
        "request.protocol.keep_alive(False)",
    ):
        assert promise in source


class Recipient:
    """Delivers to `take`, between marks of where a read begins and ends."""

    def __init__(self, take: Callable[[str], Awaitable[None] | None]) -> None:
        self._take = take
        self.corked = False

    def cork(self) -> None:
        assert not self.corked
        self.corked = True

    def deliver(self, message: str | bytes) -> Awaitable[None] | None:
        assert self.corked
        assert isinstance(message, str)
        return self._take(message)

    def uncork(self) -> None:
        assert self.corked
        self.corked = False


async def test_messages_are_taken_at_once_and_in_order_whatever_some_wait_for() -> None:
    taken: list[str] = []
    gate = asyncio.Event()
    done = asyncio.Event()

    def take(data: str) -> asyncio.Future[None] | None:
        taken.append(data)
        if data == "7":
            done.set()
        return asyncio.ensure_future(gated()) if data == "3" else None

    async def gated() -> None:
        await gate.wait()
        taken.append("3 is done")

    async def handle(request: web.Request) -> web.StreamResponse:
        response = InboxResponse()
        await response.prepare(request)
        response.inbox.recipient = Recipient(take)
        while (message := await response.receive()).type is not aiohttp.WSMsgType.CLOSE:
            if message.type is aiohttp.WSMsgType.CONTINUATION:
                await message.data
                response.inbox.busy = False
            else:
                take(message.data)
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as websocket:
            for number in range(8):
                await websocket.send_str(str(number))
            await websocket.ping()
            gate.set()
            async with asyncio.timeout(5):
                await done.wait()
            await websocket.close()
    finally:
        await runner.cleanup()
    assert taken == ["0", "1", "2", "3", "3 is done", "4", "5", "6", "7"]


async def test_what_is_queued_when_the_connection_ends_is_dropped_without_a_warning() -> None:
    async def never_awaited() -> None:
        raise AssertionError

    class Protocol:
        writing_paused = False
        _reading_paused = False

    loop = asyncio.get_running_loop()
    inbox = Inbox(Protocol(), 2**16, loop=loop)  # type: ignore[arg-type]
    inbox.recipient = recipient = Recipient(lambda _: never_awaited())
    recipient.cork()
    inbox.feed_data(aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, "x", None), 1)
    inbox.drop()
    assert inbox.busy
