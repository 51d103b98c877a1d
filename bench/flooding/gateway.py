"""A gateway in a process of its own, and what the system says of it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.checkouts import Checkout
from bench.python import gateway_venv

__all__ = ["CONFIG", "Gateway", "Program", "program_of", "running"]

START_LIMIT = 120.0
"""Seconds it has to listen."""

CONFIG = """\
server: {port: 0}
admin: {socket: admin.sock}
namespaces:
  /:
    connection_middleware: [plugin.enter]
    routes: {say: plugin.say, drop: plugin.drop, rooms: plugin.rooms}
  /left: {connection_middleware: [plugin.enter]}
  /shut: {connection_middleware: [plugin.refuse]}
"""

PLUGIN = """\
from gateway import Reject

async def enter(ctx, next):
    await next()

async def refuse(ctx, next):
    raise Reject("no", "not you")

async def say(ctx):
    return None

async def drop(ctx, count):
    for _ in range(count):
        await ctx.socket.emit("drop", "x" * 10_000)

async def rooms(ctx, count):
    for number in range(count):
        await ctx.socket.join(f"{ctx.socket.id}-{number}")
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A gateway to run: the checkout its code comes from, and the Python it runs on."""

    checkout: Checkout
    python: str


class Gateway:
    """A running gateway, which listens on `port`."""

    def __init__(self, pid: int, port: int, folder: Path) -> None:
        self.pid, self.port, self._folder = pid, port, folder

    def cpu(self) -> float:
        """Seconds of CPU time that its threads have used."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def memory(self, *, peak: bool = False) -> int:
        """Bytes of its resident set, now or at the most."""
        found = re.search(
            rf"^{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB",
            Path(f"/proc/{self.pid}/status").read_text(),
            re.MULTILINE,
        )
        return int(found[1]) * 1024 if found else 0

    def descriptors(self) -> int:
        """Count of its open descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def metrics(self, *names: str) -> dict[str, int]:
        """Counts of the metrics with these names that are not 0, by their labels."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(60)
            line.connect(str(self._folder / "admin.sock"))
            line.sendall(b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: line.recv(2**16), b"")).decode()
        found = re.findall(rf"^(?:{'|'.join(names)})\{{(.+)\}} ([\d.e+]+)$", text, re.MULTILINE)
        return {labels: int(float(count)) for labels, count in found if float(count)}

    def faults(self) -> tuple[str, ...]:
        """Lines of its log that have a traceback or are no log, each up to 2,000 characters."""
        return tuple(line[:2000] for line in _log(self._folder) if _is_fault(line))

    def log_lines(self) -> int:
        """Count of the lines of its log."""
        return len(_log(self._folder))


def program_of(checkout: Checkout) -> Program:
    """The program of a checkout, with an environment of its own; installs it if need be."""
    venv = gateway_venv(checkout.folder)
    venv.install()
    return Program(checkout, venv.python)


@contextmanager
def running(
    program: Program, config: str = CONFIG, settings: Mapping[str, str] | None = None
) -> Iterator[Gateway]:
    """Run a gateway; `settings` replace top-level keys of the configuration.

    Raises `RuntimeError` if it does not listen.
    """
    settings = settings or {}
    lines = [line for line in config.splitlines() if line.partition(":")[0] not in settings]
    lines += [f"{key}: {value}" for key, value in settings.items()]
    command = (program.python, "-m", "gateway")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # which the gateway inherits
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plugins").mkdir()
        (folder / "gateway.yaml").write_text("\n".join([*lines, ""]))
        (folder / "plugins" / "plugin.py").write_text(PLUGIN)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "run", str(folder / "gateway.yaml"), "--log-format", "json"],
                cwd=program.checkout.folder,
                env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        try:
            yield Gateway(process.pid, _port(process, folder), folder)
        finally:
            _stop(process)


def _port(process: subprocess.Popen[bytes], folder: Path) -> int:
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end and process.poll() is None:
        for line in _log(folder):
            if found := re.search(r"listening on \S+:(\d+)", line):
                return int(found[1])
        time.sleep(0.02)
    raise RuntimeError("\n".join(["the gateway does not listen:", *_log(folder)[-20:]]))


def _log(folder: Path) -> list[str]:
    return (folder / "log").read_text(errors="replace").splitlines()


def _is_fault(line: str) -> bool:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return True
    return "traceback" in entry or entry["level"] == "error"


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
