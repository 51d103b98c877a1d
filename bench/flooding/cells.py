"""One flood, measured: a gateway, a bystander, newcomers, and one or more flooders."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass

from bench.flooding.flooder import flood
from bench.flooding.gateway import Program, running
from bench.flooding.kinds import KINDS, Transport
from bench.flooding.processes import started
from bench.flooding.witness import bystand, come

__all__ = ["WORST", "Cell", "measure"]

WORST = 0.25
"""Seconds that no call of a bystander may take."""

COUNTED = ("sockgw_violations_total", "sockgw_limited_total")


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a flood: what the bystander saw, and what became of the flooders.

    `worst` and `median` are seconds of a call without waits for a core, `clock` those of the worst
    with them, `slowest` those of a newcomer. `cpu` is the share of
    a core that the gateway used, `grown` the bytes that its memory grew by at the most. `counted`
    are the violations and limits that it counted. `load` is the machine's load average before.
    """

    gateway: str
    kind: str
    transport: Transport
    flooders: int
    calls: int
    worst: float
    clock: float
    median: float
    busy: int
    lost: int
    newcomers: int
    refused: int
    slowest: float
    sent: int
    ended: int
    cpu: float
    grown: int
    log_lines: int
    faults: tuple[str, ...]
    counted: dict[str, int]
    load: float

    @property
    def failures(self) -> tuple[str, ...]:
        """The bars it does not reach."""
        first = "".join(self.faults[:1])
        found = {
            f"a call took {self.worst * 1000:,.0f} ms": self.worst >= WORST,
            f"{self.busy} of {self.calls} calls were answered busy": self.busy,
            f"{self.lost} calls had no answer": self.lost,
            f"{self.refused} of {self.newcomers} newcomers were refused": self.refused,
            f"{len(self.faults)} faults in the log, the first: {first}": self.faults,
        }
        return tuple(text for text, is_so in found.items() if is_so)


def measure(
    program: Program, kind: str, transport: Transport, flooders: int, seconds: float
) -> Cell:
    """Flood a gateway of its own for some seconds. Raises `RuntimeError` if it does not start."""
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        gateway = stack.enter_context(running(program))
        port = gateway.port
        bystander = stack.enter_context(started(bystand, port, gateway.pid))
        newcomers = stack.enter_context(started(come, port))
        pipes = [
            stack.enter_context(started(flood, port, KINDS[kind], transport))
            for _ in range(flooders)
        ]
        memory, cpu, began = gateway.memory(), gateway.cpu(), time.monotonic()
        bystander.send(True)
        bystander.recv()
        time.sleep(seconds)
        cpu = (gateway.cpu() - cpu) / (time.monotonic() - began)
        newcomers.send(False)
        bystander.send(False)
        calls, came = bystander.recv(), newcomers.recv()
        for pipe in pipes:
            pipe.send(False)
        done = [pipe.recv() for pipe in pipes]
        return Cell(
            gateway=program.checkout.name,
            kind=kind,
            transport=transport,
            flooders=flooders,
            calls=len(calls.seconds),
            worst=calls.worst,
            clock=max(calls.clock, default=0.0),
            median=calls.median,
            busy=calls.busy,
            lost=calls.lost,
            newcomers=came.tried,
            refused=came.refused,
            slowest=max(came.seconds, default=0.0),
            sent=sum(each.sent for each in done),
            ended=sum(each.ended for each in done),
            cpu=cpu,
            grown=gateway.memory(peak=True) - memory,
            log_lines=gateway.log_lines(),
            faults=gateway.faults(),
            counted=gateway.metrics(*COUNTED),
            load=load,
        )
