"""nginx and HAProxy before several gateways, configured as `docs/scaling.md` says.

The text of the document is run as it is, but for ports, addresses and paths.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.certificates import TLS
from tests.ports import free_port
from tests.programs.proxies import NGINX, changed, recipes, running

__all__ = ["BALANCERS", "RECIPES", "haproxy", "nginx"]

RECIPES = recipes(Path(__file__).parents[2] / "docs/scaling.md")

Ports = Sequence[tuple[int, int]]
"""The two ports of each of two gateways: that for clients, and that of its admin listener."""


@asynccontextmanager
async def nginx(folder: Path, ports: Ports, *, is_sticky: bool) -> AsyncIterator[int]:
    """Run nginx before gateways at `127.0.0.1`; gives its port."""
    port = free_port()
    (first, _), (second, _) = ports
    changes = {
        "server 10.0.0.1:7001;": f"server 127.0.0.1:{first};",
        "server 10.0.0.2:7001;": f"server 127.0.0.1:{second};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/ssl/chat.example.pem": str(TLS / "one.pem"),
        "/etc/ssl/chat.example.key": str(TLS / "one.key"),
    }
    if is_sticky:
        changes["# hash $remote_addr"] = "hash $remote_addr"
    [text] = [text for kind, text in RECIPES if kind == "nginx"]
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, recipe=changed(text, changes)))
    async with running("nginx", port, "-e", "stderr", "-p", str(folder), "-c", str(file)):
        yield port


@asynccontextmanager
async def haproxy(folder: Path, ports: Ports, *, is_sticky: bool) -> AsyncIterator[int]:
    """Run HAProxy before gateways at `127.0.0.1`; gives its port."""
    port = free_port()
    both = folder / "both.pem"
    both.write_text((TLS / "one.pem").read_text() + (TLS / "one.key").read_text())
    (first, first_admin), (second, second_admin) = ports
    changes = {
        "fall 3": "fall 1000",  # a busy machine may not answer in time
        "bind :443": f"bind 127.0.0.1:{port}",
        "/etc/ssl/chat.example.pem": str(both),
        "10.0.0.1:7001 port 7002": f"127.0.0.1:{first} port {first_admin}",
        "10.0.0.2:7001 port 7002": f"127.0.0.1:{second} port {second_admin}",
    }
    if is_sticky:
        changes["    balance leastconn\n    # balance"] = "    balance"
        changes["# hash-type"] = "hash-type"
    [text] = [text for kind, text in RECIPES if kind == "haproxy"]
    file = folder / "haproxy.cfg"
    file.write_text(changed(text, changes))
    async with running("haproxy", port, "-db", "-f", str(file)):
        yield port


BALANCERS = {"nginx": nginx, "haproxy": haproxy}
