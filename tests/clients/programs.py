"""The clients of the table, and how each makes its checks: in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

from tests.app_site import serve_app
from tests.browser import chromium
from tests.clients.install import BUN, DENO, HERE, PACKAGES, PYTHONS
from tests.deadline import DEADLINE
from tests.js.install import NODE

__all__ = ["CLIENTS", "Client", "Runtime", "Task", "checked"]

Runtime = Literal["Node", "Bun", "Deno", "Chrome", "python-socketio 5.0", "python-socketio 5.18"]
Task = dict[str, Any]
Reports = dict[str, Any]

LONGEST = 2 * DEADLINE
"""Seconds after which a client is given up that does not do so itself."""

BUNDLE = PACKAGES / "client4.8/dist/socket.io.js"


@dataclass(frozen=True, slots=True)
class Client:
    """A client: `package` is npm's or a class of python-socketio, `extra` what it is used with."""

    name: str
    runtime: Runtime
    package: str
    extra: Literal["", "msgpack", "fetch"] = ""

    def __str__(self) -> str:
        return self.name.replace(" ", "-").lower()

    @property
    def version(self) -> tuple[int, int]:
        """The client's version, as `(4, 8)`."""
        name = self.runtime if self.is_python else self.package
        major, minor = re.findall(r"\d+", name)
        return int(major), int(minor)

    @property
    def is_python(self) -> bool:
        return self.runtime.startswith("python")


CLIENTS = [
    Client("JavaScript 3.0", "Node", "client3.0"),
    Client("JavaScript 3.1", "Node", "client3.1"),
    Client("JavaScript 4.0", "Node", "client4.0"),
    Client("JavaScript 4.8", "Node", "client4.8"),
    Client("JavaScript 4.8 with fetch", "Node", "client4.8", "fetch"),
    Client("JavaScript 4.8 with msgpack", "Node", "client4.8", "msgpack"),
    Client("Bun", "Bun", "client4.8"),
    Client("Deno", "Deno", "client4.8"),
    Client("Chromium", "Chrome", "client4.8"),
    Client("python-socketio 5.0 Client", "python-socketio 5.0", "Client"),
    Client("python-socketio 5.0 AsyncClient", "python-socketio 5.0", "AsyncClient"),
    Client("python-socketio 5.18 Client", "python-socketio 5.18", "Client"),
    Client("python-socketio 5.18 AsyncClient", "python-socketio 5.18", "AsyncClient"),
]


async def checked(client: Client, task: Task, page_port: int) -> Reports:
    """Make the checks of a task; gives what the client got, by check, or the error it met.

    A page is served on `page_port`, which only a browser needs.
    """
    task = {**task, "client": f"./node_modules/{client.package}", "with": client.extra}
    if client.runtime == "Chrome":
        return await _in_browser(task, page_port)
    program = {
        "Node": [NODE, HERE / "node.mjs"],
        "Bun": [BUN, HERE / "node.mjs"],
        "Deno": [DENO, "run", "--allow-all", "--no-lock", "--node-modules-dir=manual", "node.mjs"],
    }
    if client.is_python:
        task["client"] = client.package
        environ = {"PYTHONPATH": str(PYTHONS[client.runtime.split()[1]])}
        return await _in_process([sys.executable, HERE / "checks.py"], task, environ)
    return await _in_process(program[client.runtime], task, {"NO_COLOR": "1"})


async def _in_process(program: list[str | Path], task: Task, environ: dict[str, str]) -> Reports:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *program,
        json.dumps(task),
        cwd=HERE,
        env={**os.environ, **environ},
        stdout=pipe,
        stderr=pipe,
    )
    try:
        async with asyncio.timeout(LONGEST):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    reports = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0, f"{reports}\n{err.decode()}"
    return _by_check(reports)


async def _in_browser(task: Task, port: int) -> Reports:
    reports: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    async with _page(task, port, reports) as url, chromium(url):
        done = []
        async with asyncio.timeout(LONGEST):
            while report := await reports.get():
                done.append(report)
        return _by_check(done)


def _by_check(reports: list[dict[str, Any]]) -> Reports:
    return {each["check"]: each.get("got", each.get("error")) for each in reports}


@asynccontextmanager
async def _page(task: Task, port: int, reports: asyncio.Queue[Any]) -> AsyncIterator[str]:
    async def take(request: web.Request) -> web.Response:
        reports.put_nowait(await request.json())
        return web.Response()

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(task)

    def file(path: Path) -> Any:
        async def serve(_: web.Request) -> web.FileResponse:
            return web.FileResponse(path)

        return serve

    app = web.Application()
    app.router.add_get("/", file(HERE / "page.html"))
    app.router.add_get("/checks.mjs", file(HERE / "checks.mjs"))
    app.router.add_get("/socket.io.js", file(BUNDLE))
    app.router.add_get("/task", tell)
    app.router.add_post("/report", take)
    async with serve_app(app, port) as url:
        yield f"{url}/"
