"""The sender of a request: the peer, or the client that trusted proxies name."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.proxies import Sender, TrustedProxies
from gateway.http.request import Request

LISTED = ("10.0.0.0/8", "fd00::/8", "192.0.2.1/32")
PROXY = "10.0.0.1"


def sender(peer: str = PROXY, *listed: str, secure: bool = False, **headers: str) -> Sender:
    """The sender of a request with these header fields; `_` stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request("GET", "/", {}, "/", {"host": "inner:7001", **named})
    return TrustedProxies(listed or LISTED).sender(request, Sender(peer, secure, ""))


def direct(peer: str = PROXY, *unread: str, secure: bool = False) -> Sender:
    return Sender(peer, secure, "inner:7001", ", ".join(unread))


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7", "203.0.113.7"),
        ("1.1.1.1,203.0.113.7 , 10.0.0.2,192.0.2.1", "203.0.113.7"),
        ("10.0.0.3,10.0.0.2", "10.0.0.3"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7"),
        ("nonsense, 203.0.113.7", "203.0.113.7"),
        ('for="[, 203.0.113.7', "203.0.113.7"),
        ("1.1.1.1, unknown, 10.0.0.2", "10.0.0.2"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy(
    forwarded: str, address: str
) -> None:
    assert sender(x_forwarded_for=forwarded) == Sender(address, False, "inner:7001")


@pytest.mark.parametrize(
    "field",
    [
        *("nonsense", "203.0.113.7,", "1.1.1.1, nonsense, 10.0.0.2", "203.0.113.7 10.0.0.2"),
        *(
            "203.0.113",
            "203.0.113.7:",
            "203.0.113.7:123456",
            "[2001:db8::1",
            "::1]",
            "fe80::1%eth0",
        ),
        *("[203.0.113.7", "0" * 9000, "for=203.0.113.7"),
    ],
)
def test_an_address_that_cannot_be_read_leaves_the_proxy_as_the_client(field: str) -> None:
    assert sender(x_forwarded_for=field, x_forwarded_proto="https") == direct(
        PROXY, "x-forwarded-for", "x-forwarded-proto"
    )


@pytest.mark.parametrize("peer", ["203.0.113.9", "2001:db8::9", "", "unix"])
def test_nobody_else_is_believed(peer: str) -> None:
    headers = {
        "x_forwarded_for": "127.0.0.1",
        "x_forwarded_proto": "https",
        "x_forwarded_host": "a.example",
        "forwarded": "for=127.0.0.1;proto=https;host=a.example",
    }
    assert sender(peer, **headers) == direct(peer)
    assert sender(peer, secure=True, **headers) == direct(peer, secure=True)
    assert TrustedProxies().sender(
        Request("GET", "/", {}, "/", headers), Sender(peer, False, "")
    ) == Sender(peer, False, "")


@pytest.mark.parametrize("peer", ["fd00::1", "::ffff:10.0.0.1", "192.0.2.1"])
def test_proxies_are_known_by_address_and_by_network(peer: str) -> None:
    assert sender(peer, x_forwarded_for="203.0.113.7").address == "203.0.113.7"


def test_peers_on_a_unix_socket_are_trusted_as_unix() -> None:
    assert sender("unix", "unix", x_forwarded_for="203.0.113.7").address == "203.0.113.7"
    for other in (PROXY, ""):
        assert sender(other, "unix", x_forwarded_for="203.0.113.7").address == other


def test_a_proxy_that_says_nothing_is_a_client_itself() -> None:
    assert sender() == direct()
    assert sender(x_forwarded_for="", x_forwarded_proto="", forwarded="") == direct()
    assert sender(x_real_ip="203.0.113.7", x_forwarded_port="443") == direct()


@pytest.mark.parametrize(
    ("scheme", "is_secure"),
    [("https", True), ("HTTPS", True), ("wss", True), ("http", False), ("ws", False)],
)
def test_the_scheme_is_the_clients(scheme: str, is_secure: bool) -> None:
    for inner in (True, False):
        found = sender(x_forwarded_for="203.0.113.7", x_forwarded_proto=scheme, secure=inner)
        assert found == Sender("203.0.113.7", is_secure, "inner:7001")
        assert sender(x_forwarded_proto=scheme, secure=inner) == direct(secure=is_secure)
        assert sender(forwarded=f"for=203.0.113.7;proto={scheme}", secure=inner) == found


def test_scheme_and_host_are_the_words_of_the_proxy_that_saw_the_client() -> None:
    found = sender(
        x_forwarded_for="1.1.1.1, 203.0.113.7, 10.0.0.2",
        x_forwarded_proto="http, https, http",
        x_forwarded_host="forged.example, chat.example:8443, inner.example",
    )
    assert found == Sender("203.0.113.7", True, "chat.example:8443")


def test_a_proxy_that_replaces_scheme_and_host_speaks_for_those_before_it() -> None:
    found = sender(
        x_forwarded_for="203.0.113.7, 10.0.0.2, 10.0.0.3",
        x_forwarded_proto="https",
        x_forwarded_host="[2001:db8::1]:8443, inner.example",
    )
    assert found == Sender("203.0.113.7", True, "[2001:db8::1]:8443")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x_forwarded_proto", "gopher"),
        ("x_forwarded_proto", "https,"),
        ("x_forwarded_host", "a.example/path"),
        ("x_forwarded_host", "a.example b.example"),
        ("x_forwarded_host", "a.example:"),
    ],
)
def test_a_scheme_or_host_that_cannot_be_read_spoils_the_rest(name: str, value: str) -> None:
    headers = {"x_forwarded_for": "203.0.113.7", name: value}
    assert sender(**headers) == direct(PROXY, "x-forwarded-for", name.replace("_", "-"))


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        ("for=203.0.113.7", Sender("203.0.113.7", False, "inner:7001")),
        ('For="203.0.113.7:4711"', Sender("203.0.113.7", False, "inner:7001")),
        ('for="[2001:db8::1]:_4711"', Sender("2001:db8::1", False, "inner:7001")),
        (
            'for=203.0.113.7;host="chat.example:8443";proto=https;by=10.0.0.1',
            Sender("203.0.113.7", True, "chat.example:8443"),
        ),
        (
            "for=1.1.1.1;proto=http, for=203.0.113.7; proto=https ;host=a.example,for=10.0.0.2",
            Sender("203.0.113.7", True, "a.example"),
        ),
        ("for=unknown;proto=https", Sender(PROXY, True, "inner:7001")),
        ('for="_hidden";proto=https', Sender(PROXY, True, "inner:7001")),
        ("for=_hidden, for=10.0.0.2", Sender("10.0.0.2", False, "inner:7001")),
        ("; for=203.0.113.7;; proto=https;", Sender("203.0.113.7", True, "inner:7001")),
        ("proto=https;host=a.example", Sender(PROXY, True, "a.example")),
        ('for=1.1.1.1;x=", for=203.0.113.7', Sender("203.0.113.7", False, "inner:7001")),
        ('for=1.1.1.1;x=", for="203.0.113.7"', Sender("203.0.113.7", False, "inner:7001")),
        ('for="203.0.\\113.7"', Sender("203.0.113.7", False, "inner:7001")),
    ],
)
def test_forwarded_says_the_same(forwarded: str, found: Sender) -> None:
    assert sender(forwarded=forwarded) == found


@pytest.mark.parametrize(
    "forwarded",
    [
        *(
            "203.0.113.7",
            "for=",
            "for=[2001:db8::1]",
            "for=203.0.113.7;for=1.1.1.1",
            "for = 1.1.1.1",
        ),
        *(
            ";",
            "for=203.0.113.7,",
            'for="203.0.113.7',
            "for=nobody",
        ),
        *("for=203.0.113.7;proto=gopher", 'for=203.0.113.7;host="a b"', "\x1b", '"' * 8000),
        *('for=203.0.113.7;proto="a,b"', "a=" * 4000, "for=" + "1" * 9000),
    ],
)
def test_an_element_that_cannot_be_read_leaves_the_proxy_as_the_client(forwarded: str) -> None:
    assert sender(forwarded=forwarded) == direct(PROXY, "forwarded")


def test_forwarded_is_ignored_beside_the_others() -> None:
    """Most proxies write the others, and pass on a `Forwarded` that their client has made up."""
    forged = "for=127.0.0.1;proto=https;host=forged.example"
    assert sender(x_forwarded_for="203.0.113.7", forwarded=forged) == Sender(
        "203.0.113.7", False, "inner:7001"
    )
    assert sender(x_forwarded_proto="http", forwarded=forged) == direct()
    assert sender(x_forwarded_for="nonsense", forwarded=forged) == direct(PROXY, "x-forwarded-for")


@pytest.mark.parametrize("name", ["x_forwarded_for", "forwarded"])
def test_sixteen_proxies_in_a_row_are_believed(name: str) -> None:
    """15 of them in the field, and the one that has sent it."""
    prefix = "for=" if name == "forwarded" else ""
    one, client = f"{prefix}10.0.0.2", f"{prefix}203.0.113.7"
    for more in ("", f"{prefix}1.1.1.1, " * 100):
        field = more + ", ".join([client, *[one] * 15])
        assert sender(**{name: field}) == Sender("203.0.113.7", False, "inner:7001")
    field = ", ".join([client, client, *[one] * 16])
    assert sender(**{name: field}) == direct(PROXY, name.replace("_", "-"))


@given(
    name=st.sampled_from(["x_forwarded_for", "x_forwarded_proto", "x_forwarded_host", "forwarded"]),
    field=st.text()
    | st.lists(
        st.sampled_from(
            [*'"\\,;=[]: _-', "for=", "host=", "proto=", "https", "10.0.0.2", "203.0.113.7", "::1"]
        )
    ).map("".join),
)
def test_whatever_a_field_says_it_gives_an_address_or_nothing(name: str, field: str) -> None:
    found = sender(**{name: field})
    ip_address(found.address)
    assert not found.unread or found._replace(unread="") == direct()
    assert re.fullmatch(r"[\w.:\[\]-]+", found.host)
