"""The kinds of flood: what is sent again and again, after an opening."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.flooding.wire import BINARY, CONTINUATION, PING, SEPARATOR, TEXT, frame

__all__ = ["BODY", "KINDS", "Kind", "Transport"]

Transport = str
"""Either `websocket` or `polling`."""

BODY = 1_000_000
"""Bytes of a body, and of a message of JSON: the default of `max_payload`."""

WRITE = 2**18
"""About the bytes that are written at a time."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A flood. `opening` are the packets before it.

    `stream` is whole frames, sent over and over on a WebSocket, after `first`; empty if the kind
    needs polling. `body` is that of each POST request, empty if the kind needs a WebSocket.
    With `chunks`, the body goes out in chunks of one byte. `requests` are sent as they are on a
    connection without a session.
    """

    name: str
    opening: tuple[bytes, ...] = (b"40",)
    first: bytes = b""
    stream: bytes = b""
    body: bytes = b""
    chunks: bool = False
    requests: bytes = b""

    def runs_on(self, transport: Transport) -> bool:
        """True if it can be sent on a transport. Plain requests count as polling."""
        return bool(self.stream if transport == "websocket" else self.body or self.requests)


def _packets(name: str, packet: bytes, opening: tuple[bytes, ...] = (b"40",)) -> Kind:
    """A flood of one packet, on both transports."""
    message = frame(packet)
    body = SEPARATOR.join([packet] * ((BODY + 1) // (len(packet) + 1)))
    return Kind(name, opening, stream=message * max(1, WRITE // len(message)), body=body)


def _binary() -> Kind:
    text = b'451-["say",{"_placeholder":true,"num":0}]'
    pair, both = frame(text) + frame(b"\x00", BINARY), text + SEPARATOR + b"bAA=="
    body = SEPARATOR.join([both] * ((BODY + 1) // (len(both) + 1)))
    return Kind("binary events", stream=pair * (WRITE // len(pair)), body=body)


def _fragments() -> Kind:
    """Fragments without content; by polling, chunks of one byte."""
    empty = frame(b"", CONTINUATION, final=False)
    return Kind(
        "fragments",
        first=frame(b"", TEXT, final=False),
        stream=empty * (WRITE // len(empty)),
        body=b'42["say","%s"]' % (b"x" * (BODY // 8)),
        chunks=True,
    )


def _json() -> Kind:
    text = b'42["say",[' + b",".join([b"{}"] * ((BODY - 12) // 3)) + b"]]"
    return Kind("1 MB of JSON", stream=frame(text), body=text)


_REQUEST = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
_PING = frame(b"", PING)

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        _packets("pongs, never joined", b"3", ()),
        _packets("pongs", b"3"),
        Kind("WebSocket pings", stream=_PING * (WRITE // len(_PING))),
        _packets("acks nobody waits for", b"431[]"),
        _packets(
            "events of a namespace left", b'42/left,["say"]', (b"40", b"40/left,", b"41/left,")
        ),
        _packets("CONNECTs to no namespace", b"40/nothing,"),
        _packets("CONNECTs that are refused", b"40/shut,", ()),
        _packets("events", b'42["say"]'),
        _packets("events with an ack", b'420["say"]'),
        _binary(),
        _fragments(),
        _json(),
        Kind("requests, pipelined", requests=_REQUEST * (WRITE // len(_REQUEST))),
    )
}
"""The kinds by their names."""
