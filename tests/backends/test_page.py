"""The backends that docs/backends.md shows, run as it says, behind the gateway that it shows."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.testing import Refused, TestGateway
from tests.backends.conftest import SECRET
from tests.deadline import until
from tests.js.install import HERE as JS
from tests.js.install import NODE
from tests.ports import free_port
from tests.programs.servers import listens

PAGE = (Path(__file__).parents[2] / "docs" / "backends.md").read_text()
BLOCKS = [(found[1], found[2]) for found in re.finditer(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)]


def block(language: str, begins: str) -> str:
    return next(text for kind, text in BLOCKS if kind == language and text.startswith(begins))


@asynccontextmanager
async def program_on(command: Sequence[str | Path], port: int, folder: Path) -> AsyncIterator[None]:
    """A program that listens on a port once it is up."""
    environ = {
        **os.environ,
        "ORDERS_SECRET": SECRET,
        "PORT": str(port),
        "NODE_PATH": str(JS / "node_modules"),
    }
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environ, stdout=quiet, stderr=quiet
    )
    try:
        await listens(port, process)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def node(folder: Path, port: int) -> list[str | Path]:
    (folder / "backend.js").write_text(block("js", "// backend.js"))
    return [NODE, "backend.js"]


def flask(folder: Path, port: int) -> list[str | Path]:
    (folder / "backend.py").write_text(block("python", "import os"))
    return [sys.executable, "-m", "flask", "--app", "backend", "run", "--port", str(port)]


@pytest.mark.parametrize("program", [node, flask])
async def test_a_backend_of_the_page_answers(
    js_packages: None,
    tmp_path: Path,
    program: Callable[[Path, int], list[str | Path]],
) -> None:
    port = free_port()
    config = block("yaml", "# gateway.yaml").replace("127.0.0.1:9000", f"127.0.0.1:{port}")
    (tmp_path / "gateway.yaml").write_text(config)
    (tmp_path / "plugins").mkdir()
    environ = {"ORDERS_SECRET": SECRET}
    async with (
        program_on(program(tmp_path, port), port, tmp_path),
        TestGateway(tmp_path / "gateway.yaml", environ) as gateway,
    ):
        with pytest.raises(Refused, match="log in first"):
            await gateway.connect("/shop", auth={"token": "wrong"})
        client = await gateway.connect("/shop", auth={"token": "secret"}, timeout=60)
        [order] = await client.call("order.create", {"sku": "tea"})
        assert order == {"id": 7, "sku": "tea", "name": "ann"}
        [socket] = await gateway.gateway.of("/shop").sockets()
        assert "customers" in socket.rooms
        figures = gateway._build.backends["orders"].figures
        await client.disconnect()
        await until(lambda: figures.outcomes["ok"] == 3)


@pytest.mark.parametrize("program", [node, flask])
async def test_it_takes_no_request_of_anybody_else(
    js_packages: None, tmp_path: Path, program: Callable[[Path, int], list[str | Path]]
) -> None:
    port = free_port()
    config = block("yaml", "# gateway.yaml").replace("127.0.0.1:9000", f"127.0.0.1:{port}")
    (tmp_path / "gateway.yaml").write_text(config)
    (tmp_path / "plugins").mkdir()
    environ = {"ORDERS_SECRET": "whsec_" + "QUJD" * 8}
    async with (
        program_on(program(tmp_path, port), port, tmp_path),
        TestGateway(tmp_path / "gateway.yaml", environ) as gateway,
    ):
        with pytest.raises(Refused) as caught:
            await gateway.connect("/shop", auth={"token": "secret"}, timeout=60)
    assert caught.value.data == {"code": "unauthorized"}
