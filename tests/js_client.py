"""The official JavaScript clients, driven from a test: see `tests/js/driver.js`.

    client = await js.connect(url, namespace="/chat", transports=["websocket"], auth={"token": "x"})
    await client.emit("chat", "hello")
    assert await client.receive("res") == ["hello"]

Binary is `bytes` both ways. A wait that takes too long ends with an `AssertionError`
that shows what happened so far.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from tests.deadline import DEADLINE, deadline
from tests.js.install import NODE

__all__ = ["JsClient", "JsDriver", "Report"]

DRIVER = Path(__file__).parent / "js" / "driver.js"
LONGEST_LINE = 64 * 1024 * 1024  # bytes; asyncio's own limit is 64 KiB

Acks = Literal["echo", "never"] | dict[Literal["with"], list[Any]]


@dataclass(frozen=True, slots=True)
class Report:
    """One thing that happened to a client, `at` seconds after the driver's start.

    Besides the server's events: `connect` ({id, transport, extensions}), `connect_error`
    ({message, data, description, body}), `disconnect` (reason), `upgrade` ({transport}),
    `engine_close` (reason), `reconnect_attempt`, `reconnect`, `reconnect_failed`, `ping`, and the
    `ack` or `ack_timeout` of the `call` with that number.
    """

    event: str
    args: list[Any]
    at: float
    call: int | None = None

    def __str__(self) -> str:
        return f"{self.at:8.3f}  {self.event} {', '.join(map(repr, self.args))}"


class JsDriver:
    """One Node.js process with any number of clients; leave it to end the process.

    `faults` are the errors that nobody caught there, the client libraries' own included.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._clients: dict[int, JsClient] = {}
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            NODE, DRIVER, stdin=pipe, stdout=pipe, limit=LONGEST_LINE
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with deadline():
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading

    async def connect(self, url: str, **options: Any) -> JsClient:
        """A client that is connected; takes what `client` takes."""
        client = await self.client(url, **options)
        await client.receive("connect")
        return client

    async def client(
        self,
        url: str,
        *,
        namespace: str = "/",
        version: Literal[2, 3, 4] = 4,
        acks: Acks = "never",
        **options: Any,
    ) -> JsClient:
        """A client that has begun to connect, whatever comes of it.

        `acks` is how it answers when the server asks for an ack: `{"with": [arguments]}`, with
        what it was sent (`echo`), or `never`. `options` are those of `io()` by their JavaScript
        names (`transports`, `auth`, `reconnection`, ...), and `parser="msgpack"`; `forceNew` is
        true unless given.
        """
        client = JsClient(self, len(self._clients) + 1)
        self._clients[client.number] = client
        where = url.rstrip("/") + namespace
        await self.send(
            "create", client.number, url=where, version=version, acks=acks, opts=options
        )
        return client

    async def send(self, verb: str, client: int, **command: Any) -> None:
        """Hand a command to the driver; what comes of it is reported to the client."""
        line = json.dumps({"do": verb, "client": client, **command}, default=_pack)
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            fields = json.loads(line, object_hook=_unpack)
            client = fields.pop("client")
            if client is None:
                self.faults += fields["args"]
            else:
                await self._clients[client].happened(Report(**fields))


class JsClient:
    """One JavaScript client: one socket. `log` is all that happened to it, in order."""

    def __init__(self, driver: JsDriver, number: int) -> None:
        self.number = number
        self.log: list[Report] = []
        self._driver = driver
        self._calls = itertools.count(1)
        self._news = asyncio.Condition()
        self._read: defaultdict[Hashable, int] = defaultdict(int)  # how far each reader has come

    @property
    def id(self) -> str:
        """The socket's id in its newest connection."""
        return str(self._connected()["id"])

    @property
    def transport(self) -> str:
        """The transport at the moment the newest connection came about; see `upgrade`."""
        return str(self._connected()["transport"])

    @property
    def extensions(self) -> str:
        """What the WebSocket of the newest connection has agreed on; nothing on polling."""
        return str(self._connected().get("extensions", ""))

    async def burst(self, event: str, count: int) -> None:
        """Emit an event that many times in one tick, each with its number."""
        await self._driver.send("burst", self.number, event=event, count=count)

    async def emit(self, event: str, *args: Any) -> None:
        """Emit an event; while the socket is not connected the client keeps it, as ever."""
        await self._driver.send("emit", self.number, event=event, args=args)

    async def call(self, event: str, *args: Any, client_timeout: float | None = None) -> list[Any]:
        """Emit an event and return the arguments of its ack.

        With `client_timeout` (seconds) the client's own `timeout()` is set, and its running out
        is a `TimeoutError`.
        """
        call = next(self._calls)
        limit = None if client_timeout is None else client_timeout * 1000
        await self._driver.send(
            "emit", self.number, event=event, args=args, call=call, timeout=limit
        )
        report = await self._take(
            ("call", call), lambda report: report.call == call, f"no ack for {event!r}"
        )
        if report.event == "ack_timeout":
            raise TimeoutError(report.args[0])
        return report.args

    async def receive(self, event: str, timeout: float = DEADLINE) -> list[Any]:
        """The arguments of the first report of `event` that `receive` has not returned yet."""
        report = await self._take(
            event, lambda report: report.event == event, f"no {event!r}", timeout
        )
        return report.args

    async def next(self) -> Report:
        """The first report of any kind that `next` has not returned yet."""
        return await self._take(None, lambda _: True, "nothing more")

    async def disconnect(self) -> None:
        """`socket.disconnect()`; `connect` brings it back."""
        await self._driver.send("disconnect", self.number)

    async def connect(self) -> None:
        """`socket.connect()`; does not wait for what comes of it."""
        await self._driver.send("connect", self.number)

    async def close(self) -> None:
        """Disconnect for good."""
        await self._driver.send("close", self.number)

    async def happened(self, report: Report) -> None:
        """For the driver: one more report."""
        async with self._news:
            self.log.append(report)
            self._news.notify_all()

    async def _take(
        self,
        reader: Hashable,
        match: Callable[[Report], bool],
        missing: str,
        timeout: float = DEADLINE,
    ) -> Report:
        def found() -> int | None:
            unread = range(self._read[reader], len(self.log))
            return next((index for index in unread if match(self.log[index])), None)

        try:
            async with asyncio.timeout(timeout), self._news:
                await self._news.wait_for(lambda: found() is not None)
        except TimeoutError:
            raise AssertionError(f"{missing} within {timeout:g} s; {self._story()}") from None
        index = found()
        assert index is not None
        self._read[reader] = index + 1
        return self.log[index]

    def _story(self) -> str:
        lines = [str(report) for report in self.log] or ["(nothing)"]
        lines += (f"fault: {fault}" for fault in self._driver.faults)
        return "\n".join([f"client {self.number} so far:", *lines])

    def _connected(self) -> dict[str, Any]:
        connects = [report.args[0] for report in self.log if report.event == "connect"]
        assert connects, f"not connected yet; {self._story()}"
        return dict(connects[-1])


def _pack(value: object) -> dict[str, str]:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": base64.b64encode(value).decode()}
    raise TypeError(f"{value!r} cannot be sent")


def _unpack(fields: dict[str, Any]) -> Any:
    return base64.b64decode(fields["$bytes"]) if "$bytes" in fields else fields
