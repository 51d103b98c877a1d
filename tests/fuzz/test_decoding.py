"""Whatever strangers send is read or refused: nothing else happens.

The corpus is what the fuzzer of `tests.fuzz.run` has found worth keeping; what it finds to fail is
kept there as well. Hypothesis begins where structure does: with packets that are almost good.
"""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engineio.packet import decode_payload, encode_payload
from gateway.socketio.packet import BINARY_EVENT, EVENT, Packet
from tests.fuzz.targets import TARGETS, corpus

BOUNDED = settings(max_examples=150, deadline=None)

INPUTS = [(name, path) for name in TARGETS for path in corpus(name)]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT


def trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """JSON with these at its ends."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=12,
    )


EVENTS = st.builds(lambda name, args: [f"e{name}", *args], TEXT, st.lists(trees(SCALARS)))
NAMESPACES = st.from_regex(r"/[a-z]{0,8}", fullmatch=True)
IDS = st.none() | st.integers(0, 10**15 - 1)
ODD = st.sampled_from(["", "0", "-", "/", ",", "[", "]", "{", '"', "\\", "\x00", "\x1e", "4", "5"])


@pytest.mark.parametrize(
    ("name", "path"), INPUTS, ids=[f"{name}-{path.name}" for name, path in INPUTS]
)
def test_what_the_fuzzer_has_kept(name: str, path: Any) -> None:
    TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_a_corpus(name: str) -> None:
    assert corpus(name)


@pytest.mark.parametrize("name", TARGETS)
@BOUNDED
@given(data=st.binary(max_size=200))
def test_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    TARGETS[name](data)


@BOUNDED
@given(EVENTS, NAMESPACES, IDS)
def test_a_good_packet_is_read_as_it_was_written(
    data: list[Any], namespace: str, id: int | None
) -> None:
    (text,) = Packet(EVENT, data, namespace, id).encode()
    read = Packet(encoded_packet=text)
    read.check_arrival()
    assert (read.data, read.namespace, read.id) == (data, namespace, id)


@BOUNDED
@given(
    head=st.text("0123456789-/,a ", max_size=12),
    tree=trees(SCALARS | st.just({"_placeholder": True, "num": 0})),
    odd=st.lists(st.tuples(st.integers(0, 60), ODD), max_size=3),
    attachments=st.lists(st.binary(max_size=8), max_size=3),
)
def test_a_packet_that_is_almost_good(
    head: str, tree: Any, odd: list[tuple[int, str]], attachments: list[bytes]
) -> None:
    text = head + json.dumps(tree, ensure_ascii=False)
    for at, piece in odd:
        text = text[:at] + piece + text[at:]
    TARGETS["packet"](b"\n".join([text.encode(errors="replace"), *attachments]))


@BOUNDED
@given(
    count=st.integers(1, 4),
    numbers=st.lists(st.integers(-1, 4), min_size=1, max_size=4),
    attachments=st.lists(st.binary(max_size=8).filter(lambda data: b"\n" not in data), max_size=5),
)
def test_attachments_that_may_not_fit(
    count: int, numbers: list[int], attachments: list[bytes]
) -> None:
    data = ["e", *({"_placeholder": True, "num": number} for number in numbers)]
    text = f"{BINARY_EVENT}{count}-{json.dumps(data)}"
    TARGETS["packet"](b"\n".join([text.encode(), *attachments]))


@BOUNDED
@given(
    fields=st.dictionaries(
        st.sampled_from(["type", "nsp", "data", "id", "x"]),
        trees(SCALARS | st.binary(max_size=9) | st.builds(msgpack.ExtType, st.integers(0, 3),
              st.binary(max_size=9))),
    ),
    cut=st.integers(0, 5),
)  # fmt: skip
def test_messagepack_that_is_almost_a_packet(fields: dict[str, Any], cut: int) -> None:
    data = msgpack.packb({"type": EVENT, "nsp": "/", "data": ["e"]} | fields)
    TARGETS["msgpack"](data[: len(data) - cut])


@BOUNDED
@given(st.lists(TEXT.filter(lambda text: "\x1e" not in text and text[:1] != "b") | st.binary(),
                min_size=1, max_size=20))  # fmt: skip
def test_a_payload_is_read_as_it_was_written(packets: list[str | bytes]) -> None:
    assert list(decode_payload(encode_payload(packets))) == packets


@BOUNDED
@given(
    st.sampled_from(["GET", "POST", "PUT", "get"]),
    st.text("/socket.i%?=&#;\x00é", max_size=30),
    st.lists(st.sampled_from(["Host: x", "Content-Length: 2", "Content-Length: 1" + "0" * 5000,
                              "Connection: close", "a", ": b", "Transfer-Encoding: chunked"]),
             max_size=4),
    st.binary(max_size=4),
)  # fmt: skip
def test_a_request_that_is_almost_plain(
    method: str, target: str, headers: list[str], body: bytes
) -> None:
    lines = "\r\n".join([f"{method} /{target} HTTP/1.1", *headers, "", ""])
    TARGETS["head"](lines.encode() + body)
