"""What answers the requests of a connection that are not plain."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.engineio.violations import EventCounter, Violation

__all__ = ["Handler"]


class Handler(web.RequestHandler):
    """aiohttp's, which would log a traceback for what is no fault of ours."""

    __slots__ = ("violations",)

    violations: EventCounter[Violation]

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        self.violations.record("http", request.remote or "", type(exc).__name__)
        response = web.Response(status=status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **facts: Any) -> None:
        error = facts.get("exc_info")
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            self.violations.record("http", "a client", type(error).__name__)
        else:
            super().log_exception(*args, **facts)
