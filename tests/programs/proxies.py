"""nginx and HAProxy in front of a gateway, configured as `docs/proxies.md` says.

The text of the document is run as it is, but for ports, addresses and paths.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from tests.certificates import TLS
from tests.deadline import DEADLINE, deadline
from tests.ports import free_port
from tests.programs.apt import environ, program

__all__ = ["NGINX", "RECIPES", "changed", "haproxy", "nginx", "recipe", "recipes", "running"]

DOCUMENT = Path(__file__).parents[2] / "docs/proxies.md"


def recipes(document: Path) -> list[tuple[str, str]]:
    """The language and the text of each recipe in a document."""
    blocks = r"^```(nginx|haproxy)\n(.*?)^```$"
    return re.findall(blocks, document.read_text(), re.DOTALL | re.MULTILINE)


RECIPES = recipes(DOCUMENT)

# What the document leaves to the distribution. One process, without any other user.
NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 10000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {recipe}
}}
"""


def recipe(language: str, number: int, changes: Mapping[str, str]) -> str:
    """A recipe of the document in which each of the `changes` is made, once."""
    return changed([text for kind, text in RECIPES if kind == language][number], changes)


def changed(text: str, changes: Mapping[str, str]) -> str:
    """A recipe in which each of the `changes` is made, once."""
    for old, new in changes.items():
        assert text.count(old) == 1, f"the recipe has {old!r} {text.count(old)} times"
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def nginx(folder: Path, *upstreams: int | str, has_tls: bool = True) -> AsyncIterator[int]:
    """Run nginx before gateways, each a port at `[::1]` or an address with one; gives its port."""
    port = free_port()
    addresses = [each if isinstance(each, str) else f"[::1]:{each}" for each in upstreams]
    text = recipe(
        "nginx",
        0,
        {
            "server 127.0.0.1:7001;": " ".join(f"server {each};" for each in addresses),
            "listen 443 ssl;": f"listen 127.0.0.1:{port}{' ssl' if has_tls else ''};",
            "/etc/ssl/chat.example.pem": str(TLS / "one.pem"),
            "/etc/ssl/chat.example.key": str(TLS / "one.key"),
        },
    )
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, recipe=text))
    options = ["-e", "stderr", "-p", str(folder), "-c", str(file)]
    async with running("nginx", port, *options):
        yield port


@asynccontextmanager
async def haproxy(
    folder: Path, upstream: int, mode: Literal["http", "tcp", "tcp-tls"] = "http"
) -> AsyncIterator[int]:
    """Run HAProxy before the gateway at `[::1]:upstream`; gives its port.

    In the modes for TCP it announces clients, and with `tcp-tls` ends TLS as the document mentions.
    """
    port = free_port()
    both = folder / "both.pem"
    both.write_text((TLS / "one.pem").read_text() + (TLS / "one.key").read_text())
    bind = f"bind 127.0.0.1:{port}"
    changes = {"server one 127.0.0.1:7001": f"server one [::1]:{upstream}"}
    if mode == "http":
        changes |= {"bind :443": bind, "/etc/ssl/chat.example.pem": str(both)}
    elif mode == "tcp":
        changes |= {"bind :443": bind}
    else:
        changes |= {"bind :443": f"{bind} ssl crt {both}", "send-proxy-v2": "send-proxy-v2-ssl"}
    file = folder / "haproxy.cfg"
    file.write_text(recipe("haproxy", 0 if mode == "http" else 1, changes))
    async with running("haproxy", port, "-db", "-f", str(file)):
        yield port


@asynccontextmanager
async def running(name: str, port: int, *options: str) -> AsyncIterator[None]:
    """Run a program that listens on a port in the end."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program(name), *options, env=environ(), stdin=asyncio.subprocess.DEVNULL, stderr=pipe
    )
    try:
        await _listening(process, port)
        yield
    finally:
        if process.returncode is None:
            process.kill()  # nginx and HAProxy would wait for their clients
        async with deadline():
            await process.communicate()


async def _listening(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until a program listens. Raises `AssertionError` with its words if it ends."""
    async with asyncio.timeout(DEADLINE):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            await writer.wait_closed()
            return
    _, told = await process.communicate()
    raise AssertionError(told.decode())
