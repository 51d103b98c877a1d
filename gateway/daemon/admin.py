"""The admin listener: health, status, metrics, reload and plan, over HTTP."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.config import is_special
from gateway.config.model import AdminConfig, GatewayConfig
from gateway.daemon.access import NOT_FOR_PAGES, expect, has_token, is_named, is_of_a_page
from gateway.daemon.fleet import Fleet
from gateway.daemon.listener import AppServer, Listener
from gateway.daemon.loading import Loading
from gateway.daemon.metrics import Metrics
from gateway.daemon.plan import Plan
from gateway.daemon.reload import Reloader, Verdict, placed
from gateway.daemon.upgrade import Successor, UpgradeError, Upgrades
from gateway.daemon.watcher import Watcher
from gateway.engineio.violations import EventCounter
from gateway.errors import ConfigError, Place, Problem

__all__ = ["AdminApi", "AdminLog", "add_routes", "admin_listener", "verdict_json"]

OPEN = ("/healthz", "/readyz")

OWN_FILE_ONLY = (
    "no other file than the daemon's own is compared, since its plugins would be imported for"
    " anybody on this machine: set admin.token, or listen on admin.socket"
)


class AdminApi:
    """The operations of the admin listener on a gateway that serves `file`.

    `is_stopping` is true once the daemon was asked to stop.
    """

    def __init__(
        self,
        file: Path,
        *,
        loading: Loading,
        fleet: Fleet,
        watcher: Watcher,
        reloader: Reloader,
        metrics: Metrics,
        upgrades: Upgrades,
        is_stopping: Callable[[], bool],
    ) -> None:
        self.file = file
        self._loading = loading
        self._fleet = fleet
        self._watcher = watcher
        self._reloader = reloader
        self._metrics = metrics
        self._upgrades = upgrades
        self._is_stopping = is_stopping
        self._started = time.time()

    @property
    def admin(self) -> AdminConfig | None:
        """The listener's configuration; `None` for an instant after a reload removed it."""
        config = self._config
        return config.admin if config else None

    @property
    def _config(self) -> GatewayConfig | None:
        return self._fleet.snapshot.config if self._fleet.snapshot else None

    @property
    def ready(self) -> bool:
        """True while the gateway serves and is not about to stop."""
        return self._fleet.generation > 0 and not self._is_stopping()

    async def is_ready(self) -> bool:
        """Like `ready`, and connected to the other members if `cluster.readyz` asks for that."""
        config = self._config
        if not self.ready or config is None or config.cluster is None:
            return self.ready
        if config.cluster.readyz == "always":
            return True
        status = await self._fleet.status()
        return bool(status.get("cluster", {}).get("up"))

    async def metrics(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return await self._metrics.text()

    async def reload(self) -> Verdict:
        """Reload now."""
        return await self._reloader.request("admin")

    async def upgrade(self) -> Successor:
        """Let another process of the program take over. Raises `UpgradeError`."""
        if self._is_stopping():
            raise UpgradeError("the gateway is stopping")
        return await self._upgrades.request()

    async def plan(self, file: Path | None) -> tuple[Plan, int]:
        """Return the plan of serving `file` now, and how many sockets that would close.

        `None` is the gateway's own file. Raises `ConfigError`.
        """
        if file is not None and is_special(file):
            raise ConfigError([Problem(Place(str(file)), "", "this is not a file")])
        snapshot = await self._loading.snapshot(file or self.file, self._config)
        with placed(snapshot):
            return await self._fleet.plan(snapshot)

    async def status(self) -> dict[str, Any]:
        """Return the state of the gateway as JSON has it."""
        reloader = self._reloader
        degraded = reloader.degraded.problems if reloader.degraded else ()
        return {
            "file": str(self.file.absolute()),
            "url": self._fleet.listener.url,
            "version": version("sockgw"),
            "pid": os.getpid(),
            "started": self._started,
            "degraded": _problems(degraded),
            "last_reload": verdict_json(reloader.last) if reloader.last else None,
            "watcher": {"mode": self._watcher.mode, "up": self._watcher.up},
            **await self._fleet.status(),
            "time": time.time(),
        }


def admin_listener(app: web.Application, former: socket.socket | None) -> Listener:
    """Make the listener of `app`; its connections end when its address changes.

    `former` is as of `Listener`.
    """
    return Listener(AppServer(app, AdminLog()), former)


def add_routes(app: web.Application, api: AdminApi) -> None:
    """Let `app` answer with what `api` says: JSON, but for `/metrics`."""
    routes = _Routes(api)
    app.middlewares.append(routes.authorize)
    gets = {
        "/healthz": routes.healthz,
        "/readyz": routes.readyz,
        "/-/status": routes.status,
        "/metrics": routes.metrics,
    }
    for path, get in gets.items():
        app.router.add_get(path, get, expect_handler=expect)
    app.router.add_post("/-/reload", routes.reload, expect_handler=expect)
    app.router.add_post("/-/upgrade", routes.upgrade, expect_handler=expect)
    app.router.add_post("/-/plan", routes.plan, expect_handler=expect)
    app.router.add_route("*", "/{path:.*}", _nothing, expect_handler=expect)


async def _nothing(request: web.Request) -> web.StreamResponse:
    """Refuse a path, or a method, that there is not."""
    there = [each for each in request.app.router.routes() if each.handler is not _nothing]
    of_path = [each for each in there if each.resource and each.resource.canonical == request.path]
    if of_path:
        raise web.HTTPMethodNotAllowed(request.method, [each.method for each in of_path])
    raise web.HTTPNotFound


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON has it."""
    return {
        "trigger": verdict.trigger,
        "result": verdict.result,
        "generation": verdict.generation,
        "at": verdict.at,
        "seconds": round(verdict.seconds, 6),
        **asdict(verdict.plan),
        "recovered": verdict.recovered,
        "problems": _problems(verdict.problems),
    }


class _Routes:
    """The handlers of the admin listener."""

    def __init__(self, api: AdminApi) -> None:
        self._api = api

    @web.middleware
    async def authorize(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        # A web page in the operator's browser must not reload a gateway on loopback.
        if is_of_a_page(request):
            return web.json_response({"error": NOT_FOR_PAGES}, status=403)
        if self._is_rebound(request):
            error = "this host name is not allowed: use localhost, or set admin.token"
            return web.json_response({"error": error}, status=403)
        if request.path in OPEN or self._is_authorized(request):
            return await handler(request)
        return web.json_response({"error": "a bearer token is needed"}, status=401)

    def _is_authorized(self, request: web.Request) -> bool:
        admin = self._api.admin
        token = admin.token if admin else None
        return token is None or has_token(request, token)

    def _is_rebound(self, request: web.Request) -> bool:
        """True for a web page that has its own host name lead to a listener without a token."""
        admin = self._api.admin
        if admin is None or admin.token or admin.socket:
            return False
        return not is_named(request, [admin.host.lower()])

    def _is_guarded(self) -> bool:
        """Tell whether only those who may run code as the daemon can get here."""
        admin = self._api.admin
        return admin is not None and (admin.socket is not None or admin.token is not None)

    async def healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"healthy": True})

    async def readyz(self, request: web.Request) -> web.Response:
        ready = await self._api.is_ready()
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(await self._api.status())

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=await self._api.metrics(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def reload(self, request: web.Request) -> web.Response:
        verdict = await self._api.reload()
        status = 409 if verdict.result == "failed" else 200
        return web.json_response(verdict_json(verdict), status=status)

    async def upgrade(self, request: web.Request) -> web.Response:
        try:
            successor = await self._api.upgrade()
        except UpgradeError as error:
            found = {"error": str(error), "problems": _problems(error.problems)}
            return web.json_response(found, status=409)
        return web.json_response(asdict(successor))

    async def plan(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json() if request.can_read_body else {}
            other = self._other(asked)
        except (ValueError, RecursionError, web.RequestPayloadError):
            return web.json_response({"error": 'expected {"file": "PATH"}'}, status=400)
        if other is not None and not self._is_guarded():
            return web.json_response({"error": OWN_FILE_ONLY}, status=403)
        try:
            plan, closed = await self._api.plan(other)
        except ConfigError as error:
            return web.json_response({"problems": _problems(error.problems)}, status=409)
        return web.json_response({**asdict(plan), "closed": closed, "problems": []})

    def _other(self, asked: object) -> Path | None:
        """Return the requested file, `None` for the daemon's own. Raises `ValueError`."""
        file = asked.get("file", "") if isinstance(asked, dict) else None
        if not isinstance(file, str):
            raise ValueError(file)
        return None if not file or _is_same(Path(file), self._api.file) else Path(file)


def _is_same(file: Path, own: Path) -> bool:
    # Plugins lie beside the file: a link to it from elsewhere leads to others.
    return (file.parent.resolve(), file.name) == (own.parent.resolve(), own.name)


def _problems(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [
        {
            **problem.as_dict(),
            "file": os.path.abspath(problem.place.file),  # the client may be in another folder
        }
        for problem in problems
    ]


_BAD_HTTP = "http"


class AdminLog(logging.LoggerAdapter[logging.Logger]):
    """The logger aiohttp gets: requests that are no HTTP are counted, not logged one by one.

    At most one line a second is logged about them. Faults are logged as they are.
    """

    def __init__(self, listener: str = "admin") -> None:
        super().__init__(logging.getLogger("sockgw.admin"), {})
        self._who = f"a client of the {listener} listener"
        self._counter = EventCounter("violation", [_BAD_HTTP])

    def exception(self, msg: object, *args: object, **facts: Any) -> None:
        if not self._is_counted(facts.get("exc_info")):
            super().exception(msg, *args, **facts)

    def debug(self, msg: object, *args: object, **facts: Any) -> None:
        """Count what may be TLS; the rest that aiohttp logs here is of no use."""
        self._is_counted(facts.get("exc_info"))

    def _is_counted(self, error: object) -> bool:
        """Count an error that a client caused; tell whether it was one."""
        if not isinstance(error, HttpProcessingError | web.RequestPayloadError):
            return False
        self._counter.record(_BAD_HTTP, self._who, type(error).__name__)
        return True
