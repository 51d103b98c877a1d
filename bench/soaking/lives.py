"""The lives of clients: some behave, some do not, none is long."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp

__all__ = ["Account", "Crowd"]

PATIENCE = 30.0
"""Seconds after which an answer is lost."""

CLOSE = b"\x88"
"""First byte of a close frame."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of 0: the connection is reset, not closed."""

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
POLL = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"

Lines = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Account:
    """Counts of all clients. `closing` are the seconds from garbage to the close frame.

    `busy` counts answers with that error, `refused` attempts to connect.
    """

    asked: int = 0
    answered: int = 0
    busy: int = 0
    refused: int = 0
    lives: dict[str, int] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)
    closing: list[float] = field(default_factory=list)

    def lived(self, kind: str) -> None:
        """Count a life of a kind."""
        self.lives[kind] = self.lives.get(kind, 0) + 1

    def lost(self, what: str) -> None:
        """Count a loss of a kind."""
        self.losses[what] = self.losses.get(what, 0) + 1


class Crowd:
    """Clients of the gateway at `port`, each of which lives one life after the other."""

    def __init__(self, port: int, account: Account, rng: random.Random) -> None:
        self._port, self._account, self._rng = port, account, rng
        self._over = asyncio.Event()
        self._bad: list[Callable[[], Awaitable[None]]] = [
            self._killed,
            self._half_open,
            self._garbage,
            self._slow,
            self._fleeting,
            self._eager,
        ]

    async def live(self, clients: int, seconds: float) -> None:
        """Run this many clients for this many seconds; three of five behave."""
        self._over.clear()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            lives = [
                asyncio.create_task(self._generations(http if slot % 5 < 3 else None))
                for slot in range(clients)
            ]
            await asyncio.sleep(seconds)
            self._over.set()
            await asyncio.gather(*lives)

    async def _generations(self, http: aiohttp.ClientSession | None) -> None:
        await self._pause(1.0)
        while not self._over.is_set():
            if http is not None:
                await self._good(http)
                continue
            life = self._rng.choice(self._bad)
            self._account.lived(life.__name__.strip("_"))
            try:
                async with asyncio.timeout(PATIENCE):
                    await life()
            except (OSError, asyncio.IncompleteReadError):
                pass  # expected of such clients
            except TimeoutError:
                self._account.lost(f"{life.__name__.strip('_')} was never closed")
            await self._pause(1.0)

    async def _pause(self, most: float) -> None:
        """Wait up to that many seconds, or until the end."""
        try:
            async with asyncio.timeout(self._rng.uniform(0, most)):
                await self._over.wait()
        except TimeoutError:
            pass

    # Those that behave.

    async def _good(self, http: aiohttp.ClientSession) -> None:
        self._account.lived("good")
        url = f"http://127.0.0.1:{self._port}/socket.io/?EIO=4&transport=websocket"
        try:
            async with http.ws_connect(url) as websocket:
                await websocket.send_str("40")
                if (answer := await self._heard(websocket)).startswith("44"):
                    self._judge(answer)
                    return
                for number in range(self._rng.randint(1, 40)):
                    await self._ask(websocket, number)
                    await self._rest(websocket)
                    if self._over.is_set():
                        break
                await websocket.send_str("41")
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 503:
                self._account.refused += 1
            else:
                self._account.lost(f"a good client was answered {error.status}")
            await self._pause(1.0)
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            self._account.lost(f"a good client: {type(error).__name__}")
            await self._pause(1.0)

    async def _ask(self, websocket: aiohttp.ClientWebSocketResponse, number: int) -> None:
        event = "later" if number % 4 == 0 else "say"
        self._account.asked += 1
        await websocket.send_str(f'42{number}["{event}",{number}]')
        answer = await self._heard(websocket)
        if answer == f"43{number}[{number}]":
            self._account.answered += 1
        elif answer.startswith(f'43{number}[{{"error":{{"code":"busy"'):
            self._account.answered += 1
            self._account.busy += 1
        else:
            self._account.lost(f"answered {answer[:60]}")

    def _judge(self, refusal: str) -> None:
        """Count the error that CONNECT was refused with."""
        if '"busy"' in refusal:
            self._account.refused += 1
        else:
            self._account.lost(f"a good client was refused: {refusal[:60]}")

    async def _rest(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        """Wait a while, and answer pings meanwhile."""
        until = time.monotonic() + self._rng.uniform(0, 1.0)
        while not self._over.is_set() and (left := until - time.monotonic()) > 0:
            try:
                message = await websocket.receive(timeout=left)
            except TimeoutError:
                return
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError("closed")
            await websocket.send_str("3")

    async def _heard(self, websocket: aiohttp.ClientWebSocketResponse) -> str:
        """The next packet that is neither a ping nor the opening."""
        while True:
            message = await websocket.receive(timeout=PATIENCE)
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError("closed")
            if message.data == "2":
                await websocket.send_str("3")
            elif not message.data.startswith("0"):
                return str(message.data)

    # Those that do not.

    async def _killed(self) -> None:
        """Reset in the middle of calls."""
        lines = await self._joined()
        for number in range(self._rng.randint(1, 5)):
            lines[1].write(_frame(f'42{number}["later",{number}]'.encode()))
        await self._pause(0.1)
        _reset(lines)

    async def _half_open(self) -> None:
        """Fall silent, and keep the connection until it is closed."""
        reader, writer = await self._joined()
        await reader.read()
        writer.close()

    async def _garbage(self) -> None:
        """Send garbage: as plain bytes, or in the shape of a request, frame or packet."""
        kind = self._rng.randrange(4)
        noise = self._rng.randbytes(self._rng.randint(1, 2000))
        if kind == 0:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            noise = b"\x16\x03" + noise + b"\r\n\r\n"
        else:
            reader, writer = await self._joined()
            noise = [b"", b"\xff\xff" + noise, _frame(b"4\x01nonsense"), _frame(b"9")][kind]
        began = time.perf_counter()
        writer.write(noise)
        with suppress(
            asyncio.IncompleteReadError
        ):  # closed without a close frame, as expected for 0
            await reader.readuntil(CLOSE)
        self._account.closing.append(time.perf_counter() - began)
        writer.close()

    async def _slow(self) -> None:
        """Ask for six megabytes, do not read them for a while, then read some or go."""
        reader, writer = await self._joined()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.write(_frame(b'42["flood"]'))
        await self._pause(3.0)
        if self._rng.random() < 0.5:
            await reader.readexactly(500_000)
        _reset((reader, writer))

    async def _eager(self) -> None:
        """Call more at once than one socket may; now and then hold up the loop."""
        reader, writer = await self._joined()
        if self._rng.random() < 0.02:
            writer.write(_frame(b'42["block"]'))
        calls = range(10)
        writer.write(b"".join(_frame(b'42%d["later",%d]' % (call, call)) for call in calls))
        self._account.asked += len(calls)
        missing = set(calls)
        while missing:
            await reader.readuntil(b"43")
            number = await reader.readuntil(b"[")
            answer = await reader.readuntil(b"]")
            missing.remove(int(number[:-1]))
            self._account.answered += 1
            self._account.busy += b'"busy"' in answer
        _reset((reader, writer))

    async def _fleeting(self) -> None:
        """Connect, send half a request or open a poll, and leave."""
        lines = await asyncio.open_connection("127.0.0.1", self._port)
        first = self._rng.choice([b"", b"GET /socket", POLL, UPGRADE, UPGRADE[:60]])
        lines[1].write(first)
        await self._pause(0.2)
        _reset(lines)

    async def _joined(self) -> Lines:
        """A raw WebSocket in the namespace `/`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(UPGRADE + _frame(b"40"))
        opening = await reader.readuntil(b"\r\n\r\n")
        if b" 503 " in opening:
            self._account.refused += 1
            writer.close()
            raise ConnectionRefusedError
        while not (found := await reader.readuntil(b"{")).endswith((b"40{", b"44{")):
            pass
        if found.endswith(b"44{"):
            self._account.refused += 1
            writer.close()
            raise ConnectionRefusedError
        await reader.readuntil(b"}")
        return reader, writer


def _frame(text: bytes) -> bytes:
    """A short text, masked with zeros."""
    return struct.pack("!BBI", 0x81, 0x80 | len(text), 0) + text


def _reset(lines: Lines) -> None:
    writer = lines[1]
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
