"""Counters of the instructions of a process: the processor's own, read by perf, or valgrind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from typing import Protocol

from bench.load import BUILD

__all__ = ["COUNTERS", "Callgrind", "Counter", "Perf", "best"]

DUMPS = BUILD / "callgrind"


class Counter(Protocol):
    """A way to count. `prefix` stands before the command of the process that is counted."""

    name: str

    def works(self) -> bool:
        """True where this machine can count so."""

    def prefix(self) -> tuple[str, ...]: ...

    def count(self, pid: int, work: Callable[[], None]) -> int:
        """The instructions that the process runs in user space while `work` is done."""


class Perf:
    """Counts by `perf stat`: at full speed, where the machine lets its counters be read."""

    name = "perf"

    def __init__(self, event: str = "instructions:u") -> None:
        self._perf = ["perf", "stat", "-x", ",", "-e", event]

    def works(self) -> bool:
        if shutil.which("perf") is None:
            return False
        done = subprocess.run([*self._perf, "true"], capture_output=True, text=True, check=False)
        return done.returncode == 0 and done.stderr.lstrip()[:1].isdigit()

    def prefix(self) -> tuple[str, ...]:
        return ()

    def count(self, pid: int, work: Callable[[], None]) -> int:
        orders, order = os.pipe()
        answer, answers = os.pipe()
        command = [*self._perf, "--pid", str(pid), "--delay", "-1"]
        command += ["--control", f"fd:{orders},{answers}"]
        with subprocess.Popen(
            command, pass_fds=(orders, answers), stderr=subprocess.PIPE, text=True
        ) as process:
            os.close(orders)
            os.close(answers)
            with open(order, "wb", buffering=0) as control, open(answer, "rb") as ack:
                control.write(b"enable\n")
                if ack.readline():
                    work()
                process.send_signal(signal.SIGINT)
            _, output = process.communicate()
        found = [line.split(",")[0] for line in output.splitlines() if line[:1].isdigit()]
        if not found:
            raise RuntimeError(f"perf counts nothing: {output}")
        return sum(map(int, found))


class Callgrind:
    """Counts by valgrind, which runs a program some fifty times slower, on any machine."""

    name = "callgrind"

    def works(self) -> bool:
        return shutil.which("valgrind") is not None and shutil.which("vgdb") is not None

    def prefix(self) -> tuple[str, ...]:
        DUMPS.mkdir(parents=True, exist_ok=True)
        options = ("--instr-atstart=no", f"--callgrind-out-file={DUMPS}/%p")
        return ("valgrind", "--quiet", "--tool=callgrind", *options)

    def count(self, pid: int, work: Callable[[], None]) -> int:
        self._order(pid, "zero", "instrumentation on")
        work()
        self._order(pid, "instrumentation off", "dump")
        (dump,) = DUMPS.glob(f"{pid}.*")
        lines = dump.read_text().splitlines()
        dump.unlink()
        return next(int(line.split()[1]) for line in lines if line.startswith("totals:"))

    def _order(self, pid: int, *orders: str) -> None:
        words = [word for order in orders for word in ("-c", *order.split())]
        command = ["vgdb", f"--pid={pid}", "--cmd-time-out=60", *words]
        subprocess.run(command, check=True, capture_output=True)


COUNTERS: dict[str, Callable[[], Counter]] = {"perf": Perf, "callgrind": Callgrind}


def best() -> Counter:
    """The fastest counter that works here. Raises `RuntimeError` if none does."""
    counter = next((made for make in COUNTERS.values() if (made := make()).works()), None)
    if counter is None:
        raise RuntimeError("instructions are counted by perf or valgrind; install one of them")
    return counter
