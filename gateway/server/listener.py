"""A listener: one application on one address, which may become another while it serves."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from gateway.config.model import TlsConfig
from gateway.errors import GatewayError

__all__ = ["Address", "Bound", "ListenError", "Listener"]

BACKLOG = 1024


class ListenError(GatewayError):
    """The address cannot be listened on; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port, or the path of a Unix socket; with the certificate, if any."""

    host: str = ""
    port: int = 0
    path: Path | None = None
    tls: TlsConfig | None = None

    def __str__(self) -> str:
        return str(self.path) if self.path else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """An address that is ours, though nobody is accepted on it yet."""

    address: Address
    certificate: str
    sock: socket.socket
    context: ssl.SSLContext | None


class Listener:
    """Serves `app` on the address bound last; connections outlive a change of address."""

    def __init__(self, app: web.Application) -> None:
        # A client that goes away while it polls must not eat the packets of its next poll.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0
        )
        self._site: web.SockSite | None = None
        self._bound: Bound | None = None

    @property
    def url(self) -> str:
        """What to connect to, without a path. Raises `LookupError` when nothing is bound."""
        if self._bound is None:
            raise LookupError("not listening")
        name = self._bound.sock.getsockname()
        if isinstance(name, str):
            return f"unix:{name}"
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{'https' if self._bound.context else 'http'}://{host}:{name[1]}"

    def is_at(self, address: Address) -> bool:
        """Whether this is the address, and the certificate, that is served."""
        bound = self._bound if self._site else None
        return bound is not None and (bound.address, bound.certificate) == (
            address,
            _certificate(address.tls),
        )

    def bind(self, address: Address) -> Bound:
        """Take possession of an address. Raises `ListenError`."""
        certificate, context = _certificate(address.tls), _context(address.tls)
        former = self._bound
        if former and _place(former.address) == _place(address):
            # The same socket under another certificate: whoever waits in its queue is served.
            return Bound(address, certificate, former.sock.dup(), context)
        return Bound(address, certificate, _socket(address), context)

    async def serve(self, bound: Bound) -> None:
        """Accept on what was bound, then no more on what was served before."""
        if self._runner.server is None:
            await self._runner.setup()
        former, former_site = self._bound, self._site
        self._site = web.SockSite(
            self._runner, bound.sock, ssl_context=bound.context, backlog=BACKLOG
        )
        await self._site.start()
        self._bound = bound
        if former_site is not None:
            await former_site.stop()
        if former and former.address.path and former.address.path != bound.address.path:
            former.address.path.unlink(missing_ok=True)

    async def stop_accepting(self) -> None:
        """Accept nobody any more; connections go on."""
        if self._site is not None:
            await self._site.stop()
            self._site = None

    async def close(self) -> None:
        """End every connection."""
        await self._runner.cleanup()
        if self._bound and self._bound.address.path:
            self._bound.address.path.unlink(missing_ok=True)


def _place(address: Address) -> tuple[str, int, Path | None]:
    return (address.host, address.port, address.path)


def _socket(address: Address) -> socket.socket:
    try:
        if address.path is not None:
            return _unix_socket(address.path)
        family, kind, protocol, _, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(name)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from None
    sock.setblocking(False)
    return sock


def _unix_socket(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket():
        path.unlink()  # left by a daemon that was killed
    sock = socket.socket(socket.AF_UNIX)
    former = os.umask(0o177)  # only the owner may connect
    try:
        sock.bind(str(path))
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(former)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _certificate(tls: TlsConfig | None) -> str:
    """A digest of the certificate's files, so that a renewed one is noticed."""
    if tls is None:
        return ""
    try:
        return hashlib.sha256(tls.cert.read_bytes() + tls.key.read_bytes()).hexdigest()
    except OSError as error:
        raise ListenError(f"cannot read {error.filename}: {error.strerror}") from None


def _context(tls: TlsConfig | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except ssl.SSLError as error:
        raise ListenError(f"cannot use {tls.cert} with {tls.key}: {error.reason}") from None
    return context
