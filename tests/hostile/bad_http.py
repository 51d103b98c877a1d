"""Bad requests, and what becomes of each."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

from tests.hostile.byte_connection import get, post, upgrade

__all__ = ["ON_SESSION", "OPENING", "SID", "UPGRADES", "Bad"]

SID = "SID"
"""Stands for the id of a session that has joined `/`."""

POLL = "?EIO=4&transport=polling"
WS = "?EIO=4&transport=websocket"
MINE = f"{POLL}&sid={SID}"


@dataclass(frozen=True, slots=True)
class Bad:
    """What is sent, and how it ends.

    `status` of the answer, `None` for a connection that is closed without one; `code` of the
    refusal; the `kind` it is counted as, `None` for no violation. `reason` is why the session
    ends that the request is for, `None` where that lives on. `cut` is for a client that sends no
    more; `then` is sent once the gateway has begun to read the body.
    """

    name: str
    sent: bytes
    status: int | None
    code: int | str | None = None
    kind: str | None = "http"
    reason: str | None = None
    cut: bool = False
    then: bytes = b""


def raw(head: str) -> bytes:
    """The lines of a request."""
    return head.replace("\n", "\r\n").encode("latin-1")


OPENING = [
    # Methods.
    *(
        Bad(f"{method} to open", get(POLL, method=method), 400, 2, "bad_handshake_method")
        for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND")
    ),
    Bad("a method nobody has", get(POLL, method="BREW"), 400),
    Bad("POST to open", post(POLL, b"40"), 400, 2, "bad_handshake_method"),
    Bad("HEAD to open", get(POLL, method="HEAD"), 400, None, "bad_handshake_method", cut=True),
    Bad("CONNECT elsewhere", raw("CONNECT example.org:443 HTTP/1.1\nHost: x\n\n"), 404, kind=None),
    Bad("a method of the empty word", raw(" /socket.io/ HTTP/1.1\nHost: x\n\n"), 400),
    Bad("a method that is no token", raw("G\x01T /socket.io/ HTTP/1.1\nHost: x\n\n"), 400),
    # Queries.
    Bad("no query", get(""), 400, 0, "unknown_transport"),
    Bad("no transport", get("?EIO=4"), 400, 0, "unknown_transport"),
    Bad("an empty transport", get("?EIO=4&transport="), 400, 0, "unknown_transport"),
    Bad("a transport nobody has", get("?EIO=4&transport=smoke"), 400, 0, "unknown_transport"),
    Bad(
        "a transport of JavaScript's",
        get("?EIO=4&transport=constructor"),
        400,
        0,
        "unknown_transport",
    ),
    Bad("a transport twice", get("?EIO=4&transport=x&transport=polling"), 400, 0,
        "unknown_transport"),
    Bad("a transport in capitals", get("?EIO=4&transport=POLLING"), 400, 0, "unknown_transport"),
    Bad("no version", get("?transport=polling"), 400, 5, "unsupported_version"),
    *(
        Bad(f"version {eio!r}", get(f"?EIO={eio}&transport=polling"), 400, 5, "unsupported_version")
        for eio in ("3", "5", "04", "-4", "4.0", "4%20", "four", "4" * 500)
    ),
    Bad("an unknown session", get(f"{POLL}&sid=nobody"), 400, 1, "unknown_session"),
    Bad("an unknown session, posted to", post(f"{POLL}&sid=nobody", b"40"), 400, 1,
        "unknown_session"),
    Bad("a session of odd letters", get(f"{POLL}&sid=%00%ff../../"), 400, 1, "unknown_session"),
    Bad("a session of 4 KB", get(f"{POLL}&sid={'s' * 4000}"), 400, 1, "unknown_session"),
    Bad("a query of 100 KB", get(f"{POLL}&x={'x' * 100_000}"), 400),
    Bad("1000 parameters", get("?" + "a=1&" * 1000 + "EIO=4"), 400, 0, "unknown_transport"),
    Bad("a query of broken escapes", get("?EIO=%&transport=%zz&sid=%f"), 400, 0,
        "unknown_transport"),
    Bad("a query with a NUL", raw("GET /socket.io/?\x00 HTTP/1.1\nHost: x\n\n"), 400),
    Bad("a query in Latin-1", raw("GET /socket.io/?\xe9=\xff HTTP/1.1\nHost: x\n\n"), 400),
    # Paths.
    Bad("another path", raw("GET /admin HTTP/1.1\nHost: x\n\n"), 404, kind=None),
    Bad("a path that climbs", raw("GET /socket.io/../../etc/passwd HTTP/1.1\nHost: x\n\n"), 404,
        kind=None),
    Bad("a path of 100 KB", raw(f"GET /{'x' * 100_000} HTTP/1.1\nHost: x\n\n"), 400),
    Bad("no path", raw("GET  HTTP/1.1\nHost: x\n\n"), 400),
    Bad("a path without a slash", raw("GET socket.io HTTP/1.1\nHost: x\n\n"), 400),
    # The line and the headers.
    Bad("what is not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(80), 400),
    Bad("HTTP/2 at once", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    Bad("HTTP/9.9", raw("GET / HTTP/9.9\nHost: x\n\n"), 400),
    Bad("no version of HTTP", raw("GET /socket.io/\n\n"), 400),
    Bad("a header without a colon", get(POLL, "nonsense"), 400),
    Bad("a header without a name", get(POLL, ": x"), 400),
    Bad("a header's name with a space", get(POLL, "a b: x"), 400),
    Bad("a header folded", get(POLL, "a: b", " c"), 400),
    Bad("a header with a NUL", get(POLL, "a: b\x00c"), 400),
    Bad("a header with a bare line feed", get(POLL, "a: b\nc"), 400),
    Bad("a header of 100 KB", get(POLL, "a: " + "x" * 100_000), 400),
    Bad("10,000 headers", get(POLL, *(f"a{n}: x" for n in range(10_000))), 400),
    Bad("two lengths", get(POLL, "Content-Length: 1", "Content-Length: 2", method="POST"), 400),
    *(
        Bad(f"a length of {length!r}", post(POLL, b"4x", length=length), 400)
        for length in ("-1", "+2", "2x", "0x2", "2.0", "1,2", "")
    ),
    Bad("a length of 5,000 digits", post(POLL, b"4x", length="9" * 5000), 400),
    Bad(
        "a length and chunks",
        post(POLL, b"0\r\n\r\n", "Transfer-Encoding: chunked"),
        400,
    ),
    Bad("an encoding nobody has", get(POLL, "Transfer-Encoding: smoke", method="POST"), 400),
    Bad("chunked twice", get(POLL, "Transfer-Encoding: chunked, chunked", method="POST"), 400),
    Bad("a page of elsewhere", get(POLL, "Origin: http://evil.example"), 403, 4, "forbidden"),
    Bad("a page of nowhere", get(POLL, "Origin: null"), 403, 4, "forbidden"),
    Bad("a page that asks first", get(POLL, "Origin: http://evil.example", method="OPTIONS"), 403,
        4, "forbidden"),
    Bad("half a request", raw("GET /socket.io/?EIO=4 HTTP/1.1\nHost: x\n"), None, kind=None,
        cut=True),
    Bad("nothing at all", b"", None, kind=None, cut=True),
]  # fmt: skip
"""Requests of clients that have no session."""

UPGRADES = [
    Bad("a WebSocket by a plain GET", get(WS), 400, 3, "bad_request"),
    Bad("a WebSocket by POST", post(WS, b""), 400, 2, "bad_handshake_method"),
    Bad("no Upgrade", upgrade(WS, Upgrade=None), 400, 3, "bad_request"),
    Bad("an Upgrade to another protocol", upgrade(WS, Upgrade="h2c"), 400, 3, "bad_request"),
    Bad("no Connection", upgrade(WS, Connection=None), 400, 3, "bad_request"),
    Bad("a Connection that is kept", upgrade(WS, Connection="keep-alive"), 400, 3, "bad_request"),
    Bad("no version", upgrade(WS, Sec_WebSocket_Version=None), 400, 3, "bad_request"),
    *(
        Bad(f"version {version}", upgrade(WS, Sec_WebSocket_Version=version), 400, 3, "bad_request")
        for version in ("0", "6", "12", "99", "x", "13.0", "")
    ),
    Bad("no key", upgrade(WS, Sec_WebSocket_Key=None), 400, 3, "bad_request"),
    *(
        Bad(f"the key {key[:9]!r}", upgrade(WS, Sec_WebSocket_Key=key), 400, 3, "bad_request")
        for key in ("", "short", "!" * 24, "A" * 100, "AAAA")
    ),
    Bad("an unknown session", upgrade(f"{WS}&sid=nobody"), 400, 1, "unknown_session"),
    Bad("an old version of the protocol", upgrade(WS.replace("4", "3")), 400, 5,
        "unsupported_version"),
    Bad("an upgrade of polling", upgrade(POLL), 200, kind=None),
    Bad("a page of elsewhere", upgrade(WS, "Origin: http://evil.example"), 403, 4, "forbidden"),
    Bad("an extension nobody has", upgrade(WS, "Sec-WebSocket-Extensions: smoke; x=1"), 101,
        kind=None),
    Bad("broken parameters of an extension",
        upgrade(WS, "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99"),
        101, kind=None),
]  # fmt: skip
"""Requests for a WebSocket that is not to be had, or not as it was asked for."""

LARGE = b"4" + b"x" * 1_000_000
PARSE, BROKEN = "parse error", "transport error"

CHUNKED = get(MINE, "Transfer-Encoding: chunked", method="POST")
LATER = get(MINE, "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST")
BAD_CHUNKS = {
    "of no size": b"zz\r\n4x\r\n",
    "of a negative size": b"-2\r\n4x\r\n",
    "longer than they say": b"1\r\n4xxx\r\n0\r\n\r\n",
    "of a size of 100 digits": b"f" * 100 + b"\r\n4x",
}

ON_SESSION = [
    *(
        Bad(f"{method} on a session", get(MINE, method=method), 400, 3, "bad_request")
        for method in ("PUT", "DELETE", "PATCH", "TRACE")
    ),
    Bad("another version on a session", get(MINE.replace("4", "3", 1)), 400, 3, "bad_request"),
    Bad("no version on a session", get(MINE.replace("EIO=4&", "")), 400, 3, "bad_request"),
    Bad("the wrong transport, and no WebSocket", get(f"{WS}&sid={SID}"), 400, 3, "bad_request"),
    Bad("a transport nobody has", get(f"?EIO=4&transport=smoke&sid={SID}"), 400, 0,
        "unknown_transport"),
    Bad("a body over the limit", post(MINE, LARGE), 413, "too_large", "too_large"),
    Bad("a body said to be over the limit", post(MINE, b"4x", length=10**9), 413, "too_large",
        "too_large"),
    Bad("a chunked body over the limit",
        CHUNKED + b"%x\r\n" % len(LARGE) + LARGE,
        413, "too_large", "too_large"),
    Bad("two requests of which the second is none", post(MINE, b"3") + b"\x00\x01\r\n\r\n", 400),
    Bad("a body that is no UTF-8", post(MINE, b"4\xff\xfe"), 400, 3, "engine_packet", PARSE),
    Bad("a body of half a letter", post(MINE, b"4\xe2\x82"), 400, 3, "engine_packet", PARSE),
    Bad("a body compressed", post(MINE, gzip.compress(b"4x"), "Content-Encoding: smoke"), 400, 3,
        "engine_packet", PARSE),
    Bad("a body that is cut short", post(MINE, b"4x", length=100), None, None, None, BROKEN, True),
    Bad("chunks without an end",
        CHUNKED + b"2\r\n4x\r\n", None, None, None,
        BROKEN, True),
    *(
        Bad(f"chunks {name}, at once", CHUNKED + chunks, 400)
        for name, chunks in BAD_CHUNKS.items()
    ),
    *(
        Bad(f"chunks {name}, later", LATER, None, None, "http", BROKEN, then=chunks)
        for name, chunks in BAD_CHUNKS.items()
    ),
    Bad("gzip that is none", post(MINE, b"4x" * 20, "Content-Encoding: gzip"), None, None, "http",
        BROKEN),
    Bad("gzip without an end", post(MINE, gzip.compress(b"4x" * 99)[:-9], "Content-Encoding: gzip"),
        200, None, "packet", PARSE),
    Bad("gzip of a body over the limit",
        post(MINE, gzip.compress(LARGE * 20), "Content-Encoding: gzip"), 413,
        "too_large", "too_large"),
]  # fmt: skip
"""Requests for a session that polls; none of them disturbs it but where a reason says so."""
