"""Patterns in `cors_origins`: which origins they stand for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType, SimpleNamespace
from typing import Any, cast

import pytest

from gateway import Reject
from gateway.builtin import origin as origin_middleware
from gateway.http import cors
from gateway.http.cors import Cors
from gateway.http.proxies import Sender
from gateway.http.request import Request

PATTERN = "https://*.example.com"
FITS = [
    "https://a.example.com",
    "https://a.b-c.d_e.example.com",
    "https://xn--bcher-kva.example.com",
]
OTHERS = [
    "https://example.com",
    "https://.example.com",
    "https://a..example.com",
    "https://aexample.com",
    "https://a.example.com.evil.net",
    "https://a.example.org",
    "https://a.example.com:8443",
    "https://a.example.com:443",
    "https://a.example.com:",
    "https://a.example.com/",
    "https://a.example.com/x.example.com",
    "https://evil.net/.example.com",
    "https://evil.net#.example.com",
    "https://evil.net?.example.com",
    "https://evil.net@a.example.com",
    "https://evil.net:80.example.com",
    "https://a b.example.com",
    "https://a\u00e9.example.com",
    "https://*.example.com",
    "http://a.example.com",
    "wss://a.example.com",
    "://a.example.com",
    "a.example.com",
    "null",
    "",
]

PEER = Sender("192.0.2.7", is_secure=True, host="")


def answer(origin: str, *origins: str) -> str | None:
    """The header fields for a page of this origin; `None` if it is refused."""
    request = Request("GET", "/", {}, "/", {"origin": origin, "host": "gateway"})
    return Cors(origins).fields(request, PEER)


@pytest.mark.parametrize("origin", FITS)
def test_subdomains_at_any_depth_may_send_cookies(origin: str) -> None:
    assert answer(origin, PATTERN) == (
        f"Vary: Origin\r\nAccess-Control-Allow-Origin: {origin}\r\n"
        "Access-Control-Allow-Credentials: true\r\n"
    )


@pytest.mark.parametrize("origin", OTHERS)
def test_others_are_refused(origin: str) -> None:
    assert answer(origin, PATTERN) is None


def test_a_port_must_be_the_same() -> None:
    assert answer("https://a.example.com:8443", "https://*.example.com:8443")
    assert answer("https://a.example.com", "https://*.example.com:8443") is None


def test_patterns_and_names_go_together() -> None:
    origins = "https://example.com", "http://*.localhost:3000", PATTERN
    for origin in ("https://example.com", "http://a.localhost:3000", "https://a.example.com"):
        assert answer(origin, *origins)
    assert answer("http://example.com", *origins) is None


@pytest.mark.parametrize("origin", [*FITS, *OTHERS])
async def test_the_built_in_understands_them_in_the_same_way(origin: str) -> None:
    async def following() -> None: ...

    headers = {"origin": origin}
    socket = SimpleNamespace(handshake=SimpleNamespace(headers=headers))
    middleware = cast("Any", origin_middleware([PATTERN]))
    try:
        await middleware(SimpleNamespace(socket=socket), following)
        fits = True
    except Reject:
        fits = False
    assert fits is (answer(origin, PATTERN) is not None)


@pytest.fixture
def steps() -> Iterator[list[int]]:
    """The lines of `gateway.http.cors` that were run."""
    lines: list[int] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != cors.__file__:
            return None
        if event == "line":
            lines.append(frame.f_lineno)
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    yield lines
    sys.settrace(former)


def test_the_cost_does_not_grow_with_the_patterns_or_with_the_origin(steps: list[int]) -> None:
    def cost(origin: str, *origins: str) -> int:
        rules = Cors(origins)
        request = Request("GET", "/", {}, "/", {"origin": origin, "host": "gateway"})
        steps.clear()
        rules.fields(request, PEER)
        return len(steps)

    many = [f"https://*.number{number}.example" for number in range(10_000)]
    origin = "https://a.b.example.org"
    assert cost(origin, *many) == cost(origin, PATTERN)
    assert cost("https://" + "a." * 4000 + "com", PATTERN) < 20
