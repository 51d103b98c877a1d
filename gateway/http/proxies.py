"""Trusted proxies, and what they say of the client: its address, and the origin that it asked.

They say it in `X-Forwarded-For`, `-Proto` and `-Host`, or in `Forwarded`
(https://www.rfc-editor.org/rfc/rfc7239), which is ignored beside one of the others. Proxies append
to these fields: the right end is theirs, and the client can forge the rest. So they are read from
the right, and no further than the proxies are trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple, Protocol, TypeAlias

from gateway.http.addresses import UNIX
from gateway.http.request import Request

__all__ = ["Peer", "Sender", "TrustedProxies"]

X_FORWARDED = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")

SCHEMES = {"http": False, "ws": False, "https": True, "wss": True}
"""Schemes, and whether they are secure. Traefik writes `wss` in a request for a WebSocket."""

NODE = re.compile(r"(?:\[(?P<v6>[^]]+)\]|(?P<v4>[0-9.]+))(?::(?:[0-9]{1,5}|_[\w.-]+))?", re.ASCII)
"""An address, with or without a port."""

UNKNOWN = re.compile(r"unknown|_[\w.-]+", re.ASCII)
"""A name instead of an address: https://www.rfc-editor.org/rfc/rfc7239#section-6"""

MOST_HOPS = 16
"""Proxies in a row whose word is read; clients can make fields as long as a head may be."""

LONGEST = 45
"""Characters of the longest address: an IPv6 address that ends in an IPv4 address."""

HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::[0-9]{1,5})?", re.ASCII)

TOKEN = r"[\w!#$%&'*+.^`|~-]++"
PAIR = re.compile(rf'({TOKEN})=({TOKEN}|"(?:[^"\\]|\\.)*+")', re.ASCII)

IpAddress: TypeAlias = IPv4Address | IPv6Address


class Peer(Protocol):
    """The other end of a connection; on a Unix socket its `address` is `UNIX`."""

    @property
    def address(self) -> str: ...

    @property
    def is_secure(self) -> bool: ...


class Sender(NamedTuple):
    """The client that sent a request, and the host that it asked, which may be empty.

    `is_secure` is true if the client uses HTTPS. `unread` names the fields of a trusted proxy that
    cannot be read; then this is the proxy itself.
    """

    address: str
    is_secure: bool
    host: str
    unread: str = ""


class Hop(NamedTuple):
    """The word of one proxy on the peer that asked it; `None` where it says nothing."""

    node: str | None = None
    scheme: str | None = None
    host: str | None = None


class Unreadable(ValueError):
    """A field that does not say what it should."""


class TrustedProxies:
    """The proxies whose word is believed: addresses, networks and `UNIX`. Raises `ValueError`."""

    def __init__(self, listed: Sequence[str] = ()) -> None:
        self._unix = UNIX in listed
        self._networks = tuple(ip_network(each) for each in listed if each != UNIX)

    def trusts(self, address: str) -> bool:
        """True if a peer with this address is a trusted proxy."""
        if address == UNIX:
            return self._unix
        parsed = _parsed(address)
        return parsed is not None and self._has(parsed)

    def sender(self, request: Request, peer: Peer) -> Sender:
        """The client that sent a request, which came from `peer`.

        It is the first that is no trusted proxy, counted from the gateway; if all are, the last.
        """
        headers = request.headers
        direct = Sender(peer.address, peer.is_secure, headers.get("host", ""))
        if not (self._networks or self._unix) or not self.trusts(direct.address):
            return direct
        if fields := [name for name in X_FORWARDED if headers.get(name)]:
            hops = _x_forwarded(headers)
        elif headers.get("forwarded"):
            fields, hops = ["forwarded"], _forwarded(headers["forwarded"])
        else:
            return direct
        try:
            return self._walk(direct, hops)
        except Unreadable:
            return direct._replace(unread=", ".join(fields))

    def origin(self, request: Request, peer: Peer) -> tuple[bool, str]:
        """True if the client uses HTTPS, and the host that it asked."""
        if not (self._networks or self._unix):
            return peer.is_secure, request.headers.get("host", "")
        return self.sender(request, peer)[1:3]

    def _walk(self, direct: Sender, hops: Iterable[Hop]) -> Sender:
        address, hop = direct.address, Hop()
        for hop in hops:
            if hop.node is None or UNKNOWN.fullmatch(hop.node):
                break
            found = _address(hop.node)
            address = str(found)
            if not self._has(found):
                break
        is_secure, host = direct.is_secure, direct.host
        if hop.scheme is not None:
            is_secure = _is_secure(hop.scheme)
        if hop.host is not None:
            host = _host(hop.host)
        return Sender(address, is_secure, host)

    def _has(self, address: IpAddress) -> bool:
        return any(address in each for each in self._networks)


def _x_forwarded(headers: Mapping[str, str]) -> Iterator[Hop]:
    """Yield the hops of the three fields, the nearest first.

    A proxy that replaces `-Proto` or `-Host` instead of appending to it speaks for all before it.
    """
    nodes, schemes, hosts = (_from_the_right(headers.get(name)) for name in X_FORWARDED)
    for number, node in enumerate(nodes or [None]):
        yield Hop(node, _at(number, schemes), _at(number, hosts))


def _from_the_right(field: str | None) -> list[str]:
    """The parts of a field, the last one first; those too many are one, which nobody can read."""
    return [part.strip() for part in reversed(field.rsplit(",", MOST_HOPS))] if field else []


def _at(number: int, values: list[str]) -> str | None:
    return values[min(number, len(values) - 1)] if values else None


def _forwarded(field: str) -> Iterator[Hop]:
    """Yield the hops of `Forwarded`, the nearest first.

    Commas always separate. A parser that knew quotes could be led astray by one that a client has
    opened, and no proxy writes a comma in quotes.
    """
    for element in _from_the_right(field):
        pairs: dict[str, str] = {}
        for part in filter(None, map(str.strip, element.split(";"))):
            found = PAIR.fullmatch(part)
            if found is None or found[1].lower() in pairs:
                raise Unreadable
            pairs[found[1].lower()] = _unquoted(found[2])
        if not pairs:
            raise Unreadable
        yield Hop(pairs.get("for"), pairs.get("proto"), pairs.get("host"))


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _address(node: str) -> IpAddress:
    found = NODE.fullmatch(node)
    text = (found["v6"] or found["v4"]) if found else node
    # A zone names an interface of some other machine, with any text.
    parsed = _parsed(text) if len(text) <= LONGEST and "%" not in text else None
    if parsed is None:
        raise Unreadable
    return parsed


def _is_secure(scheme: str) -> bool:
    if scheme.lower() not in SCHEMES:
        raise Unreadable
    return SCHEMES[scheme.lower()]


def _host(host: str) -> str:
    if HOST.fullmatch(host) is None:
        raise Unreadable
    return host


@lru_cache(1024)
def _parsed(text: str) -> IpAddress | None:
    """An address; an IPv4 address that IPv6 maps is itself. `None` for other text."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
