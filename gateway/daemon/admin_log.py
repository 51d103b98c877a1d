"""What aiohttp logs of the admin listener: faults as they are, what is no HTTP as a line."""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.engineio.violations import EventCounter

__all__ = ["AdminLog"]

KIND = "http"


class AdminLog(logging.LoggerAdapter[logging.Logger]):
    """A logger for aiohttp, which has a traceback for each request that nobody can read.

    One line a second at most is logged of those instead.
    """

    def __init__(self) -> None:
        super().__init__(logging.getLogger("sockgw.admin"), {})
        self._counter = EventCounter("violation", [KIND])

    def exception(self, msg: object, *args: object, **facts: Any) -> None:
        if not self._saw(facts.get("exc_info")):
            super().exception(msg, *args, **facts)

    def debug(self, msg: object, *args: object, **facts: Any) -> None:
        """What aiohttp tells here is of no use, but for what may be TLS."""
        self._saw(facts.get("exc_info"))

    def _saw(self, error: object) -> bool:
        """Whether it is a client's doing; that is counted, and told now and then."""
        if not isinstance(error, HttpProcessingError | web.RequestPayloadError):
            return False
        self._counter.record(KIND, "a client of the admin listener", type(error).__name__)
        return True
