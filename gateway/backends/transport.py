"""HTTP to one backend, on aiohttp: one request, and an answer of bounded size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import aiohttp
from yarl import URL

__all__ = ["InvalidAnswer", "Lost", "RawAnswer", "Transport", "Unsent"]

KEEP_ALIVE = 1.5
"""Seconds that an idle connection is kept: less than any common server does (gunicorn: 2).

One that the server closes just then would lose a request, which may not be repeated.
"""

LARGE = 2**20
"""Bytes of a body that is written piece by piece."""

_BASE = {"accept": "application/json, application/vnd.sockgw+json", "accept-encoding": "identity"}


class Unsent(Exception):
    """No byte of the request went out."""


class Lost(Exception):
    """The request, or a part of it, went out, and no whole answer came."""


class InvalidAnswer(Exception):
    """The answer cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer as it came; `kind` is its media type."""

    status: int
    kind: str
    retry_after: str | None
    body: bytes


class Transport:
    """The connections to one backend, behind the Unix socket `socket` if it has one.

    They are opened when they are needed. An answer has `max_answer` bytes at most.
    """

    def __init__(self, socket: Path | None, max_answer: int) -> None:
        self._socket = socket
        self._max_answer = max_answer
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, fields: Mapping[str, str], body: bytes) -> RawAnswer:
        """Send a request and read the answer. Raises `Unsent`, `Lost` and `InvalidAnswer`."""
        session = self._session or self._opened()
        try:
            # aiohttp warns of large bodies that are written at once.
            data = body if len(body) < LARGE else BytesIO(body)
            async with session.post(
                _parsed(url), data=data, headers=fields, allow_redirects=False
            ) as response:
                return await self._read(response)
        except (aiohttp.ClientConnectorError, aiohttp.ClientConnectorDNSError) as error:
            raise Unsent(_said(error)) from error
        except aiohttp.ClientSSLError as error:
            raise Unsent(_said(error)) from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as error:
            raise Lost(_said(error)) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise InvalidAnswer(_said(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        connector: aiohttp.BaseConnector = (
            aiohttp.UnixConnector(str(self._socket), limit=0, keepalive_timeout=KEEP_ALIVE)
            if self._socket
            else aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE)
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # a call has its own
            headers={"user-agent": "sockgw", **_BASE},
            auto_decompress=False,
        )
        return self._session

    async def _read(self, response: aiohttp.ClientResponse) -> RawAnswer:
        headers = response.headers
        if headers.get("Content-Encoding", "identity") != "identity":
            raise self._given_up(response, "it is compressed, and none was asked for")
        if (response.content_length or 0) > self._max_answer:
            raise self._given_up(response, self._too_large)
        parts: list[bytes] = []
        size = 0
        content = response.content
        while not content.at_eof():
            part = await content.readany()
            size += len(part)
            if size > self._max_answer:
                raise self._given_up(response, self._too_large)
            parts.append(part)
        retry_after = headers.get("Retry-After")
        return RawAnswer(response.status, response.content_type, retry_after, b"".join(parts))

    @property
    def _too_large(self) -> str:
        return f"it has more than {self._max_answer} bytes, see max_answer"

    def _given_up(self, response: aiohttp.ClientResponse, why: str) -> InvalidAnswer:
        response.close()  # and the connection with it, or the rest would be read
        return InvalidAnswer(why)


@lru_cache(maxsize=1024)
def _parsed(url: str) -> URL:
    return URL(url, encoded=True)


def _said(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return f"cannot connect: {os.strerror(error.os_error.errno).lower()}"
    return str(error) or type(error).__name__
