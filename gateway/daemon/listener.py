"""A listener: one server on an address that may change while it serves."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

from aiohttp import web

from gateway.config.model import TlsConfig
from gateway.config.tls import certificate_digest, tls_context
from gateway.daemon.accepting import AcceptRule
from gateway.daemon.prelude import PreludeSite
from gateway.errors import GatewayError
from gateway.http.connection import HttpServer

__all__ = [
    "Address",
    "AppServer",
    "BoundAddress",
    "ListenError",
    "Listener",
    "Move",
    "PublicServer",
    "Site",
]

BACKLOG = 1024

ANSWER = 30.0
"""Longest time for the last answer on a connection, in seconds."""

LINE = 65_536
"""Bytes of the first line of a request to an application at most: names in it may be long."""

SocketName: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
"""The address of a TCP socket, as `socket.getaddrinfo` returns it."""


class ListenError(GatewayError):
    """An address that cannot be listened on; the text is for the operator.

    `keys` is the path to the address or certificate in the file. With `is_taken`, somebody else
    has the port.
    """

    def __init__(self, message: str, *keys: str, is_taken: bool = False) -> None:
        self.keys = keys
        self.is_taken = is_taken
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Address:
    """A host and port, or the path of a Unix socket, with a certificate if it uses TLS.

    `block` is the block of the file that configures it. `mode` are the permissions of the Unix
    socket. `inherited` is a socket that listens already: then nothing else says where. With
    `proxy_protocol`, connections of trusted proxies begin with a PROXY header.
    """

    block: str
    host: str = ""
    port: int = 0
    path: Path | None = None
    mode: int = 0o600
    tls: TlsConfig | None = None
    inherited: socket.socket | None = None
    proxy_protocol: bool = False

    def __str__(self) -> str:
        return str(self.path) if self.path else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, eq=False)
class BoundAddress:
    """An address that is bound, with the socket that connections are accepted on."""

    address: Address
    url: str
    certificate: str
    sock: socket.socket
    context: ssl.SSLContext | None


class Site(Protocol):
    """An address where connections are accepted."""

    def close(self) -> None:
        """Stop accepting connections."""


class ProtocolServer(Protocol):
    """Makes the connections of a listener: the gateway's own, or aiohttp's for an application."""

    async def accept_on(self, bound: BoundAddress) -> Site:
        """Accept connections on an address."""

    async def leave(self) -> None:
        """React to a change of address, or its end: open connections came on the former one."""

    async def shutdown(self) -> None:
        """End every connection."""


class PublicServer:
    """The connections of clients, which stay open when the address changes.

    `trusts` says whether a peer with this address is a trusted proxy. `rule` says when to accept,
    if workers share the socket.
    """

    def __init__(
        self, server: HttpServer, trusts: Callable[[str], bool] = lambda address: False
    ) -> None:
        self.rule: AcceptRule | None = None
        self._server, self._trusts = server, trusts
        self._preludes: set[asyncio.Task[None]] = set()

    async def accept_on(self, bound: BoundAddress) -> Site:
        has_header = self._trusts if bound.address.proxy_protocol else lambda address: False
        if bound.context is not None or bound.address.proxy_protocol or self.rule is not None:
            return PreludeSite(
                self._server, bound.sock, bound.context, self._preludes, has_header, self.rule
            )
        loop = asyncio.get_running_loop()
        return await loop.create_server(self._server, sock=bound.sock, backlog=BACKLOG)

    async def leave(self) -> None:
        return None

    async def shutdown(self) -> None:
        for prelude in self._preludes:
            prelude.cancel()
        await self._server.shutdown()


class AppServer:
    """An aiohttp application; a change of address closes each connection after its answer."""

    def __init__(
        self, app: web.Application, logger: logging.Logger | logging.LoggerAdapter[logging.Logger]
    ) -> None:
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=1.0,
            logger=logger,
            max_line_size=LINE,
        )
        self._ending: set[asyncio.Task[None]] = set()

    async def accept_on(self, bound: BoundAddress) -> Site:
        if self._runner.server is None:
            await self._runner.setup()
        assert self._runner.server is not None
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            self._runner.server, sock=bound.sock, ssl=bound.context, backlog=BACKLOG
        )

    async def leave(self) -> None:
        for connection in self._runner.server.connections if self._runner.server else ():
            connection.close()  # takes no more requests
            ending = asyncio.create_task(connection.shutdown(ANSWER))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def shutdown(self) -> None:
        await self._runner.cleanup()
        for ending in self._ending:
            ending.cancel()


class Move:
    """A change of where a listener listens: the new address is bound, and not served yet.

    `is_needed` is false if it listens there already. `bound` of `None` is nowhere.
    """

    def __init__(self, listener: Listener, is_needed: bool, bound: BoundAddress | None) -> None:
        self.is_needed = is_needed
        self._listener, self.bound = listener, bound

    async def make(self) -> None:
        """Accept connections at the new address, and no more at the former one."""
        if self.is_needed and self.bound is not None:
            await self._listener.serve(self.bound)
        elif self.is_needed:
            await self._listener.stop_accepting()
        self._listener.leave_former()

    def cancel(self) -> None:
        """Close the new address."""
        if self.bound is not None:
            self.bound.sock.close()


class Listener:
    """Serves the connections of `server` on the last bound address.

    `former` is a socket of the process that this one takes over from, `None` without one: the first
    address is served on it if it is the same.
    """

    def __init__(self, server: ProtocolServer, former: socket.socket | None = None) -> None:
        self._former = former
        self._server = server
        self._site: Site | None = None
        self._bound: BoundAddress | None = None

    @property
    def url(self) -> str:
        """The URL to connect to, without a path. Raises `LookupError` before the first bind."""
        if self._bound is None:
            raise LookupError("not listening")
        return self._bound.url

    @property
    def sock(self) -> socket.socket | None:
        """The socket on which connections are accepted; `None` if none are."""
        return self._bound.sock if self._bound and self._site else None

    def is_at(self, address: Address) -> bool:
        """True if this address is served with this certificate. Raises `ListenError`."""
        certificate = _certificate(address)
        if self._bound is None or self._site is None:
            return False
        return (self._bound.address, self._bound.certificate) == (address, certificate)

    def is_renewed(self, address: Address) -> bool:
        """True if the address is served but its certificate has changed. Raises `ListenError`."""
        return bool(self._bound and self._bound.address == address) and not self.is_at(address)

    def bind(self, address: Address) -> BoundAddress:
        """Bind an address. Raises `ListenError`."""
        certificate, context = _certificate(address), _context(address)
        former, at = self._former, address
        if former and not address.port:  # any port will do, so the clients' stays
            at = replace(address, port=_port(former) or 0)
        sock = _socket(at, former or self.sock)
        return BoundAddress(address, _url(sock, context), certificate, sock, context)

    def prepare(self, address: Address | None) -> Move:
        """Bind an address, unless it is served; `None` is none. Raises `ListenError`."""
        if address is None:
            return Move(self, is_needed=self._site is not None, bound=None)
        if self.is_at(address):
            return Move(self, is_needed=False, bound=None)
        return Move(self, is_needed=True, bound=self.bind(address))

    async def serve(self, bound: BoundAddress) -> None:
        """Accept connections on the bound address, then stop accepting on the former one."""
        former, former_site = self._bound, self._site
        self._site = await self._server.accept_on(bound)
        self._bound = bound
        path = bound.address.path
        if former and former_site:
            await self._leave(former, former_site, keep=path)
        if path:
            with suppress(OSError):  # somebody has removed it
                path.chmod(bound.address.mode)

    async def stop_accepting(self) -> None:
        """Stop accepting connections."""
        if self._bound and self._site:
            await self._leave(self._bound, self._site)
            self._site = None

    async def give_away(self) -> None:
        """Stop accepting connections: another process does, on the same socket."""
        if self._bound and self._site:
            await self._leave(self._bound, self._site, keep=self._bound.address.path)
            self._site = None

    def leave_former(self) -> None:
        """Close the socket of the process before: what is served now is served."""
        if self._former is not None:
            self._former.close()
            self._former = None

    async def close(self) -> None:
        """Stop accepting connections, and end every connection."""
        await self.stop_accepting()
        await self._server.shutdown()

    async def _leave(self, bound: BoundAddress, site: Site, keep: Path | None = None) -> None:
        site.close()
        path = bound.address.path
        if path and path != keep:
            with suppress(OSError):
                path.unlink()
        await self._server.leave()


def _socket(address: Address, ours: socket.socket | None) -> socket.socket:
    """Open a socket that listens at `address`. Raises `ListenError`.

    `ours` is a socket that is served already, which may use the same port; `None` for none.
    """
    if address.inherited is not None:
        # The mode is that of all processes that share the socket, and dup() sets it again.
        address.inherited.setblocking(False)
        return address.inherited.dup()
    try:
        if address.path is not None:
            if ours and _name(ours) == str(address.path):
                return ours.dup()
            return _unix_socket(address.path, address.mode)
        family, _, _, _, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if ours and (ours.family, ours.getsockname()) == (family, name):
            return ours.dup()  # keeps the connections that wait in its queue
        return _tcp_socket(family, name, ours)
    except OSError as error:
        key = "socket" if address.path else "port"
        message = f"cannot listen on {address}: {error.strerror or error}"
        is_taken = error.errno == errno.EADDRINUSE and not address.path
        raise ListenError(message, address.block, key, is_taken=is_taken) from None


def _tcp_socket(family: int, name: SocketName, ours: socket.socket | None) -> socket.socket:
    # asyncio disables Nagle's algorithm on accepted sockets only if the protocol is given.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sharing = [sock, ours] if ours and _port(ours) == name[1] else []
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Only while the host changes, so that no other daemon can share the port.
        for each in sharing:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(name)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    finally:
        for each in sharing:
            if each.fileno() >= 0:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
    sock.setblocking(False)
    return sock


def _port(sock: socket.socket) -> int | None:
    return None if sock.family == socket.AF_UNIX else sock.getsockname()[1]


def _name(sock: socket.socket) -> str:
    """Return the path of a Unix socket, `@` for the zero of an abstract one; `""` for others."""
    name = sock.getsockname() if sock.family == socket.AF_UNIX else ""
    return os.fsdecode(name).replace("\0", "@")


def _unix_socket(path: Path, mode: int) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket() and not _is_answered(path):
        path.unlink()  # left over from a daemon that was killed
    sock = socket.socket(socket.AF_UNIX)
    former = os.umask(0o777 ^ mode)
    try:
        sock.bind(str(path))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(former)
    sock.setblocking(False)
    return sock


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        return sock.connect_ex(str(path)) != errno.ECONNREFUSED


def _url(sock: socket.socket, context: ssl.SSLContext | None) -> str:
    if sock.family == socket.AF_UNIX:
        return f"unix:{_name(sock)}"
    name = sock.getsockname()
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{'https' if context else 'http'}://{host}:{name[1]}"


def _certificate(address: Address) -> str:
    """Return a digest of the certificate's files, which changes when it is renewed."""
    tls = address.tls
    if tls is None:
        return ""
    try:
        return certificate_digest(tls)
    except ValueError as error:
        raise ListenError(str(error), address.block, "tls") from None


def _context(address: Address) -> ssl.SSLContext | None:
    tls = address.tls
    if tls is None:
        return None
    try:
        return tls_context(tls)
    except ValueError as error:
        raise ListenError(str(error), address.block, "tls") from None
