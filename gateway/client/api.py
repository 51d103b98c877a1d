"""The client of a running daemon's api listener."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from gateway.base64json import dumps
from gateway.client.admin import AdminError, http_url, reached_by, readable
from gateway.config.model import ApiConfig

__all__ = ["ApiClient", "api_url"]

CONNECT = 5.0
"""Seconds until a listener that does not accept counts as absent; answers have no limit."""


@dataclass(frozen=True, slots=True)
class ApiClient:
    """The api listener of a running daemon.

    `url` is `http://HOST:PORT`, or `unix:PATH` for a Unix socket. Every method returns what the
    daemon answered, and raises `AdminError` if it refuses or does not answer.
    """

    url: str
    token: str

    async def push(
        self, operation: str, body: Mapping[str, object], key: str | None = None
    ) -> dict[str, Any]:
        """Push; with a `key`, the same push is not done twice."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self._ask("POST", f"/v1/{operation}", data=dumps(body), headers=headers)

    async def sockets(self, query: Mapping[str, str]) -> dict[str, Any]:
        """List a page of sockets."""
        return await self._ask("GET", "/v1/sockets", params=query)

    async def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        base, unix = reached_by(self.url)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(unix) if unix else None,
                    timeout=aiohttp.ClientTimeout(sock_connect=CONNECT),
                    headers={"Authorization": f"Bearer {self.token}"},
                ) as session,
                session.request(method, base + path, **options) as response,
            ):
                with readable(self.url):
                    answer = dict(json.loads(await response.read()))
                if response.status != 200:
                    raise AdminError(f"{answer['code']}: {answer['detail']}")
                return answer
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise AdminError(f"no daemon can be reached at {self.url}") from None
        except KeyError:
            raise AdminError(f"{self.url} is no api listener of sockgw") from None
        except aiohttp.InvalidURL:
            raise AdminError(f"{self.url} is no api listener of sockgw") from None
        except aiohttp.ClientError as error:
            raise AdminError(f"the daemon at {self.url} did not answer: {error}") from None


def api_url(api: ApiConfig) -> str:
    """Return the address of an api listener."""
    if api.socket:
        return f"unix:{api.socket}"
    return http_url(api.host, api.port, "https" if api.tls else "http")
