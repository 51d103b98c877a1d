"""Addresses of clients, and how many clients there are of each."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network

__all__ = ["UNIX", "AddressCounts"]

UNIX = "unix"
"""The address of every client on a Unix socket: it has no other."""


class AddressCounts(Counter[str]):
    """Numbers of clients by address; in IPv6 by network, a /64.

    An IPv4 address that IPv6 maps counts as that IPv4 address.
    """

    def of(self, address: str) -> int:
        """The number of clients of an address; 0 for `UNIX`, which tells nobody apart."""
        return 0 if address == UNIX else self.get(_network_of(address), 0)

    def enter(self, address: str) -> None:
        """Count a client of an address."""
        self[_network_of(address)] += 1

    def leave(self, address: str) -> None:
        """Count a client no longer; an address without clients is forgotten."""
        network = _network_of(address)
        self[network] -= 1
        if not self[network]:
            del self[network]


def _network_of(address: str) -> str:
    return _ipv6_network(address) if ":" in address else address


@lru_cache(1024)
def _ipv6_network(address: str) -> str:
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or IPv6Network((int(parsed) >> 64 << 64, 64)))
