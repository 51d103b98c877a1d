"""A daemon on real files that are edited while it runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import aiohttp

from gateway.daemon.daemon import Daemon, StartupInfo
from gateway.daemon.reload import Verdict
from tests.deadline import DEADLINE, deadline, until
from tests.gateway_files import write
from tests.reload.calling_client import caller

__all__ = ["CONFIG", "SAY", "WATCHED", "Running", "running", "until"]

WATCHED = "reload: {quiet: 20ms, poll_interval: 1h}\n"
"""Watched by events alone: the next poll comes too late for any test."""

CONFIG = """
reload: {watch: "off"}
namespaces:
  /:
    routes: {say: chat.say}
"""

SAY = 'async def say(ctx): return "{}"\n'


class Verdicts:
    """The verdicts so far, and those nobody has waited for yet."""

    def __init__(self) -> None:
        self.all: list[Verdict] = []
        self.new: asyncio.Queue[Verdict] = asyncio.Queue()

    def heard(self, verdict: Verdict) -> None:
        self.all.append(verdict)
        self.new.put_nowait(verdict)


class Running:
    """A daemon, the folder it serves and the verdicts on its reloads."""

    def __init__(self, daemon: Daemon, file: Path, info: StartupInfo, heard: Verdicts) -> None:
        self.daemon = daemon
        self.file = file
        self.folder = file.parent
        self.serving = info.serving
        self.admin = info.admin
        self.watcher = info.watcher
        self.api = info.api
        self.degraded = info.degraded
        self.verdicts = heard.all
        self._new = heard.new

    @property
    def url(self) -> str:
        return self.serving.listener.url

    @property
    def live(self) -> Any:
        return self.serving.sockets.live

    async def verdict(self) -> Verdict:
        """The next verdict on a reload that nobody waits for."""
        async with deadline():
            return await self._new.get()

    async def reload(self) -> Verdict:
        """Reload now, as the admin listener does."""
        async with deadline():
            verdict = await self.api.reload()
        while self._new.qsize() and self._new.get_nowait() is not verdict:
            pass
        return verdict

    async def get(self, path: str, **options: Any) -> Any:
        """What the admin listener answers."""
        return await self._ask("GET", path, **options)

    async def metric(self, name: str) -> int:
        """The value of a metric, with the labels in its name."""
        metrics = await self.get("/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", metrics, re.MULTILINE)
        assert found is not None
        return int(float(found[1]))

    async def post(self, path: str, **options: Any) -> Any:
        return await self._ask("POST", path, **options)

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        url = self.admin.url
        unix = url.removeprefix("unix:") if url.startswith("unix:") else None
        connector = aiohttp.UnixConnector(unix) if unix else None
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, ("http://x" if unix else url) + path, **options) as response,
        ):
            if response.content_type == "application/json":
                return await response.json()
            return await response.text()

    def config(self, text: str) -> None:
        self.file.write_text(dedent(text))

    def plugin(self, name: str, source: str) -> Path:
        """Write plugins/NAME.py."""
        path = self.folder / "plugins" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
        return path

    def say(self, word: str) -> None:
        """Have plugins/chat.py answer `say` with this word."""
        self.plugin("chat", SAY.format(word))

    async def said(self) -> object:
        """What a new client is answered."""
        async with caller(self.url) as client:
            answer: list[object] = await client.call("say")
        return answer[0] if len(answer) == 1 else answer


@asynccontextmanager
async def running(
    folder: Path,
    config: str = CONFIG,
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
    last_good: bool = False,
    port: int | None = 0,
    **plugins: str,
) -> AsyncIterator[Running]:
    """Write the files, unless `file` is one that stands, and serve it.

    On a free port; with `port` of `None` on the one that the file says.
    """
    if file is None:
        file = write(folder, config, **(plugins or {"chat": SAY.format("one")}))
    environ = {"XDG_STATE_HOME": str(folder / "state"), **(environ or {})}
    daemon = Daemon(file, environ=environ, port=port, last_good=last_good)
    verdicts = Verdicts()
    started: asyncio.Future[StartupInfo] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(daemon.run(started.set_result, verdicts.heard))
    await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE)
    if not started.done():
        serving.cancel()
        await serving  # raises why not
    one = Running(daemon, file, started.result(), verdicts)
    try:
        yield one
    finally:
        daemon.stop()
        async with deadline():
            await serving
