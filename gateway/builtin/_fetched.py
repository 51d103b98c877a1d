"""A document at a URL, cached, and kept beyond its age if fetching fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

import aiohttp

__all__ = ["Fetched"]

LOG = logging.getLogger("sockgw.builtin")

_TIMEOUT = aiohttp.ClientTimeout(total=5.0)

T = TypeVar("T")


class Fetched(Generic[T]):
    """The document at `url`, parsed by `parse`, which raises `ValueError` for invalid text.

    The first `get` fetches it; after `max_age` seconds the next one fetches again, but never twice
    within `pause` seconds. Concurrent calls wait for the same fetch.
    """

    def __init__(self, url: str, parse: Callable[[str], T], max_age: float, pause: float) -> None:
        self._url = url
        self._parse = parse
        self._max_age = max_age
        self._pause = pause
        self._content: T | None = None
        self._fetched = self._tried = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, *, newer: bool = False) -> T | None:
        """Return the document; `None` if no fetch has succeeded yet.

        `newer` asks for a fetch whatever the document's age.
        """
        now = monotonic()
        if newer or now - self._fetched >= self._max_age:
            if self._fetching is None and now - self._tried >= self._pause:
                # A separate task, so that it does not end with the client that asked first.
                self._fetching = asyncio.create_task(self._fetch())
            if self._fetching is not None:
                await asyncio.shield(self._fetching)
        return self._content

    async def _fetch(self) -> None:
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT, raise_for_status=True) as session,
                session.get(self._url, allow_redirects=False) as response,
            ):
                self._content = self._parse(await response.text())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            LOG.warning("cannot fetch %s (%s); the old content stays in use", self._url, reason)
        else:
            self._fetched = monotonic()
        finally:
            self._tried = monotonic()
            self._fetching = None
