"""Header fields and cookies that plugins set: what would break the answer is refused."""

from __future__ import annotations

import pytest

from gateway import Gateway, Handshake, HandshakeContext, Reject, Services, UsageError
from gateway.headers import AnswerHeaders


@pytest.fixture
def headers() -> AnswerHeaders:
    return AnswerHeaders()


def context(*, secure: bool = False) -> HandshakeContext:
    return HandshakeContext(Handshake(secure=secure), Services({}), Gateway(None))  # type: ignore[arg-type]


def test_a_header_is_found_in_any_case(headers: AnswerHeaders) -> None:
    headers["X-Name"] = " value "
    assert headers["x-name"] == "value"
    assert (list(headers), len(headers)) == (["x-name"], 1)
    assert headers.encode() == "X-Name: value\r\n"
    headers["x-NAME"] = "other"
    assert headers.encode() == "x-NAME: other\r\n"
    del headers["X-Name"]
    assert headers.encode() == ""
    with pytest.raises(KeyError):
        headers["X-Name"]


def test_values_are_not_shown(headers: AnswerHeaders) -> None:
    headers["X-Token"] = "secret"
    assert repr(headers) == "<AnswerHeaders: x-token>"


@pytest.mark.parametrize("name", ["", "X Name", "X-Name:", "X\r\nName", "X-Näme", "X\0"])
def test_a_name_is_a_token(headers: AnswerHeaders, name: str) -> None:
    with pytest.raises(UsageError) as raised:
        headers[name] = "value"
    assert str(raised.value) == f"{name!r} cannot be the name of a header"


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb", "a\0b", "a\x7fb", "ä", "\ud800"])
def test_a_value_is_one_line(headers: AnswerHeaders, value: str) -> None:
    with pytest.raises(UsageError) as raised:
        headers["X-Name"] = value
    assert str(raised.value) == "header 'X-Name': a value is printable ASCII on one line"
    assert headers.encode() == ""


@pytest.mark.parametrize(
    "name",
    [
        *("Content-Length", "content-type", "Content-Encoding", "Cache-Control", "Date"),
        *("Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade"),
        *("Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Proxy-Connection"),
        *("Access-Control-Allow-Origin", "Access-Control-Max-Age"),
    ],
)
def test_the_gateways_own_fields_are_its_own(headers: AnswerHeaders, name: str) -> None:
    with pytest.raises(UsageError) as raised:
        headers[name] = "value"
    assert str(raised.value) == f"the gateway sets {name!r} itself"


def test_cookies_have_a_way_of_their_own(headers: AnswerHeaders) -> None:
    with pytest.raises(UsageError) as raised:
        headers["Set-Cookie"] = "a=b"
    assert str(raised.value) == "set cookies with set_cookie()"


def test_the_fields_of_an_answer_have_a_bound(headers: AnswerHeaders) -> None:
    headers["X-Name"] = "x" * (8192 - len("X-Name: \r\n"))
    headers["X-Name"] = "y" * (8192 - len("X-Name: \r\n"))  # in place of it
    message = "the headers and cookies of an answer may have 8192 bytes"
    with pytest.raises(UsageError) as raised:
        headers["X-Other"] = ""
    assert str(raised.value) == message
    with pytest.raises(UsageError) as raised:
        context().set_cookie("a", "x" * 8192)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "a=b; Path=/; HttpOnly; SameSite=Lax"),
        ({"max_age": 60}, "a=b; Max-Age=60; Path=/; HttpOnly; SameSite=Lax"),
        ({"max_age": 0, "path": "/chat"}, "a=b; Max-Age=0; Path=/chat; HttpOnly; SameSite=Lax"),
        ({"domain": "x.example"}, "a=b; Domain=x.example; Path=/; HttpOnly; SameSite=Lax"),
        ({"secure": True}, "a=b; Path=/; Secure; HttpOnly; SameSite=Lax"),
        ({"http_only": False}, "a=b; Path=/; SameSite=Lax"),
        ({"same_site": "strict"}, "a=b; Path=/; HttpOnly; SameSite=Strict"),
        ({"same_site": "none"}, "a=b; Path=/; Secure; HttpOnly; SameSite=None"),
    ],
)
def test_a_cookie_has_its_attributes(options: dict[str, object], line: str) -> None:
    ctx = context()
    ctx.set_cookie("a", "b", **options)  # type: ignore[arg-type]
    assert ctx.headers.encode() == f"Set-Cookie: {line}\r\n"


def test_a_cookie_is_secure_where_the_connection_is() -> None:
    ctx = context(secure=True)
    ctx.set_cookie("a", "b")
    ctx.set_cookie("c", "d", secure=False)
    assert ctx.headers.encode() == (
        "Set-Cookie: a=b; Path=/; Secure; HttpOnly; SameSite=Lax\r\n"
        "Set-Cookie: c=d; Path=/; HttpOnly; SameSite=Lax\r\n"
    )


def test_a_cookie_replaces_one_with_the_same_name_path_and_domain() -> None:
    ctx = context()
    for value, path in (("1", "/"), ("2", "/"), ("3", "/chat")):
        ctx.set_cookie("a", value, path=path)
    assert ctx.headers.encode() == (
        "Set-Cookie: a=2; Path=/; HttpOnly; SameSite=Lax\r\n"
        "Set-Cookie: a=3; Path=/chat; HttpOnly; SameSite=Lax\r\n"
    )


@pytest.mark.parametrize("name", ["", "a=b", "a;b", "a b", "a\r\n", "ä"])
def test_the_name_of_a_cookie_is_a_token(name: str) -> None:
    with pytest.raises(UsageError) as raised:
        context().set_cookie(name, "value")
    assert str(raised.value) == f"{name!r} cannot be the name of a cookie"


@pytest.mark.parametrize("value", ["a;b", "a b", "a,b", 'a"b', "a\\b", "a\r\nb", "ä"])
def test_the_value_of_a_cookie_has_to_be_encoded(value: str) -> None:
    with pytest.raises(UsageError) as raised:
        context().set_cookie("a", value)
    assert str(raised.value) == "cookie 'a': encode its value, with urllib.parse.quote for one"


@pytest.mark.parametrize("option", ["path", "domain", "same_site"])
@pytest.mark.parametrize("value", ["/;Secure", "/\r\nX: y", "/\0"])
def test_an_attribute_of_a_cookie_cannot_end_it(option: str, value: str) -> None:
    with pytest.raises(UsageError) as raised:
        context().set_cookie("a", "b", **{option: value})  # type: ignore[arg-type]
    assert str(raised.value) == f"cookie 'a': {value!r} would end its attribute"


@pytest.mark.parametrize(
    ("sent", "cookies"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ("a=b; c=d=e;f=", {"a": "b", "c": "d=e", "f": ""}),
        ("a=first; a=second", {"a": "first"}),
        ("nonsense; a=b;;", {"a": "b"}),
    ],
)
def test_a_handshake_has_the_cookies_of_its_request(sent: str, cookies: dict[str, str]) -> None:
    assert Handshake(headers={"cookie": sent}).cookies == cookies


def test_a_handshake_without_cookies_has_none() -> None:
    assert Handshake().cookies == {}


@pytest.mark.parametrize("status", [101, 200, 302, 399, 499, 600])
def test_the_status_of_a_refusal_is_one_of_an_error(status: int) -> None:
    with pytest.raises(UsageError) as raised:
        Reject("no", status=status)
    assert str(raised.value) == f"status {status} is no HTTP status of an error, 400 to 511"


def test_a_refusal_is_forbidden_unless_it_says_otherwise() -> None:
    assert Reject("no").status == 403
    assert Reject("no", status=429).status == 429
