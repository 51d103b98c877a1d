"""The client of the command line: one socket at a Socket.IO server.

python-socketio speaks the protocol. This layer adds what it hides: the server's own reason for a
refusal, and the JavaScript client's reason for a disconnect. Its reconnection is off, because it
gives a connection chain one second and does not report what it does.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import aiohttp
import engineio
import socketio
from engineio.payload import Payload

from gateway.api import Value
from gateway.errors import GatewayError

__all__ = ["ClientSocket", "ConnectError", "Disconnected", "Target", "connect"]

T = TypeVar("T")

CLOSE_TIMEOUT = 1.0
"""Seconds the server gets to close the connection."""

LOG = logging.getLogger("sockgw.client")
LOG.addHandler(logging.NullHandler())  # errors are raised; without this they go to stderr as well

# The default is 16; python-engineio gives up the connection on a poll answer with more.
Payload.max_decode_packets = 100_000


@dataclass(frozen=True, slots=True)
class Target:
    """An address to connect to, and credentials; `transports` are tried in their order."""

    url: str
    namespace: str = "/"
    path: str = "/socket.io/"
    auth: Mapping[str, Value] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    transports: tuple[Literal["polling", "websocket"], ...] = ("polling", "websocket")


class ConnectError(GatewayError):
    """There is no connection: the JavaScript client's `connect_error`.

    `refused` is true when the namespace refused, so that trying again is pointless; `message` and
    `data` are then the server's. `data` of `None` means that there is none.
    """

    def __init__(self, message: str, data: object = None, *, refused: bool = False) -> None:
        self.message = message
        self.data = data
        self.refused = refused
        super().__init__(message)


class Disconnected(GatewayError):
    """The socket is gone. `reason` is the JavaScript client's `disconnect` reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ClientSocket:
    """A connected socket, as `connect` yields it. Do not use it once it is gone."""

    def __init__(
        self,
        target: Target,
        http: aiohttp.ClientSession,
        on_event: Callable[[str, list[Value]], None],
        timeout: float,
        faults: Sequence[BaseException],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._target = target
        self._faults = faults
        self._on_event = on_event
        self._answer: asyncio.Future[ConnectError | None] = loop.create_future()
        self._gone: asyncio.Future[str] = loop.create_future()
        self._early: list[tuple[str, list[Value]]] | None = []
        self._sio = socketio.AsyncClient(
            reconnection=False,
            handle_sigint=False,
            logger=LOG,
            engineio_logger=LOG,
            http_session=http,
            request_timeout=timeout + 1,  # so that our own time-out comes first
            websocket_extra_options={"max_msg_size": 0},
        )
        for event, handler in {
            "connect": self._accepted,
            "connect_error": self._refused,
            "disconnect": self._disconnected,
            "*": self._received,
        }.items():
            self._sio.on(event, handler, namespace=target.namespace)

    @property
    def id(self) -> str:
        """The socket's id."""
        return str(self._sio.get_sid(self._target.namespace))

    @property
    def transport(self) -> str:
        """The transport in use: `polling` or `websocket`."""
        return str(self._sio.transport())

    async def emit(self, event: str, args: Sequence[Value]) -> None:
        """Send an event. Raises `Disconnected`."""
        await self._send(event, args, None)

    async def ask(self, event: str, args: Sequence[Value]) -> asyncio.Future[list[Value]]:
        """Send an event, and return the future of its ack's arguments.

        Await it with `while_connected`: it stays pending when the socket is gone.
        """
        ack: asyncio.Future[list[Value]] = asyncio.get_running_loop().create_future()
        await self._send(event, args, lambda *values: _settle(ack, list(values)))
        return ack

    async def while_connected(self, wish: Awaitable[T]) -> T:
        """Await `wish`; raises `Disconnected` when the socket is gone before."""
        task = asyncio.ensure_future(wish)
        try:
            await asyncio.wait((task, self._gone), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Disconnected(self._gone.result())
        finally:
            task.cancel()

    async def gone(self) -> str:
        """Wait until the socket is gone, and return the reason."""
        await asyncio.wait((self._gone,))
        return self._gone.result()

    async def _send(
        self, event: str, args: Sequence[Value], callback: Callable[..., None] | None
    ) -> None:
        namespace = self._target.namespace
        try:
            await self._sio.emit(event, tuple(args), namespace, callback)
        except socketio.exceptions.BadNamespaceError:
            raise Disconnected(await self.gone()) from None

    async def _open(self, timeout: float) -> None:
        target = self._target
        try:
            async with asyncio.timeout(timeout):
                await self._sio.connect(
                    target.url,
                    auth=dict(target.auth),
                    transports=list(target.transports),
                    namespaces=[target.namespace],
                    socketio_path=target.path,
                    # Waiting would overlook a DISCONNECT right behind CONNECT.
                    wait=False,
                )
                # python-socketio reports no `disconnect` before the namespace has answered.
                self._sio.eio.read_loop_task.add_done_callback(
                    lambda _: _settle(self._gone, "transport close")
                )
                refusal = await self.while_connected(self._answer)
        except TimeoutError:
            raise ConnectError(f"no answer within {timeout:g} s") from None
        except Disconnected as error:
            raise ConnectError(f"{error.reason} before the namespace has answered") from None
        except Exception as error:
            raise _failure(error, target.path, *self._faults) from error
        if refusal:
            raise refusal

    async def _close(self) -> None:
        engine = self._sio.eio
        if engine.read_loop_task is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if engine.state == "connected":
                    # disconnect() closes a WebSocket before the last packets are written.
                    await engine.queue.join()
                    await self._sio.disconnect()
                await engine.wait()

    def _accepted(self, *_: object) -> None:
        _settle(self._answer, None)

    def _refused(self, answer: object = None, *_: object) -> None:
        if isinstance(answer, dict):
            message, data = str(answer.get("message", "")), answer.get("data")
        else:
            message, data = str(answer or ""), None
        _settle(self._answer, ConnectError(message or "refused", data, refused=True))

    def _disconnected(self, reason: str) -> None:
        # DISCONNECT leaves the connection open; if it is closed, the reason is lost.
        kicked = reason == "server disconnect" and self._sio.eio.state == "connected"
        _settle(self._gone, "io server disconnect" if kicked else "transport close")

    def _received(self, event: str, *args: Value) -> None:
        if self._early is None:
            self._on_event(event, list(args))
        else:
            self._early.append((event, list(args)))

    def _release(self) -> None:
        early, self._early = self._early or [], None
        for event, args in early:
            self._on_event(event, args)


@asynccontextmanager
async def connect(
    target: Target, on_event: Callable[[str, list[Value]], None], *, timeout: float
) -> AsyncIterator[ClientSocket]:
    """Connect, and disconnect at the end.

    `on_event` is called with the name and arguments of every event, including those that came with
    the connection, from the block's first `await` on. Acks that the server asks for are sent
    without arguments. Raises `ConnectError`, after `timeout` seconds at the latest.
    """
    faults, trace = deque[BaseException](maxlen=1), aiohttp.TraceConfig()

    async def keep(_: object, __: object, failed: aiohttp.TraceRequestExceptionParams) -> None:
        faults.append(failed.exception)

    trace.on_request_exception.append(keep)
    async with aiohttp.ClientSession(headers=target.headers, trace_configs=[trace]) as http:
        socket = ClientSocket(target, http, on_event, timeout, faults)
        try:
            await socket._open(timeout)
            asyncio.get_running_loop().call_soon(socket._release)
            yield socket
        finally:
            await socket._close()


def _settle(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def _failure(error: Exception, path: str, *faults: BaseException) -> ConnectError:
    """Say why there is no connection; `faults` is what the last request failed with, if it did."""
    cause = error.__cause__
    if not isinstance(cause, engineio.exceptions.ConnectionError):
        # python-engineio raises errors of many kinds when no Socket.IO server answers.
        return ConnectError(f"no Socket.IO server answers at {path}")
    message, *data = cause.args
    # python-engineio tells of either only in words, or not at all.
    hidden = next((each for each in (cause.__context__, *faults) if each), None)
    if isinstance(hidden, aiohttp.WSServerHandshakeError):
        message = f"Unexpected status code {hidden.status} in server response"
    elif isinstance(hidden, aiohttp.ClientConnectorDNSError):
        message = f"cannot find the host {hidden.host}: {hidden.os_error.strerror}"
    elif type(hidden) is aiohttp.ClientConnectorError:  # and not one of a certificate
        message = _unreachable(hidden)
    elif isinstance(hidden, aiohttp.ClientError):
        message = str(hidden)
    return ConnectError(message[:1].lower() + message[1:], data[0] if data else None)


def _unreachable(error: aiohttp.ClientConnectorError) -> str:
    """Say why no connection was made, without the words of aiohttp.

    Of a host with several addresses, all of which failed, no one reason is known.
    """
    host = f"[{error.host}]" if ":" in error.host else error.host
    where = f"{host}:{error.port}"
    number = error.os_error.errno
    if number in (None, errno.ECONNREFUSED):
        return f"nothing listens at {where}"
    return f"cannot reach {where}: {os.strerror(number).lower()}"
