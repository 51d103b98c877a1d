"""The load generator: built at first use, run on a core of its own, its JSON read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

__all__ = ["BUILD", "Load", "LoadError", "Measured", "build", "on_core", "run"]

HERE = Path(__file__).parent
BUILD = HERE.parent / ".build"
PROGRAM = BUILD / "load"


class LoadError(Exception):
    """The load generator gave up; the message is its own."""


@dataclass(frozen=True, slots=True)
class Load:
    """The clients' work; see the usage in `main.c`. `size` is in bytes, 0 for text.

    `rate` is per second. With `seconds` of `None` the caller of `run` sets the time.
    """

    mode: str
    clients: int = 50
    inflight: int = 1
    event: str = "chat"
    ack: bool = False
    polling: bool = False
    stay: bool = False
    size: int = 0
    rate: float = 1000.0
    seconds: float | None = None

    def arguments(self) -> list[str]:
        """The load generator's command line, without where and how long."""
        words = [self.mode, "--clients", self.clients, "--inflight", self.inflight]
        words += ["--event", self.event, "--size", self.size, "--rate", self.rate]
        flags = {"--ack": self.ack, "--polling": self.polling, "--stay": self.stay}
        return [*map(str, words), *(name for name, wanted in flags.items() if wanted)]


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of a load: CPU in seconds, latencies in microseconds by `p50` and so on.

    `machine_cpu` is that of all processes; `leaving_cpu` is the server's for clients that left,
    `None` if none did.
    """

    seconds: float
    messages: int
    server_cpu: float
    load_cpu: float
    machine_cpu: float
    latency_us: dict[str, float]
    leaving_cpu: float | None = None

    @property
    def others(self) -> float:
        """Cores that other processes kept busy."""
        return max(0.0, self.machine_cpu - self.server_cpu - self.load_cpu) / self.seconds


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run the processes that are started inside on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def build() -> None:
    """Compile the load generator where its source is newer than it.

    Raises `subprocess.CalledProcessError` when the compiler fails; its errors are on stderr.
    """
    sources = sorted(HERE.glob("*.c"))
    newest = max(path.stat().st_mtime for path in [*sources, HERE / "load.h"])
    if PROGRAM.exists() and PROGRAM.stat().st_mtime > newest:
        return
    BUILD.mkdir(exist_ok=True)
    options = ["-O3", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra"]
    subprocess.run([os.environ.get("CC", "cc"), *options, "-o", PROGRAM, *sources], check=True)


def run(
    load: Load,
    port: int,
    pids: Sequence[int],
    *,
    protocol: str,
    core: int,
    warmup: float,
    seconds: float,
    limit: float,
    ready: Callable[[], None],
) -> Measured:
    """Run a load against the server on `port` whose processes are `pids`; times are seconds.

    `ready` is called when all clients are connected. Raises `LoadError`.
    """
    command = [str(PROGRAM), *load.arguments(), "--port", str(port), "--protocol", protocol]
    command += ["--cpu-of", ",".join(map(str, pids)), "--limit", str(limit)]
    command += ["--warmup", str(warmup), "--seconds", str(load.seconds or seconds)]
    pipe = subprocess.PIPE
    with on_core(core):
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    with process:
        assert process.stdout is not None
        if process.stdout.readline():
            ready()
        output, error = process.communicate()
    if process.returncode:
        raise LoadError(error.strip())
    return msgspec.json.decode(output, type=Measured)
