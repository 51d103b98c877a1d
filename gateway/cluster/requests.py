"""Requests that go from one member to another, and their answers, as bytes."""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from gateway.http.exchange import Connection
from gateway.http.request import Request
from gateway.http.response import Answer

__all__ = [
    "ForwardedAnswer",
    "ForwardedRequest",
    "Head",
    "PassedRequest",
    "Signal",
    "decode_signal",
    "encode",
    "encode_signal",
    "head_of",
]

SIGNAL = struct.Struct("!QBd")

encode = msgspec.msgpack.Encoder().encode


class Signal(IntEnum):
    """What happened to a forwarded request.

    The first two are told to the owner, the others to the member that forwarded it.
    """

    WRITTEN = 1
    """The answer is written."""
    LOST = 2
    """The client is gone."""
    CUT = 3
    """Drop the client's connection in so many seconds, unless it reads the answer."""
    ABORT = 4
    """Drop the client's connection."""


class Head(msgspec.Struct, array_like=True, frozen=True):
    """A request without its body, and the other end of the connection that it came on."""

    method: str
    path: str
    query: dict[str, str]
    url: str
    headers: dict[str, str]
    keeps_alive: bool
    address: str
    is_secure: bool

    def request(self) -> Request:
        """The request, whose body is elsewhere."""
        return Request(
            self.method,
            self.path,
            self.query,
            self.url,
            self.headers,
            keeps_alive=self.keeps_alive,
        )


class ForwardedRequest(msgspec.Struct, array_like=True, frozen=True):
    """A whole request, with its number at the member that forwards it."""

    number: int
    head: Head
    body: bytes


class ForwardedAnswer(msgspec.Struct, array_like=True, frozen=True):
    """The answer to the request of that number; see `Answer`."""

    number: int
    answer: Answer


class PassedRequest(msgspec.Struct, array_like=True, frozen=True):
    """A request for a WebSocket, and the bytes that came after it."""

    head: Head
    tail: bytes


def head_of(request: Request, connection: Connection) -> Head:
    """The head of a request that came on a connection."""
    return Head(
        request.method,
        request.path,
        dict(request.query),
        request.url,
        dict(request.headers),
        request.keeps_alive,
        connection.address,
        connection.is_secure,
    )


def encode_signal(number: int, signal: Signal, seconds: float = 0.0) -> bytes:
    """A signal on the request of that number."""
    return SIGNAL.pack(number, signal, seconds)


def decode_signal(payload: bytes) -> tuple[int, Signal, float]:
    """The number, the signal and the seconds in a payload."""
    number, signal, seconds = SIGNAL.unpack(payload)
    return number, Signal(signal), seconds
