"""Backends that fail, and those that mean harm: what clients get, and what is bounded."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.backends import backend as module
from gateway.backends.backend import HttpBackend
from gateway.testing import TestClient, TestGateway
from tests.backends.conftest import Asking, Site, use
from tests.backends.raw_backend import read_request, serve_raw
from tests.deadline import deadline, until
from tests.ports import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def backend_of(gateway: TestGateway, name: str = "shop") -> HttpBackend:
    return gateway._build.backends[name]


async def code(client: TestClient, event: str = "buy") -> Any:
    [answer] = await client.call(event)
    return answer["error"]["code"]


async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await asyncio.Event().wait()


def answering(*parts: bytes) -> Callable[..., Any]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return serve


async def endless_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"5\r\n[1,1,\r\n" * 100)
        await writer.drain()


async def endless_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(OK)
    while True:
        writer.write(b"X-Field: value\r\n" * 100)
        await writer.drain()


HOSTILE = {
    "no JSON": (answering(OK + b"Content-Length: 5\r\n\r\n<html"), "bad_answer"),
    "half of a body": (answering(OK + b"Content-Length: 50\r\n\r\n{}"), "unavailable"),
    "half of a head": (answering(b"HTTP/1.1 200 OK\r\nContent-"), "unavailable"),
    "no HTTP": (answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "bad_answer"),
    "nothing": (answering(), "unavailable"),
    "an endless body": (endless_body, "bad_answer"),
    "an endless head": (endless_head, "bad_answer"),
    "a huge length": (answering(OK + b"Content-Length: 99999999\r\n\r\n"), "bad_answer"),
    "a bad length": (answering(OK + b"Content-Length: -5\r\n\r\n"), "bad_answer"),
    "a redirect": (
        answering(b"HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        "bad_answer",
    ),
    "not modified": (answering(b"HTTP/1.1 304 No\r\n\r\n"), "bad_answer"),
    "compressed": (
        answering(
            OK + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + gzip.compress(b"")
        ),
        "bad_answer",
    ),
    "deep": (
        answering(OK + b"Content-Length: 2000\r\n\r\n" + b"[" * 1000 + b"]" * 1000),
        "bad_answer",
    ),
    "NaN": (answering(OK + b"Content-Length: 3\r\n\r\nNaN"), "bad_answer"),
    "no text": (answering(OK + b'Content-Length: 3\r\n\r\n"\xff"'), "bad_answer"),
    "bad base64": (
        answering(OK + b'Content-Length: 16\r\n\r\n{"$base64": "*"}'),
        "bad_answer",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_answer_is_bounded_and_has_its_code(asking: Asking, kind: str) -> None:
    serve, expected = HOSTILE[kind]
    async with serve_raw(serve) as raw, asking(raw.url, timeout=60, max_answer="64KB") as gateway:
        client = await gateway.connect(timeout=60)
        assert await code(client) == expected
        assert client.connected
        assert raw.connections == 1  # nothing is repeated


async def test_a_backend_that_never_answers_is_given_up(asking: Asking) -> None:
    async with serve_raw(forever) as raw, asking(raw.url, timeout="20ms") as gateway:
        client = await gateway.connect(timeout=60)
        assert await client.call("buy") == [
            {"error": {"code": "timeout", "message": "it took too long"}}
        ]
        assert client.connected
        assert backend_of(gateway).figures.outcomes["timeout"] == 1


async def test_an_answer_byte_by_byte_has_no_more_time(asking: Asking) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"Content-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.001)

    async with serve_raw(drip) as raw, asking(raw.url, timeout="50ms") as gateway:
        assert await code(await gateway.connect(timeout=60)) == "timeout"


async def test_nobody_listens(asking: Asking) -> None:
    async with asking(f"http://127.0.0.1:{free_port()}") as gateway:
        client = await gateway.connect(timeout=60)
        assert await code(client) == "unavailable"
        figures = backend_of(gateway).figures
        assert (figures.outcomes["unreachable"], figures.retries) == (1, 1)


async def test_a_request_is_repeated_before_any_byte_went_out(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack, asking(f"http://127.0.0.1:{port}") as gateway:
        client = await gateway.connect(timeout=60)
        serve = answering(OK + b"Content-Length: 1\r\n\r\n7")

        async def come_up(seconds: float) -> None:
            monkeypatch.undo()
            await stack.enter_async_context(serve_raw(serve, port=port))

        monkeypatch.setattr(module.asyncio, "sleep", come_up)
        assert await client.call("buy") == [7]
        assert backend_of(gateway).figures.outcomes["ok"] == 1


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_lost_request_is_repeated_only_if_it_may_be(
    asking: Asking, idempotent: bool
) -> None:
    seen: list[bytes] = []

    async def first_lost(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        if len(seen) > 1:
            writer.write(OK + b"Content-Length: 1\r\n\r\n7")
            await writer.drain()

    namespace = {"routes": {"buy": use("/buy", idempotent=idempotent)}}
    async with serve_raw(first_lost) as raw, asking(raw.url, namespace) as gateway:
        [answer] = await (await gateway.connect(timeout=60)).call("buy")
    if not idempotent:
        assert (answer["error"]["code"], len(seen)) == ("unavailable", 1)
        return
    assert answer == 7
    ids = {
        line
        for each in seen
        for line in each.split(b"\r\n")
        if line.lower().startswith(b"webhook-id")
    }
    assert (len(seen), len(ids)) == (2, 1)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_failing_proxy_is_asked_again_if_the_request_may_be_repeated(
    asking: Asking, site: Site, status: int
) -> None:
    site.answer = lambda seen: (
        web.Response(status=status) if len(site.seen) == 1 else web.json_response(7)
    )
    namespace = {"routes": {"buy": use("/buy", idempotent=True)}}
    async with asking(site.url, namespace) as gateway:
        assert await (await gateway.connect(timeout=60)).call("buy") == [7]
    assert len(site.seen) == 2


async def test_a_full_queue_is_busy(asking: Asking) -> None:
    async with serve_raw(forever) as raw, asking(raw.url, concurrency=2, queue=1) as gateway:
        client = await gateway.connect(timeout=60)
        calls = [asyncio.create_task(client.call("buy")) for _ in range(3)]
        figures = backend_of(gateway).figures
        await until(lambda: (figures.in_flight, figures.waiting) == (2, 1))
        assert await client.call("buy") == [
            {"error": {"code": "busy", "message": "too much to do", "data": {"retry_after": 1}}}
        ]
        assert figures.outcomes["busy"] == 1
        await client.lose()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_turn_that_does_not_come_is_busy_and_was_not_sent(asking: Asking) -> None:
    async with (
        serve_raw(forever) as raw,
        asking(raw.url, concurrency=1, timeout="50ms") as gateway,
    ):
        client = await gateway.connect(timeout=60)
        backend = backend_of(gateway)
        await backend._free.acquire()
        assert await code(client) == "busy"
        assert (backend.figures.waiting, raw.connections) == (0, 0)
        backend._free.release()
        assert await code(client) == "timeout"
        assert (backend.figures.in_flight, raw.connections) == (0, 1)


async def test_a_slot_is_free_again_whatever_became_of_the_call(asking: Asking, site: Site) -> None:
    answers = [web.Response(status=500), web.Response(text="<"), web.json_response(1)]
    site.answer = lambda seen: answers[len(site.seen) - 1]
    async with asking(site.url, concurrency=1, queue=0) as gateway:
        client = await gateway.connect(timeout=60)
        assert [await code(client), await code(client)] == ["unavailable", "bad_answer"]
        assert await client.call("buy") == [1]


async def test_a_packet_that_is_cancelled_gives_up_its_call(asking: Asking) -> None:
    namespace = {"routes": {"buy": {**use("/buy"), "on_disconnect": "cancel"}}}
    async with serve_raw(forever) as raw, asking(raw.url, namespace) as gateway:
        client = await gateway.connect(timeout=60)
        await client.emit("buy")
        figures = backend_of(gateway).figures
        await until(lambda: figures.in_flight)
        await client.lose()
        await until(lambda: figures.outcomes["cancelled"])
        assert figures.in_flight == 0


async def test_many_failures_open_the_breaker(
    asking: Asking, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.answer = lambda seen: web.Response(status=500)
    async with asking(site.url) as gateway:
        client = await gateway.connect(timeout=60)
        for _ in range(20):
            assert await code(client) == "unavailable"
        [answer] = await client.call("buy")
        assert answer["error"] == {
            "code": "unavailable",
            "message": "not available now, try again later",
            "data": {"retry_after": 5},
        }
        backend = backend_of(gateway)
        assert (backend.breaker.state, backend.figures.outcomes["paused"]) == ("open", 1)
        assert client.connected
    assert len(site.seen) == 20
    assert "backend shop fails: calls pause for 5.0 s" in caplog.messages


async def test_refusals_are_no_failures(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: web.Response(status=403)
    async with asking(site.url) as gateway:
        client = await gateway.connect(timeout=60)
        for _ in range(30):
            assert await code(client) == "forbidden"
    assert len(site.seen) == 30


async def test_a_breaker_can_be_left_out(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: web.Response(status=503, headers={"Retry-After": "60"})
    async with asking(site.url, breaker=False) as gateway:
        client = await gateway.connect(timeout=60)
        for _ in range(30):
            assert await code(client) == "unavailable"
    assert len(site.seen) == 30


async def test_retry_after_of_503_pauses_all_calls(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: web.Response(status=503, headers={"Retry-After": "30"})
    async with asking(site.url) as gateway:
        client = await gateway.connect(timeout=60)
        for _ in range(2):
            [answer] = await client.call("buy")
            assert answer["error"]["data"] == {"retry_after": 30}
        assert len(site.seen) == 1


async def test_410_is_not_called_again(
    asking: Asking, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.answer = lambda seen: web.Response(status=410 if seen.path == "/buy" else 204)
    namespace = {"routes": {"buy": use("/buy"), "sell": use("/sell")}}
    async with asking(site.url, namespace) as gateway:
        client = await gateway.connect(timeout=60)
        assert [await code(client), await code(client)] == ["gone", "gone"]
        assert await client.call("sell") == []
        assert backend_of(gateway).gone == ("/buy",)
    assert [each.path for each in site.seen] == ["/buy", "/sell"]
    assert any("/buy has answered 410" in line for line in caplog.messages)


async def test_a_failing_backend_is_logged_once_a_second(
    asking: Asking, site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.answer = lambda seen: web.Response(text="<")
    monkeypatch.setattr(module, "PAUSE", 1e9)
    async with asking(site.url) as gateway:
        client = await gateway.connect(timeout=60)
        for _ in range(3):
            await code(client)
        lines = [each for each in caplog.records if each.name == "sockgw.backend"]
        assert [each.levelno for each in lines] == [logging.WARNING]
        assert lines[0].message.startswith("backend shop: /buy: invalid, it is not JSON")
        monkeypatch.setattr(module, "PAUSE", 0.0)
        await code(client)
    assert caplog.messages[-1].endswith("(2 more)")


async def test_a_disconnect_that_cannot_be_told_is_no_fault(
    asking: Asking, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.answer = lambda seen: web.Response(status=500)
    async with asking(site.url, {"routes": {"disconnect": use("/left")}}) as gateway:
        await (await gateway.connect()).disconnect()
        await until(lambda: backend_of(gateway).figures.outcomes["failed"])
    assert {each.levelname for each in caplog.records} == {"WARNING"}


async def test_a_unix_socket(asking: Asking, tmp_path: Path) -> None:
    async with (
        serve_raw(answering(OK + b"Content-Length: 1\r\n\r\n7"), tmp_path / "app.sock") as raw,
        asking(f"{raw.url}:/base") as gateway,
    ):
        assert await (await gateway.connect()).call("buy") == [7]


async def test_a_unix_socket_that_is_not_there(asking: Asking) -> None:
    async with asking("unix:run/none.sock") as gateway:
        assert await code(await gateway.connect()) == "unavailable"


async def test_connections_are_used_again(asking: Asking) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(OK + b"Content-Length: 1\r\n\r\n7")
            await writer.drain()

    async with serve_raw(serve) as raw, asking(raw.url) as gateway:
        client = await gateway.connect()
        for _ in range(3):
            await client.call("buy")
        assert raw.connections == 1


async def test_a_stop_closes_all_connections(asking: Asking) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"Content-Length: 1\r\n\r\n7")
        await reader.read()
        ended.set()

    async with serve_raw(serve) as raw:
        async with asking(raw.url) as gateway:
            await (await gateway.connect()).call("buy")
        async with deadline():
            await ended.wait()
