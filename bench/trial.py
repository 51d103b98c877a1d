"""One trial: a server on one core, a load on another, and the measurements."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

from bench.load import BUILD, Load, Measured, on_core, run
from bench.pace import SLOW, paced
from bench.peers import Peer, Shape
from bench.processes import family, held

__all__ = ["NOISY", "SETTLE", "Bench", "Server", "Trial"]

START_LIMIT = 120.0
"""Seconds a server has to listen."""
NOISY = 0.15
"""Cores that others may keep busy during a trial that counts as quiet."""
SETTLE = 2.0
"""Seconds before memory is read, in which the memory that connecting took is given back."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens on `port`; `pids` are its processes."""

    port: int
    pids: tuple[int, ...]

    def memory(self) -> int:
        """The proportional set size of its processes, in KiB."""
        return sum(held(pid)["pss"] for pid in self.pids) // 1024


@dataclass(frozen=True, slots=True)
class Trial:
    """The measurements of one run of a load.

    `memory` is KiB for each client. `pace` is the microseconds that the server's core took for a
    fixed piece of work, 0 if that was not measured.
    """

    measured: Measured
    clients: int
    memory: float = 0.0
    pace: float = 0.0

    def disturbance(self, best: float) -> float:
        """At most 1 for a trial that counts as quiet; `best` is the best pace there was."""
        return max(self.measured.others / NOISY, self.pace / best / SLOW)


@dataclass(slots=True)
class Bench:
    """The cores and times of trials: seconds of warm-up, of measuring, and at most of both.

    A trial that others disturbed is repeated up to `patience` times; the quietest is kept.
    `best` is the best pace so far.
    """

    server_core: int = 0
    load_core: int = 1
    warmup: float = 1.5
    seconds: float = 3.0
    limit: float = 180.0
    patience: int = 0
    best: float = inf

    @contextmanager
    def serve(self, peer: Peer, shape: Shape) -> Iterator[Server]:
        """Start a server and stop it in the end; raises `RuntimeError` if it does not listen."""
        port = _free_port()
        BUILD.mkdir(exist_ok=True)
        log = BUILD / f"{peer.name}.log"
        command = peer.command(port, shape)
        environ = {**os.environ, **shape.environ(), "NODE_ENV": "production"}
        with log.open("w") as output, on_core(self.server_core):
            process = subprocess.Popen(
                command,
                cwd=peer.folder,
                env=environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            _wait_until_it_listens(process, port, log)
            yield Server(port, tuple(family(process.pid)))
        finally:
            _stop(process)

    def trial(self, peer: Peer, shape: Shape, load: Load) -> Trial:
        """One run against a server of its own. Raises `LoadError` and `RuntimeError`."""
        trials = []
        for _ in range(1 + self.patience):
            trials.append(self._trial(peer, shape, load))
            self.best = min(self.best, trials[-1].pace or inf)
            if trials[-1].disturbance(self.best) <= 1:
                break
        return min(trials, key=lambda trial: trial.disturbance(self.best))

    def _trial(self, peer: Peer, shape: Shape, load: Load) -> Trial:
        with self.serve(peer, shape) as server:
            if load.mode != "idle":
                with paced(self.server_core) as pace:
                    measured = self.run(server, peer, load)
                return Trial(measured, load.clients, pace=pace[0])
            before = _settled_memory(server)
            after: list[int] = []
            measured = self.run(
                server, peer, load, ready=lambda: after.append(_settled_memory(server))
            )
            return Trial(measured, load.clients, (after[0] - before) / load.clients)

    def run(
        self, server: Server, peer: Peer, load: Load, *, ready: Callable[[], None] = lambda: None
    ) -> Measured:
        """Run a load; `ready` is called when all clients are connected. Raises `LoadError`."""
        return run(
            load,
            server.port,
            server.pids,
            protocol=peer.protocol,
            core=self.load_core,
            warmup=self.warmup,
            seconds=self.seconds,
            limit=self.limit,
            ready=ready,
        )


def _settled_memory(server: Server) -> int:
    time.sleep(SETTLE)
    return server.memory()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    tail = "\n".join(log.read_text().splitlines()[-20:])
    raise RuntimeError(f"{log.stem} does not listen:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process group of the server."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
