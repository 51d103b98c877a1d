"""The CPU time that events over their limit cost the gateway."""

from __future__ import annotations

import os
import select
import time
from contextlib import closing, suppress
from dataclasses import dataclass

from bench.flooding.gateway import Gateway, Program, running
from bench.flooding.kinds import BODY
from bench.flooding.wire import SEPARATOR, Http, WebSocket, frame, join, post

__all__ = ["RATES", "Cost", "cost_of_body", "cost_of_rate"]

RATES = (9_000, 12_000, 20_000)
"""Events a second; the limit is 10,000."""

TICK = 0.01
"""Seconds between two writes."""

EVENT = b'42["say"]'

BODY_EVENT = b'42["a"]'
"""Eight bytes with its separator."""

EVENTS = BODY // (len(BODY_EVENT) + 1)
"""Events of a body."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of CPU time of the gateway, and those it took, for some events of one client."""

    gateway: str
    title: str
    cpu: float
    seconds: float
    load: float

    @property
    def share(self) -> float:
        """The share of a core."""
        return self.cpu / self.seconds


def cost_of_rate(program: Program, rate: int, seconds: float) -> Cost:
    """Send events at a rate, over a WebSocket."""
    load = os.getloadavg()[0]
    with running(program) as gateway:
        client = WebSocket(gateway.port)
        with closing(client.line):
            client.join(b"40")
            client.line.setblocking(False)
            _send(client, rate, 1.0)  # the bucket of a second empties
            used, began = gateway.cpu(), time.monotonic()
            _send(client, rate, seconds)
            return _cost(program, f"{rate:,} events/s", gateway, used, began, load)


def cost_of_body(program: Program, events: int = EVENTS, limit: float = 60.0) -> Cost:
    """Send one body full of events, and wait for its answer, up to `limit` seconds."""
    load = os.getloadavg()[0]
    with running(program) as gateway:
        http = Http(gateway.port)
        with closing(http.line):
            sid = join(http, (b"40",))
            used, began = gateway.cpu(), time.monotonic()
            http.line.settimeout(limit)
            with suppress(TimeoutError):
                http.ask(post(sid, SEPARATOR.join([BODY_EVENT] * events)))
            return _cost(program, f"a body of {events:,} events", gateway, used, began, load)


def _cost(
    program: Program, title: str, gateway: Gateway, used: float, began: float, load: float
) -> Cost:
    took = time.monotonic() - began
    return Cost(program.checkout.name, title, gateway.cpu() - used, took, load)


def _send(client: WebSocket, rate: int, seconds: float) -> None:
    """Send at a rate; what the gateway does not take in time waits here."""
    events = frame(EVENT)
    began, sent, waiting = time.monotonic(), 0, b""
    while (now := time.monotonic() - began) < seconds:
        due = int(now * rate) - sent
        sent += due
        waiting += events * due
        _, writable, _ = select.select([], [client.line], [], TICK)
        if writable and waiting:
            waiting = waiting[client.line.send(waiting) :]
        time.sleep(max(0.0, TICK - (time.monotonic() - began - now)))
