"""Addresses of clients, and how many clients there are of each."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network

__all__ = ["UNIX", "AddressCounts", "SharedCounts"]

UNIX = "unix"
"""The address of every client on a Unix socket: it has no other."""


class SharedCounts(dict[str, int]):
    """Counts of this process by key, and those of other processes beside it.

    `others` is the sum of the latter, `told` is called with each change of the former; `None` if
    there are no other processes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.others = 0
        self.told: Callable[[str, int], None] | None = None
        self._elsewhere: dict[str, int] = {}

    def in_all(self, key: str) -> int:
        """The count of a key here and elsewhere."""
        count = self.get(key, 0)
        return count + self._elsewhere.get(key, 0) if self.others else count

    def add_one(self, key: str) -> None:
        """Count one more."""
        self[key] = self.get(key, 0) + 1
        if self.told is not None:
            self.told(key, 1)

    def take_one(self, key: str) -> None:
        """Count one less; a key without a count is forgotten."""
        if self[key] > 1:
            self[key] -= 1
        else:
            del self[key]
        if self.told is not None:
            self.told(key, -1)

    def change_elsewhere(self, key: str, change: int) -> None:
        """Note that other processes have more of a key, or less."""
        self.others += change
        self._elsewhere[key] = self._elsewhere.get(key, 0) + change
        if not self._elsewhere[key]:
            del self._elsewhere[key]


class AddressCounts(SharedCounts):
    """Numbers of clients by address; in IPv6 by network, a /64.

    An IPv4 address that IPv6 maps counts as that IPv4 address.
    """

    def of(self, address: str) -> int:
        """The number of clients of an address; 0 for `UNIX`, which tells nobody apart."""
        return 0 if address == UNIX else self.in_all(_network_of(address))

    def enter(self, address: str) -> None:
        """Count a client of an address."""
        self.add_one(_network_of(address))

    def leave(self, address: str) -> None:
        """Count a client no longer; an address without clients is forgotten."""
        self.take_one(_network_of(address))


def _network_of(address: str) -> str:
    return _ipv6_network(address) if ":" in address else address


@lru_cache(1024)
def _ipv6_network(address: str) -> str:
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or IPv6Network((int(parsed) >> 64 << 64, 64)))
