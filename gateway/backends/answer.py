"""Answers of backends: a status and a body become a `Reply` or a `Reject`.

Plain: the JSON of a 2xx is the ack's one argument, 204 is an empty ack. As
`application/vnd.sockgw+json` it is an envelope, with side effects. Other statuses are refusals,
of which `application/problem+json` (RFC 9457) may give the code and the message.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

from gateway.api import Value
from gateway.backends.figures import Outcome
from gateway.backends.transport import InvalidAnswer, RawAnswer
from gateway.base64json import loads
from gateway.context import Emission, Reply
from gateway.errors import Reject

__all__ = ["Refusal", "reply_of", "taken"]

ENVELOPE = "application/vnd.sockgw+json"
PROBLEM = "application/problem+json"

_LONGEST_CODE = 64
_CODES = {
    400: ("bad_request", "the request is not valid"),
    401: ("unauthorized", "log in first"),
    403: ("forbidden", "this is not allowed"),
    404: ("not_found", "there is no such thing"),
    409: ("conflict", "it has changed meanwhile"),
    410: ("gone", "this is not there any more"),
    413: ("too_large", "this is too large"),
    422: ("bad_request", "the request is not valid"),
    429: ("busy", "too many requests, try again later"),
}
_OTHER = ("refused", "the request was refused")

_KEYS = frozenset({"ack", "error", "data", "join", "leave", "emit", "disconnect"})

_Fields: TypeAlias = dict[str, Any]


class Refusal(Exception):
    """An answer that is no reply: its status, its outcome, and what the client is told.

    `hold` is the time in seconds for which the backend asks to be left alone, 0 for none.
    """

    def __init__(self, status: int, outcome: Outcome, reject: Reject, hold: float = 0.0) -> None:
        super().__init__(f"status {status}" + ("" if outcome == "failed" else f", {reject}"))
        self.outcome: Outcome = outcome
        self.reject = reject
        self.hold = hold


def reply_of(answer: RawAnswer) -> Reply:
    """Return what the backend has answered. Raises `Refusal` and `InvalidAnswer`."""
    if 200 <= answer.status < 300:
        return _reply(answer)
    if answer.status < 400:
        raise InvalidAnswer(f"status {answer.status}; redirects are not followed")
    after = _retry_after(answer.retry_after)
    if answer.status >= 500:
        data = None if after is None else {"retry_after": after}
        hold = after or 0 if answer.status == 503 else 0
        reject = Reject("unavailable", "not available now, try again later", data)
        raise Refusal(answer.status, "failed", reject, hold)
    code, message, data = _told(answer)
    if answer.status == 429 and after is not None and data is None:
        data = {"retry_after": after}
    outcome: Outcome = "gone" if answer.status == 410 else "refused"
    raise Refusal(answer.status, outcome, Reject(code, message, data))


def taken(answer: RawAnswer) -> Reply:
    """Return an empty reply for any 2xx, whatever its body. Else raises as `reply_of` does."""
    return Reply() if 200 <= answer.status < 300 else reply_of(answer)


def _told(answer: RawAnswer) -> tuple[str, str, Any]:
    """The code, the message and the data for the client."""
    code, message = _CODES.get(answer.status, _OTHER)
    if answer.kind == PROBLEM:
        problem = _json(answer.body)
        if isinstance(problem, dict):
            own, title = problem.get("code"), problem.get("title")
            detail = problem.get("detail", title)
            if isinstance(own, str) and _is_code(own):
                code = own
            if isinstance(detail, str) and detail:
                message = detail
            return code, message, problem.get("data")
    return code, message, None


def _reply(answer: RawAnswer) -> Reply:
    if answer.kind == ENVELOPE:
        return _envelope(_json(answer.body))
    if answer.status == 204 or not answer.body:
        return Reply()
    value: Any = _json(answer.body)
    return Reply(ack=(value,))


def _json(body: bytes) -> object:
    try:
        return loads(body, is_bounded=True)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"it is not JSON: {error}") from None


def _envelope(written: object) -> Reply:
    if not isinstance(written, dict):
        raise InvalidAnswer("an envelope is an object")
    if unknown := sorted(written.keys() - _KEYS):
        raise InvalidAnswer(f"unknown key {unknown[0]!r} in the envelope")
    fields: _Fields = written
    ack, data = fields.get("ack", []), fields.get("data", {})
    if not isinstance(ack, list):
        raise InvalidAnswer("'ack' is a list of arguments")
    if not isinstance(data, dict):
        raise InvalidAnswer("'data' is an object")
    if not isinstance(fields.get("disconnect", False), bool):
        raise InvalidAnswer("'disconnect' is true or false")
    emit = fields.get("emit", [])
    if not isinstance(emit, list):
        raise InvalidAnswer("'emit' is a list of events")
    return Reply(
        ack=tuple(ack),
        data=data,
        join=_rooms(fields, "join"),
        leave=_rooms(fields, "leave"),
        emit=tuple(map(_emission, emit)),
        disconnect=fields.get("disconnect", False),
        error=_error(fields["error"]) if "error" in fields else None,
    )


def _error(written: Any) -> Reject:
    if not isinstance(written, dict) or not _is_code(written.get("code")):
        raise InvalidAnswer("'error' is an object with a 'code' of up to 64 characters")
    message = written.get("message", "")
    if not isinstance(message, str):
        raise InvalidAnswer("the 'message' of an 'error' is text")
    return Reject(written["code"], message, written.get("data"))


def _emission(written: Any) -> Emission:
    if not isinstance(written, dict) or not isinstance(written.get("event"), str):
        raise InvalidAnswer("each of 'emit' is an object with an 'event'")
    args, to_all = written.get("args", []), written.get("all", False)
    if not isinstance(args, list):
        raise InvalidAnswer("the 'args' of 'emit' are a list")
    if not isinstance(to_all, bool) or (to_all and "to" in written):
        raise InvalidAnswer("'emit' has either 'to' or 'all: true'")
    values: list[Value] = args
    rooms = None if to_all else _rooms(written, "to")
    to_socket = not to_all and "to" not in written
    excluded = _rooms(written, "except")
    return Emission(written["event"], tuple(values), rooms, excluded, to_socket)


def _rooms(fields: _Fields, key: str) -> tuple[str, ...]:
    written = fields.get(key, [])
    rooms = [written] if isinstance(written, str) else written
    if not isinstance(rooms, list) or not all(isinstance(each, str) for each in rooms):
        raise InvalidAnswer(f"{key!r} is a room or a list of rooms")
    return tuple(rooms)


def _is_code(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_CODE


def _retry_after(written: str | None) -> int | None:
    """Return the seconds that `Retry-After` asks for: a number, or a date (RFC 9110, 10.2.3)."""
    if written is None:
        return None
    text = written.strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return int(text)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0, int((at - datetime.now(UTC)).total_seconds()))
