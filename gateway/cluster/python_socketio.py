"""What python-socketio's write-only managers send: JSON, on a channel of their own.

Source: https://github.com/miguelgrinberg/python-socketio, src/socketio/async_pubsub_manager.py
"""

from __future__ import annotations

import base64
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.api import Namespace
from gateway.cluster.accept import Accept, Operation
from gateway.cluster.messages import BadMessage
from gateway.errors import UsageError
from gateway.socketio.hub import Hub

__all__ = ["PythonMessages"]

Method = Literal["emit", "disconnect", "enter_room", "leave_room", "close_room", "callback"]

_OPERATIONS: dict[Method, Operation] = {
    "emit": "emit",
    "disconnect": "disconnect",
    "enter_room": "join",
    "leave_room": "leave",
    "close_room": "leave",
    "callback": "emit",
}

MOST_DEPTH = 200
"""Levels of lists and mappings in which attachments are looked for."""


class _Message(Struct):
    """What a manager sends; `data` of one with attachments is followed by them, in base64."""

    method: Method
    namespace: str | None = None
    event: str = ""
    data: list[Any] = []
    binary: bool = False
    room: str | list[str] | None = None
    skip_sid: str | list[str] | None = None
    sid: str = ""


class PythonMessages:
    """Does on the hub of this member what the managers say, as far as `accept` allows it."""

    def __init__(self, hub: Hub, accept: Accept) -> None:
        self._hub = hub
        self._accept = accept

    def take(self, message: bytes) -> Coroutine[Any, Any, None] | None:
        """What is to be done for a message; `None` if it is not accepted. Raises `BadMessage`."""
        try:
            found = _decoder.decode(message)
        except (ValueError, TypeError, RecursionError) as error:
            raise BadMessage(str(error)) from None
        namespace = found.namespace or "/"
        if not self._accept.allows_python(_OPERATIONS[found.method], namespace):
            return None
        return self._do(found, Namespace(namespace, self._hub))

    async def _do(self, message: _Message, target: Namespace) -> None:
        if message.method == "emit":
            rooms, skipped = _texts(message.room), _texts(message.skip_sid)
            asked = replace(target, rooms=rooms or None, excluded=skipped)
            try:
                self._hub.deliver(asked, message.event, _data(message))
            except UsageError as error:
                raise ValueError(str(error)) from None
            return
        one = replace(target, rooms=(message.sid,))
        rooms = _texts(message.room)
        if message.method == "disconnect":
            await self._hub.disconnect_sockets(one, False)
        elif message.method == "enter_room":
            await self._hub.join(one, rooms)
        elif message.method == "leave_room":
            await self._hub.leave(one, rooms)
        elif message.method == "close_room":
            await self._hub.leave(replace(target, rooms=rooms), rooms)


def _texts(written: str | list[str] | None) -> tuple[str, ...]:
    return () if written is None else (written,) if isinstance(written, str) else tuple(written)


def _data(message: _Message) -> Sequence[object]:
    """The arguments of the event. Raises `ValueError` for attachments that are not there."""
    if not message.binary:
        return message.data
    skeleton, *attachments = message.data
    found = [base64.b64decode(each, validate=True) for each in attachments]
    whole = _whole(skeleton, found, MOST_DEPTH)
    return whole if isinstance(whole, list) else [whole]


def _whole(value: Any, attachments: Sequence[bytes], depth: int) -> Any:
    if not depth:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        return [_whole(each, attachments, depth - 1) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("_placeholder") is True:
        number = value.get("num")
        if not isinstance(number, int) or not 0 <= number < len(attachments):
            raise ValueError("an attachment is missing")
        return attachments[number]
    return {key: _whole(each, attachments, depth - 1) for key, each in value.items()}


_decoder = msgspec.json.Decoder(_Message)
