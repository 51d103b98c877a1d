"""A listener: bound before it serves, and another address or certificate while it serves.

The certificates in `tls/` are self-signed for localhost and valid for a century:
`openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 ...`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import socket
import ssl
import stat
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import web

from gateway.config.model import TlsConfig
from gateway.daemon import prelude
from gateway.daemon.listener import Address, AppServer, Listener, ListenError, PublicServer
from gateway.http.connection import HttpConnection, HttpServer
from gateway.http.deadlines import Deadlines
from gateway.http.request import Request
from gateway.http.response import Answer
from gateway.limits import Limits
from tests.certificates import TLS, der, presented
from tests.deadline import DEADLINE, until
from tests.engineio.echo import echo_engine
from tests.http.proxy_header import header

Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.Loop])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test in the loop of Python, and in the one that the command line uses."""

    def run(test: Callable[[], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(test(), DEADLINE))  # type: ignore[arg-type]

    return run


def plain_or_secure() -> PublicServer:
    """Answers `/` with the peer's view of the connection."""

    def respond(_: Request, connection: HttpConnection) -> None:
        kind = b"secure" if connection.is_secure else b"plain"
        connection.answer(Answer(200, "Content-Type: text/plain\r\n", kind))

    deadlines = Deadlines(time.monotonic, lambda when: None)
    server = HttpServer(
        {"/": respond},
        deadlines,
        Limits,
        lambda: 0,
        bad_request=print,
        limit_met=print,
        fault=print,
        not_found=respond,
    )
    return PublicServer(server)


def application(hold: asyncio.Event | None = None) -> AppServer:
    """An application as the admin listener's; `/slow` answers when `hold` is set."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/slow" and hold:
            await hold.wait()
        return web.Response(text="plain")

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get("/slow", answer)
    return AppServer(app, logging.getLogger("aiohttp"))


async def moved(listener: Listener, address: Address) -> None:
    await listener.serve(listener.bind(address))


async def get(session: aiohttp.ClientSession, url: str, path: str = "/") -> str:
    async with session.get(url + path) as response:
        return await response.text()


def address(port: int = 0, tls: str = "") -> Address:
    pair = TlsConfig(TLS / f"{tls}.pem", TLS / f"{tls}.key") if tls else None
    return Address("server", "127.0.0.1", port, tls=pair)


def test_a_shared_socket_never_blocks_those_who_accept_on_it() -> None:
    with socket.socket() as shared:
        shared.listen()
        shared.setblocking(False)
        with socket.socket(fileno=shared.dup().detach()) as inherited:
            bound = Listener(plain_or_secure()).bind(Address("server", inherited=inherited))
            bound.sock.close()
        assert not os.get_blocking(shared.fileno())


def test_connections_outlive_a_change_of_address(run: Run) -> None:
    async def test() -> None:
        listener = Listener(plain_or_secure())
        await moved(listener, address())
        old = listener.url
        async with aiohttp.ClientSession() as kept, aiohttp.ClientSession() as fresh:
            assert await get(kept, old) == "plain"
            await moved(listener, Address("server", "localhost", 0))
            new = listener.url
            assert new != old
            assert await get(kept, old) == "plain"
            assert await get(fresh, new) == "plain"
            with pytest.raises(aiohttp.ClientConnectorError):
                await get(fresh, old)
        await listener.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", int(new.rpartition(":")[2]))

    run(test)


def test_what_is_sent_to_a_client_is_not_held_back_for_more(run: Run) -> None:
    async def test() -> None:
        server = echo_engine().http_server("/")
        listener = Listener(PublicServer(server))
        await moved(listener, address())
        _, writer = await asyncio.open_connection("127.0.0.1", int(listener.url.rpartition(":")[2]))
        while not server.connections:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0)
        (connection,) = server.connections
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        await listener.close()

    run(test)


@pytest.mark.parametrize("name", ["", "one"])
def test_a_proxy_may_announce_a_client_before_its_tls_handshake(run: Run, name: str) -> None:
    async def test() -> None:
        server = echo_engine().http_server("/")
        listener = Listener(PublicServer(server, lambda peer: peer == "127.0.0.1"))
        await moved(listener, replace(address(tls=name), proxy_protocol=True))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(listener.url.rpartition(":")[2])
        )
        writer.write(header("203.0.113.7"))
        if name:
            context = ssl.create_default_context(cafile=TLS / "one.pem")
            await writer.start_tls(context, server_hostname="localhost")
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
        (connection,) = server.connections
        assert (connection.address, connection.is_secure) == ("203.0.113.7", bool(name))
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        await listener.close()

    run(test)


@pytest.mark.parametrize("announces", [False, True])
def test_a_proxy_on_a_unix_socket_is_trusted_as_unix(
    run: Run, tmp_path: Path, announces: bool
) -> None:
    async def test() -> None:
        engine = echo_engine(trusted_proxies=("unix",))
        server = engine.http_server("/")
        listener = Listener(PublicServer(server, engine.proxies.trusts))
        path = tmp_path / "gateway.sock"
        await moved(listener, Address("server", path=path, proxy_protocol=announces))
        reader, writer = await asyncio.open_unix_connection(path)
        if announces:
            writer.write(header("203.0.113.7"))
        writer.write(
            b"GET /?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n"
            b"X-Forwarded-For: 203.0.113.8\r\n\r\n"
        )
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        (session,) = engine.sessions.values()
        assert session.address == ("203.0.113.7" if announces else "203.0.113.8")
        writer.close()
        await listener.close()
        await engine.shutdown()

    run(test)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost", "127.0.0.1"])
def test_host_changes_at_the_same_port(run: Run, host: str) -> None:
    """As from loopback to every address, and back; nobody else may share the port meanwhile."""

    async def test() -> None:
        listener = Listener(plain_or_secure())
        await moved(listener, address())
        port = int(listener.url.rpartition(":")[2])
        async with aiohttp.ClientSession() as session:
            for next_host in (host, "127.0.0.1"):
                await moved(listener, Address("server", next_host, port))
                assert await get(session, f"http://127.0.0.1:{port}") == "plain"
                with pytest.raises(ListenError):
                    Listener(plain_or_secure()).bind(address(port))
        await listener.close()

    run(test)


def test_new_address_is_had_before_the_old_one_is_left(run: Run) -> None:
    async def test() -> None:
        listener = Listener(plain_or_secure())
        await moved(listener, address())
        bound = listener.bind(address())
        async with aiohttp.ClientSession() as session:
            assert await get(session, listener.url) == "plain"
            waiting = asyncio.create_task(get(session, bound.url))
            await listener.serve(bound)
            assert await waiting == "plain"
        await listener.close()

    run(test)


def test_certificate_is_added_renewed_and_removed_at_the_same_port(run: Run) -> None:
    async def test() -> None:
        listener = Listener(plain_or_secure())
        await moved(listener, address())
        port = int(listener.url.rpartition(":")[2])
        await moved(listener, address(port))
        for name in ("one", "two"):
            await moved(listener, address(port, name))
            assert listener.url == f"https://127.0.0.1:{port}"
            assert listener.is_at(address(port, name))
            assert await presented(listener.url) == der(name)
        await moved(listener, address(port))
        async with aiohttp.ClientSession() as session:
            assert await get(session, f"http://127.0.0.1:{port}") == "plain"
        await listener.close()

    run(test)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_who_waits_to_be_accepted_is_accepted_under_the_new_certificate(host: str) -> None:
    """The queue is the same one, by whatever name the address goes."""
    listener = Listener(plain_or_secure())
    await moved(listener, address())
    port = int(listener.url.rpartition(":")[2])
    tls = TlsConfig(TLS / "one.pem", TLS / "one.key")
    bound = listener.bind(Address("server", host, port, tls=tls))
    assert listener._bound is not None
    queues = [os.fstat(each.sock.fileno()).st_ino for each in (bound, listener._bound)]
    assert queues[0] == queues[1]
    bound.sock.close()
    await listener.close()


def test_connections_outlive_a_renewal_of_the_certificate(run: Run) -> None:
    async def test() -> None:
        listener = Listener(plain_or_secure())
        await moved(listener, address(0, "one"))
        context = ssl.create_default_context(cafile=str(TLS / "one.pem"))
        connector = aiohttp.TCPConnector(ssl=context, limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            assert await get(session, listener.url) == "secure"
            await moved(listener, address(int(listener.url.rpartition(":")[2]), "two"))
            assert await get(session, listener.url) == "secure"
        await listener.close()

    run(test)


async def test_renewed_certificate_is_another_one(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        shutil.copy(TLS / f"one.{'pem' if 'cert' in name else 'key'}", tmp_path / name)
    tls = TlsConfig(tmp_path / "cert.pem", tmp_path / "key.pem")
    listener = Listener(plain_or_secure())
    await moved(listener, Address("server", "127.0.0.1", 0, tls=tls))
    served = Address("server", "127.0.0.1", 0, tls=tls)
    assert listener.is_at(served)
    shutil.copy(TLS / "two.pem", tls.cert)
    shutil.copy(TLS / "two.key", tls.key)
    assert not listener.is_at(served)
    await listener.close()


@pytest.mark.parametrize(
    ("cert", "key", "message"),
    [
        ("one.pem", "two.key", "cannot use {cert} with {key}: KEY_VALUES_MISMATCH"),
        ("one.key", "one.key", "cannot use {cert} with {key}: "),
        ("one.pem", "locked.key", "cannot use {cert} with {key}: "),
        ("none.pem", "one.key", "cannot read {cert}: No such file or directory"),
    ],
)
def test_certificate_that_cannot_be_used_is_refused(cert: str, key: str, message: str) -> None:
    tls = TlsConfig(TLS / cert, TLS / key)
    with pytest.raises(ListenError) as refused:
        Listener(plain_or_secure()).bind(Address("server", "127.0.0.1", 0, tls=tls))
    assert str(refused.value).startswith(message.format(cert=tls.cert, key=tls.key))
    assert refused.value.keys == ("server", "tls")


def test_port_that_is_taken_is_refused_and_what_is_served_stays(run: Run) -> None:
    async def test() -> None:
        listener = Listener(plain_or_secure())
        await moved(listener, address())
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(ListenError) as refused:
                listener.bind(address(port))
        assert str(refused.value) == f"cannot listen on 127.0.0.1:{port}: Address already in use"
        assert refused.value.keys == ("server", "port")
        async with aiohttp.ClientSession() as session:
            assert await get(session, listener.url) == "plain"
        await listener.close()

    run(test)


def test_listener_can_come_back_to_an_address_it_has_left(run: Run) -> None:
    async def test() -> None:
        listener = Listener(application())
        await moved(listener, address())
        first = address(int(listener.url.rpartition(":")[2]))
        for _ in range(2):
            await listener.stop_accepting()
            assert not listener.is_at(first)
            await moved(listener, first)
            assert listener.is_at(first)
        async with aiohttp.ClientSession() as session:
            assert await get(session, listener.url) == "plain"
        await listener.close()

    run(test)


@pytest.mark.parametrize("how", ["moved", "stopped"])
def test_connections_end_with_their_answer_where_they_are_not_to_last(run: Run, how: str) -> None:
    """A token asked for at one address is no pass at another."""

    async def test() -> None:
        hold = asyncio.Event()
        listener = Listener(application(hold))
        await moved(listener, address())
        old = listener.url
        async with AsyncExitStack() as stack:
            idle, busy = [
                await stack.enter_async_context(aiohttp.ClientSession()) for _ in range(2)
            ]
            await get(idle, old)
            await get(busy, old)
            slow = asyncio.create_task(get(busy, old, "/slow"))
            reader, writer = await asyncio.open_connection("127.0.0.1", int(old.rpartition(":")[2]))
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            if how == "moved":
                await moved(listener, address())
            else:
                await listener.stop_accepting()
            rest = await reader.read()  # which the end of the connection ends
            assert rest.endswith(b"plain")
            writer.close()
            with pytest.raises(aiohttp.ClientConnectorError):
                await get(idle, old)
            hold.set()
            assert await slow == "plain"
            with pytest.raises(aiohttp.ClientConnectorError):
                await get(busy, old)
        await listener.close()

    run(test)


# Unix sockets


async def ask(path: Path) -> str:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
        return await get(session, "http://localhost")


def unix(path: Path) -> Address:
    return Address("admin", path=path)


def test_unix_socket_is_its_owners_only_and_goes_with_the_listener(
    run: Run, tmp_path: Path
) -> None:
    async def test() -> None:
        path = tmp_path / "run/admin.sock"
        listener = Listener(application())
        await moved(listener, unix(path))
        assert listener.url == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await ask(path) == "plain"
        await moved(listener, address())
        assert not path.exists()
        await moved(listener, unix(path))
        assert await ask(path) == "plain"
        await listener.stop_accepting()
        assert not path.exists()
        await moved(listener, unix(path))
        await listener.close()
        assert not path.exists()

    run(test)


def test_a_unix_socket_has_its_permissions_and_takes_new_ones(run: Run, tmp_path: Path) -> None:
    """The socket stays, and with it who waits to be accepted."""

    async def test() -> None:
        path = tmp_path / "clients.sock"
        listener = Listener(plain_or_secure())
        for mode in (0o666, 0o660):
            at = Address("server", path=path, mode=mode)
            await moved(listener, at)
            assert listener.is_at(at)
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert await ask(path) == "plain"
        before = path.stat().st_ino
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(str(path))
        bound = listener.bind(Address("server", path=path, mode=0o600))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        await listener.serve(bound)
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_ino) == (0o600, before)
        waiting.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(waiting, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await loop.sock_recv(waiting, 100)).startswith(b"HTTP/1.1 200")
        waiting.close()
        await listener.close()
        assert not path.exists()

    run(test)


def test_a_unix_socket_that_somebody_removed_is_left_without_a_word(
    run: Run, tmp_path: Path
) -> None:
    async def test() -> None:
        path = tmp_path / "clients.sock"
        listener = Listener(plain_or_secure())
        await moved(listener, Address("server", path=path))
        path.unlink()
        await moved(listener, Address("server", path=path, mode=0o666))
        await listener.close()

    run(test)


def test_tls_on_a_unix_socket(run: Run, tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "clients.sock"
        listener = Listener(plain_or_secure())
        pair = TlsConfig(TLS / "one.pem", TLS / "one.key")
        await moved(listener, Address("server", path=path, tls=pair))
        context = ssl.create_default_context(cafile=str(TLS / "one.pem"))
        reader, writer = await asyncio.open_unix_connection(
            path, ssl=context, server_hostname="localhost"
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"secure")
        writer.close()
        await listener.close()

    run(test)


def test_an_inherited_socket_is_listened_on_and_left_open(run: Run, tmp_path: Path) -> None:
    """It is its owner's: neither its file nor the socket itself goes with the listener."""

    async def test() -> None:
        path = tmp_path / "clients.sock"
        with socket.socket(socket.AF_UNIX) as passed:
            passed.bind(str(path))
            passed.listen()
            listener = Listener(plain_or_secure())
            at = Address("server", inherited=passed)
            await moved(listener, at)
            assert (listener.is_at(at), listener.url) == (True, f"unix:{path}")
            assert await ask(path) == "plain"
            await listener.close()
            assert path.exists()
            with socket.socket(socket.AF_UNIX) as waiting:
                waiting.connect(str(path))

    run(test)


async def test_the_url_of_an_abstract_socket_begins_with_an_at(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(f"\0{tmp_path}")
        passed.listen()
        passed.setblocking(False)
        listener = Listener(plain_or_secure())
        await moved(listener, Address("server", inherited=passed))
        assert listener.url == f"unix:@{tmp_path}"
        await listener.close()


async def test_unix_socket_of_a_daemon_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    listener = Listener(plain_or_secure())
    await moved(listener, unix(path))
    assert await ask(path) == "plain"
    await listener.close()


async def test_unix_socket_of_a_daemon_that_lives_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    first, second = Listener(plain_or_secure()), Listener(plain_or_secure())
    await moved(first, unix(path))
    with pytest.raises(ListenError) as refused:
        second.bind(unix(path))
    assert str(refused.value) == f"cannot listen on {path}: Address already in use"
    assert refused.value.keys == ("admin", "socket")
    await second.close()
    assert await ask(path) == "plain"
    await first.close()


async def test_file_in_the_place_of_a_unix_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    with pytest.raises(ListenError):
        Listener(plain_or_secure()).bind(unix(path))
    assert path.read_text() == "precious"


def test_listener_that_was_never_bound_has_no_url() -> None:
    with pytest.raises(LookupError):
        _ = Listener(plain_or_secure()).url


def test_a_client_that_begins_no_tls_handshake_is_dropped(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prelude, "HANDSHAKE", 0.1)

    async def test() -> None:
        listener = Listener(plain_or_secure())
        await moved(listener, address(0, "one"))
        port = int(listener.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        await listener.close()

    run(test)


async def test_a_handshake_has_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """F20: asyncio gives it a minute."""
    loop, given = asyncio.get_running_loop(), []
    plain = loop.connect_accepted_socket

    async def recorded(*args: Any, **how: Any) -> Any:
        given.append(how["ssl_handshake_timeout"])
        return await plain(*args, **how)

    monkeypatch.setattr(loop, "connect_accepted_socket", recorded)
    listener = Listener(plain_or_secure())
    await moved(listener, address(0, "one"))
    assert await presented(listener.url) == der("one")
    await listener.close()
    assert given == [10.0]


class Exhausted(socket.socket):
    """A socket that listens; at first no descriptor is left for what it would accept."""

    refusals = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.refusals += 1
        if self.refusals == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_accepting_over_tls_goes_on_when_there_are_descriptors_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prelude, "RETRY", 0.01)
    server = echo_engine().http_server("/")
    bound = Listener(PublicServer(server)).bind(address(0, "one"))
    assert bound.context is not None
    sock = Exhausted(bound.sock.family, bound.sock.type, bound.sock.proto, bound.sock.detach())
    site = prelude.PreludeSite(server, sock, bound.context, set(), lambda address: False)
    assert await presented(bound.url) == der("one")
    assert sock.refusals > 1
    site.close()
    await until(lambda: not server.connections)
