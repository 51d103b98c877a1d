"""What reviews have found at the public port, so that it does not come back."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import sys
import tracemalloc
import zlib
from asyncio.subprocess import PIPE, STDOUT
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.deadline import deadline
from tests.engineio.echo_server import Server, Wire
from tests.gateway_files import write
from tests.hostile import byte_connection
from tests.hostile.byte_connection import get, upgrade

POLL = "?EIO=4&transport=polling"
WS = "?EIO=4&transport=websocket"
LATIN = "\xff\xe9"

STATUS = {
    "key": (upgrade(WS, Sec_WebSocket_Key=f"dGhlIHNhbXBsZSBub25jZ{LATIN}=="), 400),
    "version": (upgrade(WS, Sec_WebSocket_Version=f"13{LATIN}"), 400),
    "upgrade": (upgrade(WS, Upgrade=f"websocket{LATIN}"), 400),
    "connection": (upgrade(WS, Connection=f"Upgrade{LATIN}"), 400),
    "expect": (get(POLL, f"Expect: {LATIN}"), 417),
}


async def test_bytes_over_127_have_a_clean_answer_and_every_line_of_the_log_is_json(
    tmp_path: Path,
) -> None:
    """F10: each was a 500 with a traceback, in another format than the log's."""
    file = write(tmp_path, 'reload: {watch: "off"}\nnamespaces: {/: }\n')
    command = (sys.executable, "-m", "gateway", "run", str(file), "--port", "0")
    process = await asyncio.create_subprocess_exec(
        *(*command, "--log-format", "json"),
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
    )
    assert process.stdout is not None
    lines: list[dict[str, Any]] = []
    try:
        async with deadline():
            while not lines or not lines[-1]["message"].startswith("listening on "):
                lines.append(json.loads(await process.stdout.readline()))
            port = int(lines[-1]["message"].rpartition(":")[2])
            for sent, status in STATUS.values():
                async with byte_connection.connected(port) as line:
                    await line.send(sent)
                    answer = await line.answer()
                    assert answer is not None
                    assert answer.status == status
    finally:
        process.terminate()
        rest, _ = await process.communicate()
    lines += [json.loads(line) for line in rest.splitlines()]
    assert not any("Traceback" in str(line) for line in lines)
    assert {line["level"] for line in lines} <= {"info", "warning"}


async def test_bodies_that_are_waited_for_wake_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """F6: each had a timer of its own, which woke it twenty times a second."""
    loop, timers, number = asyncio.get_running_loop(), [], 20
    async with Server() as server, aiohttp.ClientSession() as http, AsyncExitStack() as stack:
        sids = [(await Wire(server.port, http).open()).sid for _ in range(number)]
        for name in ("call_later", "call_at"):
            plain = getattr(loop, name)

            def counted(*args: Any, plain: Any = plain, **how: Any) -> Any:
                timers.append(args)
                return plain(*args, **how)

            monkeypatch.setattr(loop, name, counted)
        for sid in sids:
            head = f"POST /engine.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n"
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            sock.sendall(f"{head}Content-Length: 9\r\n\r\n4".encode())
        while server.posts < number:  # noqa: ASYNC110  a timer is what must not be
            await asyncio.sleep(0)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert len(timers) <= 2, "all deadlines have one timer, which may be set anew"
        monkeypatch.undo()


def bombs() -> dict[str, tuple[str, bytes, int | None]]:
    """Compressed bodies by name: their encoding, their bytes, and the status of the answer.

    `None` is for a connection that is closed without one.
    """
    zeros = b"0" * 1_000_000
    gzipped, deflated = zlib.compressobj(wbits=31), zlib.compressobj(wbits=-15)
    large = b"".join(gzipped.compress(zeros) for _ in range(100)) + gzipped.flush()
    return {
        "gzip": ("gzip", large, 413),
        "gzip in gzip": ("gzip", gzip.compress(large), 400),
        "gzip in many members": ("gzip", gzip.compress(b"4") + gzip.compress(b"") * 5_000, 200),
        "deflate": ("deflate", zlib.compress(zeros * 3, 9), 413),
        "deflate without its header": (
            "deflate",
            b"".join(deflated.compress(zeros) for _ in range(100)) + deflated.flush(),
            413,
        ),
        "deflate that is none": ("deflate", b"\x00\xff" * 50, None),
        "gzip that is none": ("gzip", b"\x1f\x8b" * 50, None),
        "a header alone": ("gzip", b"\x1f\x8b\x08", 400),
        "nothing": ("gzip", b"", 400),
    }


@pytest.mark.parametrize("name", bombs())
async def test_a_compressed_body_takes_bounded_memory_and_has_its_answer(name: str) -> None:
    """The session lives on only where nothing was wrong."""
    encoding, body, status = bombs()[name]
    async with Server(max_payload=200_000) as server, aiohttp.ClientSession() as http:
        wire = await Wire(server.port, http).open()
        head = f"Content-Encoding: {encoding}\nContent-Length: {len(body)}\n"
        async with wire.raw("POST", head) as (reader, writer):
            await server.posted()
            tracemalloc.start()
            try:
                writer.write(body)
                answer = await reader.read(20)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert answer[9:12].decode() == ("" if status is None else str(status))
        assert peak < 20 * 200_000
