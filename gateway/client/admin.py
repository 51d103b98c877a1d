"""The client of a running daemon's admin listener."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from gateway import config
from gateway.config.model import AdminConfig, GatewayConfig
from gateway.daemon.last_good import LastGood
from gateway.daemon.plan import Plan
from gateway.daemon.reload import Verdict
from gateway.daemon.upgrade import Successor, UpgradeError
from gateway.errors import ConfigError, GatewayError, Problem

__all__ = [
    "AdminClient",
    "AdminError",
    "admin_url",
    "config_of",
    "http_url",
    "problems_in",
    "reached_by",
    "readable",
]

CONNECT = 5.0
"""Seconds until a listener that does not accept counts as absent; answers have no limit."""


class AdminError(GatewayError):
    """The daemon gives no answer; the text is for the operator."""


_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The addresses that stand for all of a machine's, and what connects to them everywhere."""


@dataclass(frozen=True, slots=True)
class AdminClient:
    """The admin listener of a running daemon.

    `url` is `http://HOST:PORT`, or `unix:PATH` for a Unix socket. `file` is the one whose `admin:`
    block names it, `None` if the operator does. Every method raises `AdminError` when there is no
    answer.
    """

    url: str
    token: str | None = None
    file: Path | None = None

    @classmethod
    def of(cls, file: Path, environ: Mapping[str, str]) -> AdminClient | None:
        """Find the daemon that serves `file` by its `admin:` block; `None` when there is no block.

        A broken file is replaced by the configuration accepted last. Raises `ConfigError` when
        there is none.
        """
        admin = config_of(file, environ).admin
        return cls(admin_url(admin), admin.token, file) if admin else None

    async def status(self) -> dict[str, Any]:
        """Return the status of the daemon."""
        _, answer = await self._ask("GET", "/-/status")
        return answer

    async def reload(self) -> Verdict:
        """Let the daemon reload; return its verdict.

        Raises `AdminError` if it serves another file than `file`: it would reload that one.
        """
        if self.file is not None:
            served = await self._served()
            if _is_other(self.file, served):
                raise AdminError(
                    f"the daemon serves {served} and reloads no other file; to serve {self.file}"
                    f" instead, copy it there and write: sockgw reload {served}"
                )
        _, answer = await self._ask("POST", "/-/reload")
        with readable(self.url):
            return Verdict(
                trigger=answer["trigger"],
                result=answer["result"],
                generation=answer["generation"],
                at=answer["at"],
                seconds=float(answer["seconds"]),
                plan=_plan(answer),
                problems=problems_in(answer),
                recovered=bool(answer.get("recovered")),  # a daemon of a former version has none
            )

    async def upgrade(self) -> Successor:
        """Let another process of the program take over from the daemon; return it.

        Raises `AdminError` if the daemon serves another file than `file`, and `UpgradeError` if it
        serves on.
        """
        if self.file is not None and _is_other(self.file, served := await self._served()):
            raise AdminError(f"the daemon serves {served}; write: sockgw upgrade {served}")
        status, answer = await self._ask("POST", "/-/upgrade")
        with readable(self.url):
            if status != 200:
                raise UpgradeError(_text(answer["error"]), problems_in(answer))
            return Successor(int(answer["pid"]), float(answer["seconds"]))

    async def _served(self) -> Path:
        with readable(self.url):
            return Path(_text((await self.status())["file"]))

    async def plan(self, file: Path) -> tuple[Plan, int]:
        """Return what serving `file` would change, and how many sockets that would close.

        The daemon reads it where it runs, so `file` must be absolute. On a TCP port without a
        token it compares only its own file. Raises `ConfigError` when it would not serve `file`.
        """
        status, answer = await self._ask("POST", "/-/plan", {"file": str(file)})
        with readable(self.url):
            if status != 200:
                raise ConfigError(problems_in(answer))
            return _plan(answer), int(answer["closed"])

    async def _ask(
        self, method: str, path: str, body: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        base, unix = reached_by(self.url)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(unix) if unix else None,
                    timeout=aiohttp.ClientTimeout(sock_connect=CONNECT),
                    headers=headers,
                ) as session,
                session.request(method, base + path, json=body) as response,
            ):
                if response.status in (200, 409):
                    with readable(self.url):
                        return response.status, dict(await response.json())
                raise AdminError(await self._refusal(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise AdminError(f"no daemon can be reached at {self.url}") from None
        except (aiohttp.InvalidURL, aiohttp.ContentTypeError):
            raise AdminError(f"{self.url} is no admin listener of sockgw") from None
        except aiohttp.ClientError as error:
            raise AdminError(f"the daemon at {self.url} did not answer: {error}") from None

    async def _refusal(self, response: aiohttp.ClientResponse) -> str:
        if response.status == 401:
            return f"the daemon at {self.url} takes another token; give it with --token"
        if response.status == 403:
            with readable(self.url):
                answer = await response.json()
            match answer:
                case {"error": str(reason)}:
                    return f"the daemon at {self.url} refuses: {reason}"
        return f"{self.url} is no admin listener of sockgw"


@contextmanager
def readable(url: str) -> Iterator[None]:
    """Turn what an answer of an unknown shape leads to into an `AdminError`."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise AdminError(f"{url} gave an answer that is not sockgw's") from None


def problems_in(answer: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Return the problems in a verdict or in the answer to a plan."""
    return tuple(map(Problem.from_dict, answer["problems"]))


def config_of(file: Path, environ: Mapping[str, str]) -> GatewayConfig:
    """Load `file` or, if it is broken, the configuration accepted last.

    Raises `ConfigError` when neither can be loaded.
    """
    try:
        return config.load(file, environ)
    except ConfigError:
        last_good = LastGood(file, environ)
        if last_good.file is None:
            raise
        return config.load(last_good.file, environ, last_good.beside)


def admin_url(admin: AdminConfig) -> str:
    """Return the address of an admin listener: `http://HOST:PORT` or `unix:PATH`."""
    return f"unix:{admin.socket}" if admin.socket else http_url(admin.host, admin.port)


def reached_by(url: str) -> tuple[str, str | None]:
    """Return what requests to an admin listener begin with, and its Unix socket; `None` for TCP."""
    if url.startswith("unix:"):
        return "http://localhost", url.removeprefix("unix:")
    return url, None


def http_url(host: str, port: int, scheme: str = "http") -> str:
    """Return the address at which a listener on `host` can be reached from its own machine."""
    host = _ANY.get(host, host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _is_other(file: Path, served: Path) -> bool:
    """Tell whether a daemon serves another file; one in a container may name it otherwise."""
    if os.path.realpath(file) == os.path.realpath(served) or not served.exists():
        return False
    return not (file.exists() and file.samefile(served))


def _plan(answer: Mapping[str, Any]) -> Plan:
    keys = ("changes", "removed", "pending")
    return Plan(*(tuple(map(_text, answer[key])) for key in keys))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
