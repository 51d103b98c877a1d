"""The parser: the same requests however TCP has cut them, and as the short way reads them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from gateway.http.parser import END, BadRequest, Event, Parser
from gateway.http.request import Request, read_plain

many = settings(max_examples=300, derandomize=True, deadline=None, database=None)

GET = b"GET /socket.io/?EIO=4&sid=a HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /socket.io/?EIO=4 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n4abcd"
CHUNKED = (
    b"POST /socket.io/?EIO=4 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n4a\r\n3;x=y\r\nbcd\r\n0\r\nA-Trailer: x\r\n\r\n"
)
OLD = b"GET / HTTP/1.0\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def read(pieces: Iterable[bytes]) -> list[tuple[Request, bytes]]:
    """The requests in some pieces, with their bodies."""
    parser = Parser()
    found: list[tuple[Request, bytes]] = []
    whole = 0
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, Request):
                found.append((event, b""))
            elif event is END:
                whole += 1
            else:
                found[-1] = (found[-1][0], found[-1][1] + event)
    assert whole == len(found)
    return found


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


@many
@given(
    some.lists(some.sampled_from([GET, POST, CHUNKED]), min_size=1, max_size=4),
    some.lists(some.integers(0, 10_000), max_size=8),
)
def test_requests_are_the_same_however_they_are_cut(
    requests: list[bytes], places: list[int]
) -> None:
    data = b"".join(requests)
    assert read(cut(data, places)) == read([data])


def test_a_byte_at_a_time() -> None:
    data = CHUNKED + GET + POST
    requests = read(bytes([byte]) for byte in data)
    assert [(request.method, body) for request, body in requests] == [
        ("POST", b"4abcd"),
        ("GET", b""),
        ("POST", b"4abcd"),
    ]


NAMES = ["Host", "Connection", "Upgrade", "Content-Length", "Content-Type", "X-Any", "Cookie"]
VALUES = ["h", "keep-alive", "Keep-Alive", "Upgrade", "websocket", "0", "5", "05", "\t a b \t", ""]
fields = some.lists(some.tuples(some.sampled_from(NAMES), some.sampled_from(VALUES)), max_size=4)


@many
@given(
    some.sampled_from(["GET", "POST"]),
    some.sampled_from(["/a?b=c", "/a?b=c&b=d&&e", "/a/?~=.-_", "/a%20?b=c", "/a?b=%41", "/?"]),
    fields,
    some.sampled_from([b"", b"4abcd"]),
)
def test_what_the_short_way_takes_the_parser_reads_the_same(
    method: str, target: str, fields: list[tuple[str, str]], body: bytes
) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "h"), *fields])
    data = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body
    plain = read_plain(data)
    if plain is None:
        return
    ((request, rest),) = read([data])
    assert request._replace(body=rest, keeps_alive=True) == plain


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/socket.io/?a=1&a=2&b", "/socket.io/", {"a": "1", "b": ""}),
        ("http://h/socket.io/?a=1", "/socket.io/", {"a": "1"}),
        ("/%73ocket.io/?a=%41+b#c", "/socket.io/", {"a": "A b"}),
        ("*", "*", {}),
    ],
)
def test_a_target_may_be_written_in_many_ways(
    target: str, path: str, query: dict[str, str]
) -> None:
    method = "OPTIONS" if target == "*" else "GET"
    ((request, _),) = read([f"{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode()])
    assert (request.path, request.query) == (path, query)


def test_header_fields_that_come_more_than_once_are_joined_and_trailers_are_left_out() -> None:
    data = CHUNKED.replace(b"Host: h", b"Host: h\r\nX-A: 1\r\nx-a: \xe9")
    ((request, _),) = read([data])
    assert request.headers["x-a"] == "1,\xe9"
    assert "a-trailer" not in request.headers


@pytest.mark.parametrize(
    ("data", "keeps"),
    [
        (GET, True),
        (OLD, False),
        (OLD.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), True),
        (GET.replace(b"Host: h", b"Host: h\r\nConnection: close"), False),
    ],
)
def test_a_request_says_whether_another_may_follow(data: bytes, keeps: bool) -> None:
    ((request, _),) = read([data])
    assert request.keeps_alive is keeps


def test_what_stands_behind_an_upgrade_is_not_http() -> None:
    parser = Parser()
    events: list[Event] = parser.feed(UPGRADE + b"\x81\x00 and more")
    assert [type(event) for event in events] == [Request, type(END)]
    assert parser.tail == b"\x81\x00 and more"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01",
        b"GET / HTTP/9.9\r\nHost: h\r\n\r\n",
        GET.replace(b"Host: h", b"Host: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked"),
        GET.replace(b"Host: h", b"Host: h\r\nTransfer-Encoding: gzip, chunked"),
        GET.replace(b"sid=a", b"sid=\xff"),
        GET.replace(b"Host: h", b"Host: h\r\nX: " + b"x" * 9000),
        GET.replace(b"Host: h", b"Host: h" + b"\r\nX: " + b"\r\nX: ".join([b"x" * 4000] * 10)),
        GET.replace(b"Host: h", b"Host: h" + b"\r\nX: y" * 200),
        CHUNKED.replace(b"A-Trailer: x", b"A: " + b"x" * 9000),
    ],
)
def test_what_is_no_request_is_refused_whole(data: bytes) -> None:
    """A request in the same read that stands before it might be half of a smuggled one."""
    with pytest.raises(BadRequest):
        Parser().feed(GET + data)


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"


@pytest.mark.parametrize("request_", [GET, POST, CHUNKED], ids=["GET", "POST", "chunked"])
@pytest.mark.parametrize("at", range(0, 260, 13))
def test_a_request_that_offers_another_protocol_is_read_with_its_body(
    request_: bytes, at: int
) -> None:
    """As Java's client does with every request."""
    offering = request_.replace(b"Host: h\r\n", b"Host: h\r\n" + H2C)
    (expected,) = read([request_])
    data = offering + offering
    found = read([data[:at], data[at:]])
    assert [(each.url, body) for each, body in found] == [(expected[0].url, expected[1])] * 2


@pytest.mark.parametrize(
    "start",
    [
        b"GET /?",
        b"GET / HTTP/1.1\r\nX",
        b"GET / HTTP/1.1\r\nX: ",
        CHUNKED.partition(b"2\r\n")[0] + b"2;",
        CHUNKED.removesuffix(b"x\r\n\r\n"),
    ],
    ids=["target", "name", "value", "chunk extension", "trailer"],
)
def test_nothing_without_an_end_is_held(start: bytes) -> None:
    with pytest.raises(BadRequest):
        read([start, *[b"x" * 8000] * 5])
