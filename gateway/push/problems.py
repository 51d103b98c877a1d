"""The errors of the api, as `application/problem+json` (RFC 9457) with a code of ours."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson

from gateway.errors import GatewayError

__all__ = ["CODES", "PushError", "problem"]

CODES: Mapping[str, HTTPStatus] = {
    "bad_json": HTTPStatus.BAD_REQUEST,
    "bad_key": HTTPStatus.BAD_REQUEST,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "unknown_namespace": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "bad_request": HTTPStatus.UNPROCESSABLE_ENTITY,
    "no_target": HTTPStatus.UNPROCESSABLE_ENTITY,
    "forbidden_room": HTTPStatus.UNPROCESSABLE_ENTITY,
    "key_reused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
    "busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The HTTP status of each code."""


class PushError(GatewayError):
    """A push that is refused; `code` is one of `CODES`, `detail` is for who wrote it."""

    def __init__(self, code: str, detail: str) -> None:
        self.code, self.detail = code, detail
        super().__init__(code, detail)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code]


def problem(error: PushError) -> bytes:
    """Return an error as JSON."""
    status = CODES[error.code]
    return orjson.dumps(
        {
            "title": status.phrase,
            "status": status.value,
            "code": error.code,
            "detail": error.detail,
        }
    )
