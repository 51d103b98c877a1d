"""The engine: where python-socketio meets requests and sessions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from aiohttp import web

from gateway.engineio.carrier import CLOSE_LIMIT, Reason
from gateway.engineio.environ import environ
from gateway.engineio.packet import Message
from gateway.engineio.requests import Requests
from gateway.engineio.session import Session
from gateway.engineio.settings import Settings, Transport

__all__ = ["ENGINE", "Engine", "EnginePacket", "Handler"]

LOG = logging.getLogger("sockgw.engine")

Handler = Callable[..., Awaitable[object]]
"""What python-socketio registers: `connect(sid, environ)`, `message(sid, data)`,
`disconnect(sid, reason)`."""


class EnginePacket(Protocol):
    """An `engineio.packet.Packet` of the type MESSAGE."""

    data: Message


ENGINE: web.AppKey[Engine] = web.AppKey("engine")
"""Where an application has the engine that is attached to it."""


class Engine(Requests):
    """An Engine.IO v4 server for aiohttp, in the place of `engineio.AsyncServer`.

    The options are those of `Settings`; `async_handlers`, `json` and `logger` are what
    python-socketio adds, and mean nothing here. The web server is to cancel the handler of a
    client that goes away (`web.AppRunner(handler_cancellation=True)`): an engine whose polls go
    on waiting for clients that are gone loses what it tells them.

    Three callables say what happens; whoever sets them is spared python-socketio's coroutines:
    `on_connect` is told of a session that is about to be accepted, `on_message` takes a message
    and returns what the next one has to wait for, `on_disconnect` is called once for a session
    that was accepted.
    """

    async_mode = "aiohttp"

    def __init__(
        self,
        *,
        async_handlers: bool = False,
        json: object = None,
        logger: object = None,
        **settings: Any,
    ) -> None:
        super().__init__(Settings(**settings))
        self.on_message: Callable[[Session, Message], Awaitable[None] | None] = self._message
        self.on_disconnect: Callable[[Session, Reason], None] = self._disconnect
        self._handlers: dict[str, Handler] = {}
        self._leaving: dict[str, Session] = {}  # while python-socketio is told
        self._tasks: set[asyncio.Task[object]] = set()  # that tell it so

    # What python-socketio calls.

    def attach(self, app: web.Application, path: str = "engine.io") -> None:
        """Answer every request to a path of the application, and shut down with it."""
        self.path = f"/{path.strip('/')}/"
        app[ENGINE] = self
        app.router.add_route("*", self.path, self.handle_request)
        app.on_shutdown.append(lambda _: self.shutdown())

    def on(self, event: str, handler: Handler) -> None:
        """Register python-socketio's handler for `connect`, `message` or `disconnect`."""
        self._handlers[event] = handler

    async def send(self, sid: str, data: Message) -> None:
        """Send a message; to a session that is gone it is dropped."""
        if (session := self.sessions.get(sid)) is not None:
            session.send(data)

    async def send_packet(self, sid: str, packet: EnginePacket) -> None:
        """Send what is in a packet, the one kind there is for python-socketio: a message."""
        await self.send(sid, packet.data)

    async def disconnect(self, sid: str) -> None:
        """Close a session, in order; one that is gone is no error."""
        if (session := self.sessions.get(sid)) is not None:
            session.close()

    async def get_session(self, sid: str) -> dict[str, object]:
        """The dict that python-socketio keeps with a session. Raises `KeyError` for none."""
        store = self._find(sid).owner
        assert isinstance(store, dict), "the session has another owner"
        return store

    def transport(self, sid: str) -> Transport:
        """The transport of a session at the moment. Raises `KeyError` for none."""
        return self._find(sid).transport

    def create_event(self) -> asyncio.Event:
        return asyncio.Event()

    def start_background_task(
        self, target: Callable[..., Coroutine[object, object, object]], *args: object
    ) -> asyncio.Task[object]:
        return asyncio.create_task(target(*args))

    async def sleep(self, seconds: float = 0) -> None:
        await asyncio.sleep(seconds)

    async def shutdown(self) -> None:
        """End all sessions, take no more, and wait until their WebSockets are closed."""
        self.accepting = False
        for session in list(self.sessions.values()):
            session.end("server shutting down")
        own = asyncio.current_task()
        ends: set[asyncio.Future[Any]] = {task for task in self._tasks if task is not own}
        if self.websockets:
            ends.add(self.all_gone())
        if ends:
            await asyncio.wait(ends, timeout=2 * CLOSE_LIMIT)

    # What sessions call.

    def message(self, session: Session, message: Message) -> Awaitable[None] | None:
        try:
            return self.on_message(session, message)
        except Exception:
            LOG.exception("on_message failed")
            return None

    def closed(self, session: Session, reason: Reason) -> None:
        try:
            self.on_disconnect(session, reason)
        except Exception:
            LOG.exception("on_disconnect failed")

    # What python-socketio is told, when nobody else is.

    async def _connect(self, session: Session, request: web.Request) -> bool:
        session.owner = {}
        accepted = False
        try:
            told = await self._tell("connect", session.id, environ(request))
            accepted = told is not False and session.accept()
        finally:
            if not accepted:
                session.end("transport close")
        return accepted

    async def _message(self, session: Session, message: Message) -> None:
        await self._tell("message", session.id, message)

    def _disconnect(self, session: Session, reason: Reason) -> None:
        self._leaving[session.id] = session
        task = asyncio.create_task(self._tell("disconnect", session.id, reason))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._leaving.pop(session.id, None))

    async def _tell(self, event: str, *facts: object) -> object:
        handler = self._handlers.get(event)
        try:
            return None if handler is None else await handler(*facts)
        except Exception:
            LOG.exception("the %s handler failed", event)
            return False

    def _find(self, sid: str) -> Session:
        return self.sessions.get(sid) or self._leaving[sid]
