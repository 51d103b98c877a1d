"""One large message or body in a quiet gateway: for how long nobody else is served."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from statistics import median

import msgspec

from bench.flooding.gateway import Program, running
from bench.flooding.kinds import BODY, KINDS, Transport
from bench.flooding.processes import started
from bench.flooding.wire import BINARY, PING, Http, WebSocket, frame, join, post
from bench.flooding.witness import bystand

__all__ = ["BODIES", "PACKED", "STALL", "Stall", "cases", "measure_body"]

STALL = 0.05
"""Seconds for which one body may stop everybody else."""

REST = 0.2
"""Seconds between two bodies."""

LIMIT = 5.0
"""Seconds after which the answer to a body is not waited for any longer."""


@dataclass(frozen=True, slots=True)
class Stall:
    """The longest call of a bystander, and seconds of CPU time of the gateway, for each round."""

    gateway: str
    body: str
    transport: Transport
    seconds: list[float]
    cpu: list[float]
    load: float

    @property
    def failures(self) -> tuple[str, ...]:
        middle = median(self.seconds)
        return (f"it stopped everybody for {middle * 1000:,.0f} ms",) if middle > STALL else ()


def _many(item: str) -> bytes:
    """A megabyte of JSON with one item over and over."""
    count = (BODY - 60) // (len(item.encode()) + 1)
    return b'42["say",[%b]]' % ",".join([item] * count).encode()


def _keys() -> bytes:
    keys = ",".join(f'"{number:x}":0' for number in range(BODY // 10))
    return b'42["say",{%b}]' % keys.encode()


def _mixed() -> bytes:
    """As many arrays as a packet may have, nested, and numbers behind them."""
    arrays = ",".join(["[" * _DEPTH + "]" * _DEPTH] * (99_000 // _DEPTH))
    return b'42["say",%b%b]' % (arrays.encode(), b",0" * ((BODY - 60 - len(arrays)) // 2))


def _packed(item: object) -> bytes:
    """The same in MessagePack."""
    size = len(msgspec.msgpack.encode(item))
    many = [item] * ((BODY - 60) // size)
    packed: bytes = msgspec.msgpack.encode({"type": 2, "nsp": "/", "data": ["say", many]})
    return packed


_DEPTH = 150

BODIES: Mapping[str, Callable[[], bytes]] = {
    "{} of JSON": lambda: _many("{}"),
    "[] of JSON": lambda: _many("[]"),
    "[[[...]]] of JSON": lambda: _many("[" * _DEPTH + "]" * _DEPTH),
    "99,000 arrays, then 0 of JSON": _mixed,
    "0 of JSON": lambda: _many("0"),
    "1e9 of JSON": lambda: _many("1e9"),
    "'' of JSON": lambda: _many('""'),
    "keys of JSON": _keys,
    "escapes of JSON": lambda: _many('"' + "\\u00e9" * 100 + '"'),
    "placeholders of JSON": lambda: _many('{"_placeholder":1}'),
    "one string of JSON": lambda: b'42["say","%b"]' % (b"x" * (BODY - 20)),
    "{} of an ack": lambda: _many("{}").replace(b'42["say",', b"431["),
    "{} of an auth": lambda: _many("{}").replace(b'42["say",', b'40/shut,{"a":')[:-1] + b"}",
    "{} of a binary event": lambda: _many("{}").replace(
        b'42["say",', b'451-["say",{"_placeholder":true,"num":0},'
    ),
}
"""Messages of a megabyte, by what they are full of."""

PACKED: Mapping[str, Callable[[], bytes]] = {
    "{} of MessagePack": lambda: _packed({}),
    "[] of MessagePack": lambda: _packed([]),
    "0 of MessagePack": lambda: _packed(0),
    "'' of MessagePack": lambda: _packed(""),
    "{'a': 0} of MessagePack": lambda: _packed({"a": 0}),
}


def cases() -> Iterator[tuple[str, Transport]]:
    """Each body, and each transport on which it is sent."""
    for name in BODIES:
        yield name, "websocket"
        yield name, "polling"
    for name, kind in KINDS.items():
        if kind.stream and len(kind.stream) < BODY // 2:  # those of one message are above
            yield name, "websocket"
            if kind.body and not kind.chunks:
                yield name, "polling"
    for name in PACKED:
        yield name, "websocket"


def measure_body(program: Program, body: str, transport: Transport, rounds: int) -> Stall:
    """Send a body some times to a gateway of its own."""
    load = os.getloadavg()[0]
    seconds, cpu, packed = [], [], body in PACKED
    send = _sender(body, transport)
    settings = {"server": "{port: 0, serializer: msgpack}"} if packed else {}
    with (
        running(program, settings=settings) as gateway,
        started(partial(bystand, packed=packed), gateway.port, gateway.pid) as bystander,
    ):
        for _ in range(rounds):
            time.sleep(REST)
            used = gateway.cpu()
            bystander.send(True)
            bystander.recv()
            with suppress(ConnectionError, TimeoutError):  # it may be ended for what it sends
                send(gateway.port)
            bystander.send(True)
            seconds.append(bystander.recv().worst)
            cpu.append(gateway.cpu() - used)
    return Stall(program.checkout.name, body, transport, seconds, cpu, load)


_Send = Callable[[int], None]


def _sender(body: str, transport: Transport) -> _Send:
    """Sends a body to a port, and waits until it is done."""
    if body in PACKED:
        opening = frame(msgspec.msgpack.encode({"type": 0, "nsp": "/", "data": None}), BINARY)
        return _on_websocket((), opening + frame(PACKED[body](), BINARY))
    if body in BODIES:
        text = BODIES[body]()
        websocket = transport == "websocket"
        return _on_websocket((b"40",), frame(text)) if websocket else _by_polling((b"40",), text)
    kind = KINDS[body]
    if transport == "polling":
        return _by_polling(kind.opening, kind.body)
    return _on_websocket(kind.opening, kind.first + kind.stream * (BODY // len(kind.stream)))


def _on_websocket(opening: tuple[bytes, ...], stream: bytes) -> _Send:
    def send(port: int) -> None:
        client = WebSocket(port)
        with closing(client.line):
            client.line.settimeout(LIMIT)
            client.join(*opening)
            client.line.sendall(stream + frame(b"end", PING))
            while client.packet() != b"end":
                pass

    return send


def _by_polling(opening: tuple[bytes, ...], body: bytes) -> _Send:
    def send(port: int) -> None:
        http = Http(port)
        with closing(http.line):
            http.line.settimeout(LIMIT)
            http.ask(post(join(http, opening), body))

    return send
