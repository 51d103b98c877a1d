"""The check list of python-socketio's clients, old and new.

`python checks.py TASK`, with a version of python-socketio on `PYTHONPATH`. A task is JSON with
what `checks.mjs` takes, and `client`: `Client` or `AsyncClient`. Each check becomes one JSON line
on stdout: {"check", "got"} or {"check", "error"}. A check gives what the client got; binary is
reported as "bytes:" and hexadecimal digits.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from collections import defaultdict
from importlib.metadata import version
from typing import Any

import socketio

TEXT = 'plain, "quoted", \\, \0, \n and € 🦄 \u2028'
AUTH = {"token": "secret", "more": [1, {"a": None}]}
BINARY = (bytes(range(256)), b"\2\3", "between", {"deep": [b"\4", {"deeper": b"\0\1"}]})
EVENTS = ("connect", "connect_error", "disconnect", "echo", "tick")
OLD = version("python-socketio").startswith("5.0.")


class Visitor:
    """One client, sync or async; what it hears is kept until it is asked for."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._heard: defaultdict[tuple[str, str], asyncio.Queue[Any]] = defaultdict(asyncio.Queue)
        self._lost = asyncio.Event()
        self.sio: Any = None

    async def open(
        self, namespace: str = "/", *, url: str = "", expect: str = "connect", **options: Any
    ) -> Any:
        """Connect; gives the arguments of the first event that says how that went."""
        extra = options.pop("client", {})
        self.sio = getattr(socketio, self._task["client"])(
            request_timeout=self._task["patience"],
            reconnection=bool(url),
            reconnection_delay=0.001,
            reconnection_delay_max=0.001,
            **extra,
        )
        self.listen(namespace)
        if not OLD:
            options["wait"] = False
        transports = self._task["options"]["transports"]
        await self._do(
            self.sio.connect,
            url or self._task["url"],
            transports=transports,
            namespaces=[namespace],
            **options,
        )
        return await self.next(expect, namespace)

    def listen(self, namespace: str) -> None:
        for event in EVENTS:
            self.sio.on(event, self._listener(event, namespace), namespace=namespace)
        self.sio.on("question", lambda *args: args, namespace=namespace)

    async def next(self, event: str, namespace: str = "/") -> Any:
        """The arguments of the next such event; an error if the client is gone before."""
        heard = asyncio.ensure_future(self._heard[event, namespace].get())
        lost = asyncio.ensure_future(self._lost.wait())
        await asyncio.wait([heard, lost], return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        if heard.done() or event == "disconnect":
            return await heard
        heard.cancel()
        raise ConnectionError("the client is disconnected")

    async def again(self) -> None:
        """Wait until a client that has lost its connection has a new one."""
        await self._heard["connect", "/"].get()

    async def take(self, event: str, count: int) -> list[Any]:
        return [(await self.next(event))[0] for _ in range(count)]

    async def emit(self, event: str, *args: Any) -> None:
        await self._do(self.sio.emit, event, args)

    async def call(self, event: str, *args: Any, namespace: str = "/") -> Any:
        patience = self._task["patience"]
        return await self._do(self.sio.call, event, args, namespace=namespace, timeout=patience)

    async def leave(self) -> None:
        if self.sio is not None:
            await self._do(self.sio.disconnect)

    def _listener(self, event: str, namespace: str) -> Any:
        # The sync client calls from a thread of its own.
        def hear(*args: Any) -> None:
            self._loop.call_soon_threadsafe(self._hear, event, namespace, args)

        return hear

    def _hear(self, event: str, namespace: str, args: tuple[Any, ...]) -> None:
        self._heard[event, namespace].put_nowait(args)
        if event == "disconnect":
            self._lost.set()
        elif event == "connect":
            self._lost.clear()

    async def _do(self, method: Any, *args: Any, **options: Any) -> Any:
        if inspect.iscoroutinefunction(method):
            return await method(*args, **options)
        return await asyncio.to_thread(method, *args, **options)


class Checks:
    """The checks, by name."""

    def __init__(self, task: dict[str, Any], visitor: Visitor) -> None:
        self._task = task
        self._visitor = visitor

    async def runtime(self) -> str:
        return "python-socketio " + ".".join(version("python-socketio").split(".")[:2])

    async def transport(self) -> str:
        await self._visitor.open()
        name: str = self._visitor.sio.eio.transport()
        return name

    async def text(self) -> Any:
        await self._visitor.open()
        await self._visitor.emit("echo", TEXT, None, 1.5, [{"a": []}], "")
        return await self._visitor.next("echo")

    async def binary(self) -> Any:
        await self._visitor.open()
        await self._visitor.emit("echo", *BINARY)
        return await self._visitor.next("echo")

    async def ack(self) -> Any:
        await self._visitor.open()
        return [
            [await self._visitor.call("reply", TEXT)],
            await self._visitor.call("reply", *BINARY),
        ]

    async def empty(self) -> Any:
        await self._visitor.open()
        return await self._visitor.call("reply", b"", "")

    async def ask(self) -> Any:
        await self._visitor.open()
        return [[await self._visitor.call("ask", TEXT)], await self._visitor.call("ask", *BINARY)]

    async def large(self) -> Any:
        await self._visitor.open()
        text = "€" * 50_000
        same, data = await self._visitor.call("reply", text, b"x" * 200_000)
        return [same == text, len(data)]

    async def burst(self) -> Any:
        await self._visitor.open()
        await self._visitor.emit("count", 40)
        return await self._visitor.take("tick", 40)

    async def order(self) -> Any:
        await self._visitor.open()
        for number in range(40):
            await self._visitor.emit("echo", number)
        return await self._visitor.take("echo", 40)

    async def auth(self) -> Any:
        await self._visitor.open("/auth", auth=AUTH)
        return [await self._visitor.call("who", namespace="/auth")]

    async def refused(self) -> Any:
        (error,) = await self._visitor.open("/auth", expect="connect_error")
        return [error["message"], error.get("data")]

    async def nowhere(self) -> Any:
        (error,) = await self._visitor.open("/nowhere", expect="connect_error")
        return [error["message"], error.get("data")]

    async def query(self) -> Any:
        await self._visitor.open(url=self._task["url"] + "?room=7%20%26%20%C3%BC")
        return [await self._visitor.call("seen", "query", "room")]

    async def headers(self) -> Any:
        await self._visitor.open(headers={"x-test": "yes"})
        return [await self._visitor.call("seen", "headers", "x-test")]

    async def cookies(self) -> Any:
        await self._visitor.open(headers={"cookie": "who=me"})
        return [await self._visitor.call("seen", "headers", "cookie")]

    async def kicked(self) -> Any:
        await self._visitor.open()
        await self._visitor.emit("kick")
        return await self._reason()

    async def left(self) -> Any:
        await self._visitor.open()
        await self._visitor.leave()
        reason = await self._reason()
        again = Visitor(self._task)
        await again.open()
        answer = await again.call("reply", 1)
        await again.leave()
        return [reason, [answer], True]

    async def reconnect(self) -> Any:
        await self._visitor.open(url=self._task["relay"])
        first = self._visitor.sio.get_sid()
        await self._visitor.emit("cut")
        reason = await self._reason()
        await self._visitor.again()
        answer = await self._visitor.call("reply", 1)
        return [reason, [answer], self._visitor.sio.get_sid() != first]

    async def protocols(self) -> Any:
        name = {"Client": "subprotocols", "AsyncClient": "protocols"}[self._task["client"]]
        options = {"websocket_extra_options": {name: ["chat", "superchat"]}}
        await self._visitor.open(client=options)
        ws = self._visitor.sio.eio.ws
        chosen = ws and (ws.subprotocol if name == "subprotocols" else ws.protocol)
        return [chosen, await self._visitor.call("reply", 1)]

    async def _reason(self) -> str | None:
        """What the handler of `disconnect` was told; old versions tell nothing."""
        arguments = await self._visitor.next("disconnect")
        return arguments[0] if arguments else None


def pack(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return f"bytes:{value.hex()}"
    if isinstance(value, (list, tuple)):
        return [pack(item) for item in value]
    if isinstance(value, dict):
        return {key: pack(item) for key, item in value.items()}
    return value


async def main(task: dict[str, Any]) -> None:
    late = asyncio.get_running_loop().time() + task["patience"]
    for check in task["checks"]:
        visitor = Visitor(task)
        try:
            async with asyncio.timeout_at(late):
                got = await getattr(Checks(task, visitor), check)()
            report = {"check": check, "got": pack(got)}
        except Exception as error:
            report = {"check": check, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(report), flush=True)
        await visitor.leave()
    os._exit(0)  # without waiting for the threads of a client that hangs


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
