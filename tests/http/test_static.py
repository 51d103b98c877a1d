"""Pages as clients get them, from a daemon on real files."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.daemon_in_loop import served
from tests.deadline import DEADLINE, deadline, until
from tests.gateway_files import write
from tests.limits.test_slow_readers import resident
from tests.raw_client import raw
from tests.reload.edited_daemon import running

CONFIG = """
server:
  static: {/: web, docs: site}
namespaces: {/: }
"""
FILES = {
    "web/index.html": "<h1>the page</h1>",
    "web/app.js": "go();\n" * 100,
    "web/style.css": "body {}",
    "web/logo.svg": "<svg/>",
    "web/data.json": "{}",
    "web/font.woff2": "font",
    "web/archive.tar.gz": "packed",
    "web/no-ending": "what",
    "web/photo.JPG": "photo",
    "web/a b/ü.txt": "ü",
    "web/docs/index.html": "never served",
    "web/docs/hidden.txt": "never served",
    "web/socket.io/index.html": "never served",
    "web/.env": "never served",
    "web/.git/config": "never served",
    "site/index.html": "the docs",
    "site/deep/deeper/index.html": "deeper",
    "secret.txt": "never served",
}


class Answer:
    """An answer: its status, its header fields by lower-case name, and its body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


class Site:
    """A site that is asked as a client asks, byte by byte what the test says."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def ask(self, path: str, method: str = "GET", **fields: str) -> Answer:
        return await asyncio.to_thread(self._ask, path, method, fields)

    def _ask(self, path: str, method: str, fields: dict[str, str]) -> Answer:
        where = urlsplit(self.url)
        with closing(http.client.HTTPConnection(where.netloc, timeout=DEADLINE)) as connection:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in fields.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers, answer.read())


def written(folder: Path, config: str = CONFIG, files: dict[str, str] = FILES) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return write(folder, config)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with served(written(tmp_path)) as url:
        yield Site(url)


async def test_a_page_comes_with_its_type_and_its_tag(site: Site) -> None:
    answer = await site.ask("/")
    assert (answer.status, answer.body) == (200, b"<h1>the page</h1>")
    tag = answer.headers.pop("etag")
    assert tag.startswith('"')
    assert len(tag) == 34
    del answer.headers["date"]
    assert answer.headers == {
        "cache-control": "no-cache",
        "content-length": "17",
        "content-type": "text/html; charset=utf-8",
        "x-content-type-options": "nosniff",
    }
    assert (await site.ask("/index.html")).headers["etag"] == tag


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/a%20b/%C3%BC.txt", "text/plain; charset=utf-8"),
        ("/logo.svg", "image/svg+xml"),
        ("/data.json", "application/json"),
        ("/font.woff2", "font/woff2"),
        ("/photo.JPG", "image/jpeg"),
        ("/archive.tar.gz", "application/octet-stream"),
        ("/no-ending", "application/octet-stream"),
    ],
)
async def test_the_type_follows_the_name(site: Site, path: str, kind: str) -> None:
    answer = await site.ask(path)
    assert (answer.status, answer.headers["content-type"]) == (200, kind)


@pytest.mark.parametrize("known", ["{tag}", "W/{tag}", '"other", {tag}', "*"])
async def test_a_page_that_the_client_has_is_not_sent_again(site: Site, known: str) -> None:
    tag = (await site.ask("/app.js")).headers["etag"]
    answer = await site.ask("/app.js", if_none_match=known.format(tag=tag))
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers.keys() == {
        *("cache-control", "date", "etag", "vary", "x-content-type-options")
    }
    assert answer.headers["etag"] == tag


async def test_another_tag_gets_the_page(site: Site) -> None:
    for known in ('"other"', "", '"*"'):
        assert (await site.ask("/app.js", if_none_match=known)).status == 200


@pytest.mark.parametrize(
    ("accepts", "is_zipped"),
    [
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("br", False),
        ("identity", False),
        ("", False),
        ("gzip;;;q", True),
    ],
)
async def test_a_page_is_compressed_for_who_takes_it(
    site: Site, accepts: str, is_zipped: bool
) -> None:
    answer = await site.ask("/app.js", accept_encoding=accepts)
    assert ("content-encoding" in answer.headers) == is_zipped
    body = gzip.decompress(answer.body) if is_zipped else answer.body
    assert body.decode() == FILES["web/app.js"]
    assert answer.headers["vary"] == "Accept-Encoding"


async def test_each_form_of_a_page_has_its_own_tag(site: Site) -> None:
    plain = (await site.ask("/app.js")).headers["etag"]
    zipped = (await site.ask("/app.js", accept_encoding="gzip")).headers["etag"]
    assert plain != zipped
    same = await site.ask("/app.js", accept_encoding="gzip", if_none_match=zipped)
    other = await site.ask("/app.js", accept_encoding="gzip", if_none_match=plain)
    assert (same.status, other.status) == (304, 200)


async def test_what_does_not_shrink_is_sent_as_it_is(site: Site) -> None:
    answer = await site.ask("/style.css", accept_encoding="gzip")
    assert "content-encoding" not in answer.headers
    assert "vary" not in answer.headers


async def test_head_has_the_length_and_no_body(site: Site) -> None:
    whole = await site.ask("/app.js")
    answer = await site.ask("/app.js", "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(whole.body))
    assert answer.headers["etag"] == whole.headers["etag"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_pages_can_only_be_read(site: Site, method: str) -> None:
    answer = await site.ask("/app.js", method)
    assert (answer.status, answer.body) == (405, b"405: Method Not Allowed")
    assert answer.headers["allow"] == "GET, HEAD"


async def test_a_request_for_a_range_gets_the_whole_page(site: Site) -> None:
    answer = await site.ask("/app.js", range="bytes=0-3")
    assert (answer.status, answer.body.decode()) == (200, FILES["web/app.js"])


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/docs", "/docs/"),
        ("/docs?a=1&b=/", "/docs/?a=1&b=/"),
        ("/docs/deep/deeper", "/docs/deep/deeper/"),
    ],
)
async def test_a_folder_without_its_slash_leads_to_the_one_with_it(
    site: Site, path: str, location: str
) -> None:
    answer = await site.ask(path)
    assert (answer.status, answer.headers["location"]) == (301, location)
    assert (await site.ask(location)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/gone", "/docs/deep", "/docs/deep/", "/index.html/", "//", "//docs/", "/docs//"),
        *("/../secret.txt", "/docs/../secret.txt", "/docs/../index.html", "/./index.html"),
        *("/%2e%2e/secret.txt", "/..%2fsecret.txt", "/%252e%252e/secret.txt"),
        *("/..\\secret.txt", "/..%5csecret.txt", "/docs%5cindex.html"),
        *("/index.html%00", "/index.html%00.txt", "/%00", "/index.html%0d%0aX:%20y"),
        *("/.env", "/.git/config", "/%2eenv", "/%ff", "/%"),
        *("/docs/hidden.txt", "/INDEX.HTML", "/web/index.html"),
        *("/socket.io/index.html", "/socket%2eio/index.html", "http://x/../secret.txt"),
    ],
)
async def test_no_other_path_leads_anywhere(site: Site, path: str) -> None:
    answer = await site.ask(path)
    assert (answer.status, answer.body) == (404, b"404: Not Found")


async def test_the_longest_path_wins_and_socket_io_is_never_covered(site: Site) -> None:
    assert (await site.ask("/docs/")).body == b"the docs"
    for path in ("/socket.io/", "/socket.io"):
        assert (await site.ask(path)).status == 400
    async with raw(site.url) as client:
        packet = await client.join()
        assert isinstance(packet, str)
        assert packet.startswith("40{")


async def test_socket_io_may_have_the_root_and_pages_another_path(tmp_path: Path) -> None:
    config = 'server: {path: /, static: {/docs: site}}\nnamespaces: {"/": }\n'
    async with served(written(tmp_path, config)) as url:
        site = Site(url)
        assert (await site.ask("/")).status == 400
        assert (await site.ask("/docs/")).body == b"the docs"


async def test_requests_on_one_connection_are_answered_in_order(site: Site) -> None:
    where = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    paths = ("/", "/app.js", "/gone", "/style.css")
    writer.write(b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with deadline():
        text = (await reader.read(-1)).decode()
    writer.close()
    bodies = [
        FILES["web/index.html"],
        FILES["web/app.js"],
        "404: Not Found",
        FILES["web/style.css"],
    ]
    found = [text.find(f"\r\n\r\n{body}") for body in (*bodies, FILES["web/index.html"])]
    assert -1 not in found
    assert sorted(found[:4]) == found[:4]
    assert text.count("HTTP/1.1 ") == 5


# Large pages

LARGE = 8_000_000
READERS = 40
SLOW = "server: {static: {/: web}}\nlimits: {keepalive_timeout: %s}\nnamespaces: {/: }\n"


def asking(url: str, path: str = "/large.bin") -> socket.socket:
    """A connection that asks for a page, and does not read."""
    where = urlsplit(url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((where.hostname, where.port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return sock


def large(folder: Path) -> bytes:
    data = os.urandom(LARGE)
    (folder / "web").mkdir()
    (folder / "web/large.bin").write_bytes(data)
    return data


def body_of(file: BinaryIO, size: int) -> bytes:
    while file.readline() != b"\r\n":
        pass
    return file.read(size)


async def test_a_large_page_comes_whole_and_the_connection_lives_on(tmp_path: Path) -> None:
    data = large(tmp_path)
    async with served(written(tmp_path, SLOW % "1h", {"web/small.txt": "small"})) as url:
        with asking(url) as sock, sock.makefile("rb") as file:
            sock.settimeout(DEADLINE)
            sock.sendall(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")  # waits for its turn
            assert await asyncio.to_thread(body_of, file, LARGE) == data
            assert await asyncio.to_thread(body_of, file, 5) == b"small"


async def test_a_client_may_leave_in_the_middle_of_a_page(tmp_path: Path) -> None:
    large(tmp_path)
    async with running(tmp_path, SLOW % "1h") as one:
        with asking(one.url) as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_recv(sock, 1)
        engine = one.serving.sockets.engine
        await until(lambda: engine.connections == 0)
        assert (await Site(one.url).ask("/large.bin", "HEAD")).status == 200
        assert not any(engine.faults.counts.values())


async def test_who_does_not_read_a_page_loses_the_connection(tmp_path: Path) -> None:
    large(tmp_path)
    async with running(tmp_path, SLOW % "200ms") as one:
        engine = one.serving.sockets.engine
        with asking(one.url) as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_recv(sock, 1)
            await until(lambda: engine.connections == 0)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
async def test_many_who_do_not_read_share_the_page_in_memory(tmp_path: Path) -> None:
    large(tmp_path)
    async with running(tmp_path, SLOW % "1h") as one, AsyncExitStack() as stack:
        before = resident(os.getpid())
        for _ in range(READERS):
            sock = stack.enter_context(asking(one.url))
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_recv(sock, 1)
        assert resident(os.getpid()) - before < READERS * LARGE / 10
