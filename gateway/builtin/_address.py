"""The address of a client, also behind proxies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

from gateway import Handshake

__all__ = ["Address", "Networks", "client_address", "is_in", "networks"]

Address: TypeAlias = IPv4Address | IPv6Address
Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]

# Some proxies write the port: 192.0.2.1:4711, [2001:db8::1]:4711.
_WITH_PORT = re.compile(r"\[(?P<v6>[^]]+)\](:\d+)?|(?P<v4>[0-9.]+):\d+")


def networks(option: str, written: Sequence[str]) -> Networks:
    """Parse CIDRs; a single address is a network of one. Raises `ValueError`."""
    try:
        return tuple(map(ip_network, written))
    except ValueError as error:
        raise ValueError(f"option {option!r}: {error}") from None


def is_in(address: Address, those: Networks) -> bool:
    return any(address in each for each in those)


def client_address(proxies: Networks) -> Callable[[Handshake], Address | None]:
    """Return a function that finds the client's address; `None` if it cannot be parsed.

    `X-Forwarded-For` is trusted as far as `proxies` wrote it. It is read from its right end, the
    hop nearest to the gateway, to the first address that is not a proxy's. The client can forge
    everything to the left of that.
    """

    @lru_cache(maxsize=1024)
    def walk(peer: str, forwarded: str) -> Address | None:
        address = _parsed(peer)
        hops = forwarded.split(",") if forwarded else []
        while hops and address is not None and is_in(address, proxies):
            address = _parsed(hops.pop())
        return address

    def read(handshake: Handshake) -> Address | None:
        forwarded = handshake.headers.get("x-forwarded-for", "") if proxies else ""
        return walk(handshake.address, forwarded)

    return read


def _parsed(text: str) -> Address | None:
    text = text.strip()
    if found := _WITH_PORT.fullmatch(text):
        text = found["v6"] or found["v4"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
