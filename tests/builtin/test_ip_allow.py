"""The address of every client here is 127.0.0.1: what is before it is a proxy's word."""

from __future__ import annotations

import pytest

from gateway import Handshake
from gateway.builtin._address import client_address, networks
from gateway.testing import Refused
from tests.builtin.conftest import Guarded, use


async def test_a_network_is_let_in_and_others_are_refused(guarded: Guarded) -> None:
    async with guarded(
        connection_middleware=[use("ip_allow", {"allow": ["127.0.0.0/8", "2001:db8::/32"]})]
    ) as gateway:
        assert (await gateway.connect()).connected
    async with guarded(connection_middleware=[use("ip_allow", {"allow": ["10.0.0.0/8"]})]) as other:
        with pytest.raises(Refused) as refused:
            await other.connect(headers={"X-Forwarded-For": "10.0.0.1"})
    assert (refused.value.message, refused.value.data) == (
        "address not allowed",
        {"code": "forbidden"},
    )


async def test_behind_a_trusted_proxy_it_is_the_address_the_proxy_saw(guarded: Guarded) -> None:
    options = {"allow": ["192.0.2.0/24"], "trusted_proxies": ["127.0.0.1"]}
    async with guarded(connection_middleware=[use("ip_allow", options)]) as gateway:
        assert (await gateway.connect(headers={"X-Forwarded-For": "192.0.2.7"})).connected
        with pytest.raises(Refused):
            await gateway.connect(headers={"X-Forwarded-For": "192.0.2.7, 198.51.100.1"})
        with pytest.raises(Refused):
            await gateway.connect()


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", "192.0.2.7", "203.0.113.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "1.1.1.1, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "1.1.1.1,192.0.2.7 , 10.0.0.2,10.0.0.3", "192.0.2.7"),
        ("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "192.0.2.7:4711", "192.0.2.7"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.7", "192.0.2.7"),
        ("fd00::1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "unknown", None),
        ("10.0.0.1", "192.0.2.7,", None),
        ("10.0.0.1", "192.0.2.7, nonsense, 10.0.0.2", None),
        ("", "192.0.2.7", None),
    ],
)
def test_the_address_is_the_first_from_the_right_that_is_no_proxy(
    peer: str, forwarded: str, address: str | None
) -> None:
    read = client_address(networks("", ["10.0.0.0/8", "fd00::/8"]))
    headers = {"x-forwarded-for": forwarded} if forwarded else {}
    found = read(Handshake(address=peer, headers=headers))
    assert (found and str(found)) == address
