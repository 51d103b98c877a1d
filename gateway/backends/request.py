"""Requests to backends: what they are told of a packet or a connection, and its signature."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from secrets import token_hex
from time import gmtime, strftime, time
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from gateway.api import Handshake, Socket
from gateway.base64json import dumps
from gateway.config import BackendConfig
from gateway.context import Context

__all__ = ["Outgoing", "Requests", "rfc3339", "signature"]

_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")
"""What stands for itself in a CloudEvents header field (HTTP binding, section 3.1.3.2)."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request, but for the time stamp of its signature: each attempt has its own."""

    id: str
    fields: dict[str, str]
    body: bytes


class Requests:
    """Makes the requests to one backend.

    Each has an id of its own, which stays when it is repeated, and the number of the request among
    those about its socket.
    """

    def __init__(self, config: BackendConfig, numbers: WeakKeyDictionary[Socket[Any], int]) -> None:
        self._config = config
        self._numbers = numbers
        self._ids = count(1)
        self._prefix = ""

    def about(self, ctx: Context, type: str, left: float) -> Outgoing:
        """Make a request about a packet or a connection; it is of no use after `left` seconds.

        Raises `TypeError` or `ValueError` for arguments that JSON has no form for.
        """
        socket, handshake = ctx.socket, ctx.socket.handshake
        forwarded = self._forwarded(handshake)
        number = self._numbers[socket] = self._numbers.get(socket, 0) + 1
        facts: dict[str, object] = {
            "type": type,
            "id": self._id(),
            "time": rfc3339(time()),
            "namespace": socket.namespace,
            "event": ctx.event,
            "args": ctx.args,
            "ack": ctx.wants_ack,
            "sequence": number,
            "socket": {
                "id": socket.id,
                "user": socket.user,
                "data": socket.data,
                "address": handshake.address,
            },
            "headers": forwarded,
            "auth": {
                key: handshake.auth[key] for key in self._config.auth if key in handshake.auth
            },
            "deadline_ms": int(left * 1000),
        }
        return self._outgoing(facts, forwarded)

    def probe(self, left: float) -> Outgoing:
        """Make a request that is about nothing, to see what comes back."""
        facts: dict[str, object] = {
            "type": "probe",
            "id": self._id(),
            "time": rfc3339(time()),
            "namespace": None,
            "event": "probe",
            "args": [],
            "ack": False,
            "sequence": 0,
            "socket": None,
            "headers": {},
            "auth": {},
            "deadline_ms": int(left * 1000),
        }
        return self._outgoing(facts, {})

    def telling(self, facts: Mapping[str, Any], left: float) -> Outgoing:
        """Make a request about sockets that come and go, or that are there.

        It is the same whenever it is repeated, so it does not say what `left` is.
        """
        fields = {"content-type": "application/json", "webhook-id": facts["id"]}
        fields.update(self._config.set)
        if self._config.format == "cloudevents":
            kind = f"io.sockgw.{facts['type']}"
            fields.update(_attributes(facts, type=kind, source="/sessions"))
            return Outgoing(facts["id"], fields, dumps(facts.get("messages", facts.get("sockets"))))
        return Outgoing(facts["id"], fields, dumps(facts))

    def fields(self, outgoing: Outgoing) -> dict[str, str]:
        """Return the header fields of an attempt to send a request, signed as of now."""
        at = str(int(time()))
        fields = {**outgoing.fields, "webhook-timestamp": at}
        if self._config.sign:
            keys = self._config.sign
            signed = (signature(key, outgoing.id, at, outgoing.body) for key in keys)
            fields["webhook-signature"] = " ".join(signed)
        return fields

    def _id(self) -> str:
        if not self._prefix:  # only now: what was made before a fork is in all workers
            self._prefix = f"msg_{token_hex(8)}"
        return f"{self._prefix}{next(self._ids):08x}"

    def _forwarded(self, handshake: Handshake) -> dict[str, str]:
        headers = handshake.headers
        return {name: headers[name] for name in self._config.forward if name in headers}

    def _outgoing(self, facts: dict[str, Any], forwarded: Mapping[str, str]) -> Outgoing:
        fields = {**forwarded, "content-type": "application/json", "webhook-id": facts["id"]}
        fields.update(self._config.set)
        if self._config.format == "cloudevents":
            fields.update(_cloud_event(facts))
            return Outgoing(facts["id"], fields, dumps(facts["args"]))
        return Outgoing(facts["id"], fields, _body(facts))


def signature(key: bytes, id: str, at: str, body: bytes) -> str:
    """Sign a request as Standard Webhooks 1.0 has it, with a symmetric key."""
    digest = hmac.digest(key, f"{id}.{at}.".encode() + body, "sha256")
    return f"v1,{b64encode(digest).decode()}"


def _body(facts: dict[str, Any]) -> bytes:
    try:
        return dumps(facts)
    except (TypeError, ValueError):  # most likely, a plugin keeps an object in `data`
        socket = facts["socket"]
        return dumps({**facts, "socket": {**socket, "data": _sendable(socket["data"])}})


def _sendable(data: Mapping[str, object]) -> dict[str, object]:
    """Return the entries that JSON has a form for; plugins keep other things in `data`, too."""
    kept = {}
    for key, value in data.items():
        try:
            dumps({key: value})
        except (TypeError, ValueError):
            continue
        kept[key] = value
    return kept


def _cloud_event(facts: dict[str, Any]) -> dict[str, str]:
    """Return the header fields of a CloudEvent in binary mode (CloudEvents 1.0, HTTP binding)."""
    socket = facts["socket"] or {}
    return _attributes(
        facts,
        type=f"io.sockgw.{facts['type']}",
        source=f"/namespaces{facts['namespace'] or ''}",
        subject=facts["event"],
        socketid=socket.get("id"),
        user=socket.get("user"),
        address=socket.get("address"),
        sequence=facts["sequence"],
        deadlinems=facts["deadline_ms"],
    )


def _attributes(facts: Mapping[str, Any], **more: object) -> dict[str, str]:
    attributes = {"specversion": "1.0", "id": facts["id"], "time": facts["time"], **more}
    return {
        f"ce-{name}": quote(str(text), safe=_PRINTABLE)
        for name, text in attributes.items()
        if text is not None
    }


def rfc3339(at: float) -> str:
    """A time in seconds since the epoch as RFC 3339 has it, in milliseconds."""
    seconds, ms = divmod(int(at * 1000), 1000)
    return f"{_second(seconds)}.{ms:03}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))
