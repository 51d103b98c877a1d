"""The admin listener's application: health, status, metrics, reload and plan."""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from gateway.config.model import AdminConfig
from gateway.daemon.plan import Plan
from gateway.daemon.reloader import Verdict
from gateway.errors import ConfigError, Problem

__all__ = ["Overseer", "admin_application", "verdict_json"]

OPEN = ("/healthz", "/readyz")

OWN_FILE_ONLY = (
    "no other file than the daemon's own is compared, since its plugins would be imported for"
    " anybody on this machine: set admin.token, or listen on admin.socket"
)


class Overseer(Protocol):
    """What the admin listener tells of and asks for."""

    @property
    def admin(self) -> AdminConfig | None:
        """How it listens; `None` for an instant, when it does not any more."""

    @property
    def file(self) -> Path:
        """What the daemon serves."""

    @property
    def ready(self) -> bool: ...

    def status(self) -> dict[str, Any]: ...

    def metrics(self) -> bytes: ...

    async def reload(self) -> Verdict: ...

    async def plan(self, file: Path | None) -> tuple[Plan, int]:
        """The plan of serving `file` now and how many sockets it closes. Raises `ConfigError`."""


def admin_application(overseer: Overseer) -> web.Application:
    """The application; its answers are JSON but for `/metrics`."""
    routes = _Routes(overseer)
    app = web.Application(middlewares=[routes.authorize])
    app.router.add_get("/healthz", routes.healthz)
    app.router.add_get("/readyz", routes.readyz)
    app.router.add_get("/-/status", routes.status)
    app.router.add_get("/metrics", routes.metrics)
    app.router.add_post("/-/reload", routes.reload)
    app.router.add_post("/-/plan", routes.plan)
    return app


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the admin listener tells it."""
    return {
        "trigger": verdict.trigger,
        "result": verdict.result,
        "generation": verdict.generation,
        "at": verdict.at,
        "seconds": round(verdict.seconds, 6),
        **asdict(verdict.plan),
        "problems": _problems(verdict.problems),
    }


class _Routes:
    def __init__(self, overseer: Overseer) -> None:
        self._overseer = overseer

    @web.middleware
    async def authorize(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        # No page that the operator's browser shows may reload a gateway on loopback.
        if "Origin" in request.headers:
            return web.json_response({"error": "not for web pages"}, status=403)
        if request.path in OPEN or self._is_authorized(request):
            return await handler(request)
        return web.json_response({"error": "a bearer token is needed"}, status=401)

    def _is_authorized(self, request: web.Request) -> bool:
        admin = self._overseer.admin
        token = admin.token if admin else None
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        return token is None or hmac.compare_digest(given, f"Bearer {token}".encode())

    def _is_guarded(self) -> bool:
        """Whether nobody gets here but those who may run code as the daemon."""
        admin = self._overseer.admin
        return admin is not None and (admin.socket is not None or admin.token is not None)

    async def healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"healthy": True})

    async def readyz(self, request: web.Request) -> web.Response:
        ready = self._overseer.ready
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(self._overseer.status())

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self._overseer.metrics(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def reload(self, request: web.Request) -> web.Response:
        verdict = await self._overseer.reload()
        status = 409 if verdict.result == "failed" else 200
        return web.json_response(verdict_json(verdict), status=status)

    async def plan(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json() if request.can_read_body else {}
            other = self._other(asked)
        except ValueError:
            return web.json_response({"error": 'expected {"file": "PATH"}'}, status=400)
        if other is not None and not self._is_guarded():
            return web.json_response({"error": OWN_FILE_ONLY}, status=403)
        try:
            plan, closed = await self._overseer.plan(other)
        except ConfigError as error:
            return web.json_response({"problems": _problems(error.problems)}, status=409)
        return web.json_response({**asdict(plan), "closed": closed, "problems": []})

    def _other(self, asked: object) -> Path | None:
        """The file that is asked about, `None` for the daemon's own. Raises `ValueError`."""
        file = asked.get("file", "") if isinstance(asked, dict) else None
        if not isinstance(file, str):
            raise ValueError(file)
        return None if not file or _is_same(Path(file), self._overseer.file) else Path(file)


def _is_same(file: Path, own: Path) -> bool:
    # Plugins lie beside the file: a link to it from elsewhere leads to others.
    return (file.parent.resolve(), file.name) == (own.parent.resolve(), own.name)


def _problems(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [
        {
            "file": os.path.abspath(problem.place.file),  # who asks may be in another folder
            "line": problem.place.line,
            "column": problem.place.column,
            "path": problem.path,
            "message": problem.message,
        }
        for problem in problems
    ]
