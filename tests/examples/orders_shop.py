"""The example `examples/orders`, run from a copy by its own Makefile, on ports of its own."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.deadline import deadline, until
from tests.js.install import HERE as JS
from tests.js.install import NODE
from tests.ports import free_port
from tests.programs.servers import listens

__all__ = ["EXAMPLE", "Shop", "copied"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "orders"
MADE = shutil.ignore_patterns(".venv", "secrets.env", "node_modules", "__pycache__", "admin.sock")
PORTS = {"gateway": "7001", "api": "7003", "orders": "9001", "support": "9002"}
STAMPS = (".venv/installed", "node_modules/installed")


# A shell has what it runs in the background ignore Ctrl-C, and that is inherited.
HEEDS_CTRL_C = """\
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Shop:
    """A copy of the example in `folder`; `ports` are those it listens on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in PORTS}
        self.environ: dict[str, str] = {}
        self.output: dict[str, list[str]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}"

    async def make(self, *targets: str) -> asyncio.subprocess.Process:
        """Begin to make targets, as somebody does in a terminal of its own."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HEEDS_CTRL_C),
            *("make", f"BIN={Path(sys.executable).parent}", f"NODE={NODE}", *targets),
            cwd=self.folder,
            env={**os.environ, "XDG_STATE_HOME": str(self.folder / "state")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    @asynccontextmanager
    async def running(self, *targets: str, name: str = "") -> AsyncIterator[None]:
        """Make targets until the end, which is a Ctrl-C; gives back once all `targets` listen."""
        process = await self.make(*([name] if name else []))
        lines = self.output[name] = []
        reading = asyncio.create_task(_read(process, lines))
        try:
            for each in targets:
                await listens(self.ports[each], process)
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            async with deadline():
                await process.wait()
                await reading  # ends with the last process that writes there
            print(*lines)  # for the one who reads why a test has failed

    async def reads(self, text: str) -> None:
        """Wait until the output of something has a text."""
        await until(lambda: any(text in line for lines in self.output.values() for line in lines))


async def _read(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        lines.append(line.decode())


async def copied(folder: Path) -> Shop:
    """Copy the example, with what the tests have installed; its Makefile makes the secrets."""
    shutil.copytree(EXAMPLE, folder, ignore=MADE)
    shop = Shop(folder)
    for file in ("gateway.yaml", "Makefile"):
        text = (folder / file).read_text()
        for name, port in PORTS.items():
            text = re.sub(rf"\b{port}\b", str(shop.ports[name]), text)
        (folder / file).write_text(text)
    for stamp in STAMPS:
        (folder / stamp).parent.mkdir()
        (folder / stamp).touch()
    (folder / "node_modules" / "standardwebhooks").symlink_to(
        JS / "node_modules" / "standardwebhooks"
    )
    process = await shop.make("secrets.env")
    async with deadline():
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    found = re.findall(r"^export (\w+)=(\S+)$", (folder / "secrets.env").read_text(), re.MULTILINE)
    shop.environ = dict(found)
    return shop
