"""Asks a running daemon for its health."""

from __future__ import annotations

import time
from dataclasses import dataclass

import aiohttp

__all__ = ["Health", "Probe", "ask"]


@dataclass(frozen=True, slots=True)
class Probe:
    """A request that a healthy daemon answers with 200 or 204.

    `unix` is the path of a Unix socket, `None` for TCP.
    """

    method: str
    url: str
    unix: str | None = None

    def __str__(self) -> str:
        return f"unix:{self.unix}" if self.unix else self.url


@dataclass(frozen=True, slots=True)
class Health:
    """The answer to a probe after `seconds`; `status` is the one of HTTP, `None` for no answer.

    `reason` says why there is no answer.
    """

    status: int | None
    seconds: float
    reason: str = ""

    @property
    def is_healthy(self) -> bool:
        return self.status in (200, 204)


async def ask(probe: Probe, timeout: float) -> Health:
    """Send a probe, and wait `timeout` seconds at most. Raises nothing."""
    start = time.perf_counter()
    status, reason = None, ""
    try:
        async with (
            aiohttp.ClientSession(
                connector=(
                    # A certificate names the public host, and this asks the machine itself.
                    aiohttp.UnixConnector(probe.unix)
                    if probe.unix
                    else aiohttp.TCPConnector(ssl=False)
                ),
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as session,
            session.request(probe.method, probe.url, allow_redirects=False) as response,
        ):
            status = response.status
    except TimeoutError:
        reason = f"no answer from {probe} within {timeout:g} s"
    except aiohttp.ClientConnectorError:
        reason = f"no daemon can be reached at {probe}"
    except (aiohttp.ClientError, ValueError) as error:
        reason = f"no answer from {probe}: {error}"
    return Health(status, round(time.perf_counter() - start, 6), reason)
