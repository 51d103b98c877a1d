"""The Java client, which Android and Kotlin use too: what it writes, byte for byte.

Written down from engine.io-client-java 2.1 (`Parser`, `PollingXHR`, `WebSocket`), socket.io-client-
java 2.1 (`IOParser`) and OkHttp 3.12. Base64 is Android's `Base64.DEFAULT`: there is a line end
after each 76 characters and behind the last one.
"""

from __future__ import annotations

import json
from base64 import b64decode, encodebytes
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import pytest

from tests.clients.gateway import CONFIG, PLUGIN
from tests.hostile.byte_connection import BINARY, TEXT, Line, connected, frame

GET = b"""\
GET /socket.io/?EIO=4&transport=polling%(sid)s HTTP/1.1\r
Accept: */*\r
Host: 127.0.0.1:%(port)s\r
Connection: Keep-Alive\r
Accept-Encoding: gzip\r
User-Agent: okhttp/3.12.12\r
\r
"""

POST = b"""\
POST /socket.io/?EIO=4&transport=polling%(sid)s HTTP/1.1\r
Accept: */*\r
Content-Type: text/plain;charset=UTF-8\r
Content-Length: %(length)d\r
Host: 127.0.0.1:%(port)s\r
Connection: Keep-Alive\r
Accept-Encoding: gzip\r
User-Agent: okhttp/3.12.12\r
\r
%(body)s"""

WEBSOCKET = b"""\
GET /socket.io/?EIO=4&transport=websocket%(sid)s HTTP/1.1\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
Sec-WebSocket-Version: 13\r
Host: 127.0.0.1:%(port)s\r
Accept-Encoding: gzip\r
User-Agent: okhttp/3.12.12\r
\r
"""

SEPARATOR = b"\x1e"

REPLY = (
    b'452-0["reply",{"_placeholder":true,"num":0},"between",{"_placeholder":true,"num":1}]'
    b"\x1ebAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4\n"
    b"OTo7PD0+Pw==\n"
    b"\x1ebAQ==\n"
)
"""An event with 64 bytes and with one byte, as it stands in the body of a POST request."""


class Java:
    """One connection of the client's pool."""

    def __init__(self, line: Line, port: int) -> None:
        self._line = line
        self._facts: dict[bytes, Any] = {b"port": b"%d" % port, b"sid": b""}

    def resume(self, other: Java) -> None:
        """Write on this connection for the session of another one."""
        self._facts[b"sid"] = other._facts[b"sid"]

    async def open(self, token: bytes = b"") -> None:
        """Open a session by polling and join `/`, or `/auth` with a token."""
        opened = await self.get()
        self._facts[b"sid"] = b"&sid=" + json.loads(opened[1:])["sid"].encode()
        await self.join(token)
        assert (await self.get()).startswith(b"40")

    async def join(self, token: bytes) -> None:
        await self.post(b'40/auth,{"token":"%s"}' % token if token else b"40")

    async def get(self) -> bytes:
        return await self._ask(GET)

    async def post(self, body: bytes) -> None:
        assert await self._ask(POST, body=body, length=len(body)) == b"ok"

    async def switch(self) -> None:
        """Make a WebSocket of this connection."""
        await self._line.send(WEBSOCKET % self._facts)
        answer = await self._line.answer()
        assert answer is not None
        assert answer.status == 101

    async def send(self, *messages: str | bytes) -> None:
        for each in messages:
            is_text = isinstance(each, str)
            payload = each.encode() if isinstance(each, str) else each
            await self._line.send(frame(payload, TEXT if is_text else BINARY))

    async def receive(self) -> str | bytes:
        found = await self._line.frame()
        assert found is not None
        opcode, payload = found
        return payload.decode() if opcode == TEXT else payload

    async def _ask(self, request: bytes, **more: Any) -> bytes:
        facts = {name.encode(): value for name, value in more.items()}
        await self._line.send(request % {**self._facts, **facts})
        answer = await self._line.answer()
        assert answer is not None
        assert answer.status == 200, answer
        return answer.body


Gateway = Callable[..., AbstractAsyncContextManager[str]]
Connect = Callable[[], Any]


@pytest.fixture
async def connect(gateway: Gateway) -> AsyncIterator[Connect]:
    """Connects once more to one gateway."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(gateway(CONFIG % ("json", 1), plugin=PLUGIN))
        port = int(url.rpartition(":")[2])

        async def connect() -> Java:
            return Java(await stack.enter_async_context(connected(port)), port)

        yield connect


@pytest.fixture
async def java(connect: Connect) -> Java:
    java: Java = await connect()
    return java


def base64(data: bytes) -> bytes:
    """A binary packet as `Parser.encodePayload` writes it."""
    return b"b" + encodebytes(data)


async def test_the_encoding_is_that_of_the_recorded_bytes() -> None:
    assert REPLY.split(SEPARATOR)[1:] == [base64(bytes(range(64))), base64(b"\1")]


async def test_text_by_polling(java: Java) -> None:
    await java.open()
    await java.post('420["reply","é €",null,{"a":[1.5]}]'.encode())
    assert await java.get() == '430["é €",null,{"a":[1.5]}]'.encode()


async def test_binary_by_polling(java: Java) -> None:
    await java.open()
    await java.post(REPLY)
    text, *binary = (await java.get()).split(SEPARATOR)
    assert text.startswith(b"462-0")
    assert json.loads(text[5:]) == [
        {"_placeholder": True, "num": 0},
        "between",
        {"_placeholder": True, "num": 1},
    ]
    assert [b64decode(each[1:]) for each in binary] == [bytes(range(64)), b"\1"]


@pytest.mark.parametrize("size", [0, 1, 2, 56, 57, 58, 114, 1000, 100_000])
async def test_binary_of_any_length_by_polling(java: Java, size: int) -> None:
    data = b"\xfb" * size
    await java.open()
    event = b'451-0["reply",{"_placeholder":true,"num":0}]'
    await java.post(event + SEPARATOR + base64(data) + SEPARATOR + b'42["echo",1]')
    packets = (await java.get()).split(SEPARATOR)
    while len(packets) < 3:
        packets += (await java.get()).split(SEPARATOR)
    assert b64decode(packets[1][1:]) == data
    assert packets[2] == b'42["echo",1]'


async def test_a_binary_ack_by_polling(java: Java) -> None:
    await java.open()
    await java.post(b'420["ask","x"]')
    assert await java.get() == b'421["question","x"]'
    answer = b'461-1[{"_placeholder":true,"num":0}]' + SEPARATOR + base64(b"\0" * 60)
    await java.post(answer)
    text, binary = (await java.get()).split(SEPARATOR)
    assert text.startswith(b"461-0")
    assert b64decode(binary[1:]) == b"\0" * 60


async def test_auth_by_polling(java: Java) -> None:
    await java.open(b"secret")
    await java.post(b'42/auth,0["who"]')
    assert await java.get() == b'43/auth,0[{"token":"secret"}]'


async def test_text_and_binary_by_websocket(java: Java) -> None:
    await java.switch()
    assert str(await java.receive()).startswith("0{")
    await java.send("40")
    assert str(await java.receive()).startswith('40{"sid":')
    await java.send('451-0["reply",{"_placeholder":true,"num":0}]', b"\0\1")
    assert str(await java.receive()).startswith("461-0")
    assert await java.receive() == b"\0\1"
    await java.send('421["reply","é"]')
    assert await java.receive() == '431["é"]'


async def test_binary_before_and_behind_an_upgrade(java: Java, connect: Connect) -> None:
    await java.open()
    await java.post(REPLY)
    assert (await java.get()).startswith(b"462-0")

    websocket: Java = await connect()
    websocket.resume(java)
    await websocket.switch()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    assert await java.get() == b"6"
    await websocket.send("5", '451-1["reply",{"_placeholder":true,"num":0}]', b"\0\1")
    assert str(await websocket.receive()).startswith("461-1")
    assert await websocket.receive() == b"\0\1"
