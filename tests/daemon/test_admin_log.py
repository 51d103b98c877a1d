"""Bytes that are no HTTP, sent to the admin listener of a daemon."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.daemon.admin import AdminLog
from tests.hostile.bad_http import raw
from tests.hostile.byte_connection import connected
from tests.reload.edited_daemon import running

CONFIG = """
reload: {watch: "off"}
admin: {port: 0}
namespaces: {/: }
"""

BAD = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(80) + b"\r\n\r\n",
    "a method nobody has": raw("G\x01T /-/status HTTP/1.1\nHost: x\n\n"),
    "a header without a colon": raw("GET /-/status HTTP/1.1\nnonsense\n\n"),
    "a header of 100 KB": raw(f"GET /-/status HTTP/1.1\na: {'x' * 100_000}\n\n"),
    "chunks of no size": raw("POST /-/plan HTTP/1.1\nTransfer-Encoding: chunked\n\nzz\n{}\n"),
}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.DEBUG)
    yield caplog
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("sent", BAD.values(), ids=[name.replace(" ", "-") for name in BAD])
async def test_is_answered_with_400_and_told_in_a_line(
    tmp_path: Path, log: pytest.LogCaptureFixture, sent: bytes
) -> None:
    async with running(tmp_path, CONFIG) as gateway:
        port = int(gateway.admin.url.rpartition(":")[2])
        for _ in range(3):
            async with connected(port) as line:
                await line.send(sent)
                answer = await line.answer()
                assert answer is not None
                assert answer.status == 400
        assert await gateway.get("/healthz") == {"healthy": True}
    told = [line for line in log.messages if "admin listener" in line]
    assert len(told) == 1
    assert told[0].startswith("violation http by a client of the admin listener: ")


PLAN = "POST /-/plan HTTP/1.1\nHost: localhost\n"
ODD = {
    "deep JSON": (f"{PLAN}Content-Length: 100000\n\n" + "[" * 100_000, 400),
    "gzip that is none": (f"{PLAN}Content-Encoding: gzip\nContent-Length: 2\n\n{{}}", 400),
    "an expectation of no text": (f"{PLAN}Expect: \xff\nContent-Length: 2\n\n{{}}", 417),
    "an expectation at no path": ("GET /else HTTP/1.1\nHost: localhost\nExpect: \xff\n\n", 417),
    "a path that is not there": ("GET /else HTTP/1.1\nHost: localhost\n\n", 404),
    "a method that is not there": ("DELETE /metrics HTTP/1.1\nHost: localhost\n\n", 405),
}


@pytest.mark.parametrize(
    ("sent", "status"), ODD.values(), ids=[name.replace(" ", "-") for name in ODD]
)
async def test_what_cannot_be_met_is_refused_without_a_fault(
    tmp_path: Path, log: pytest.LogCaptureFixture, sent: str, status: int
) -> None:
    async with running(tmp_path, CONFIG) as gateway:
        async with connected(int(gateway.admin.url.rpartition(":")[2])) as line:
            await line.send(raw(sent))
            answer = await line.answer()
        assert answer is not None
        assert answer.status == status
        assert await gateway.get("/healthz") == {"healthy": True}


async def test_a_body_may_be_announced(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path, CONFIG) as gateway:
        port = int(gateway.admin.url.rpartition(":")[2])
        async with connected(port) as line:
            await line.send(raw(f"{PLAN}Expect: 100-Continue\nContent-Length: 2\n\n"))
            answer = await line.answer()
            assert answer is not None
            assert answer.status == 100
            await line.send(b"{}")
            answer = await line.answer()
            assert answer is not None
            assert answer.status == 200


def test_a_fault_of_our_own_is_logged_as_one(caplog: pytest.LogCaptureFixture) -> None:
    error = RuntimeError("ours")
    AdminLog().exception("Error handling request from %s", "me", exc_info=error)
    record = caplog.records[0]
    assert (record.name, record.levelname) == ("sockgw.admin", "ERROR")
    assert record.getMessage() == "Error handling request from me"
    assert record.exc_info is not None
    assert record.exc_info[1] is error
