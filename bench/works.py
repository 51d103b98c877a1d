"""The works that are compared, and the figure of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bench.load import Load
from bench.peers import PEERS, Shape
from bench.trial import SETTLE, Trial

__all__ = ["CURVE", "LATENCY", "TABLE", "WORKS", "Work", "stall"]

SOCKETIO = ("sockgw", "node", "bun", "egg", "python-socketio")
MODERN = ("sockgw", "node", "bun", "python-socketio")
SHAPED = ("sockgw", "node")

Figure = Callable[[Trial], float]


def cpu(trial: Trial) -> float:
    """Microseconds of the server's CPU for each message."""
    return trial.measured.server_cpu / max(trial.measured.messages, 1) * 1e6


def memory(trial: Trial) -> float:
    """KiB of memory for each client."""
    return trial.memory


def leaving(trial: Trial) -> float:
    """Microseconds of the server's CPU for each client that left."""
    return (trial.measured.leaving_cpu or 0.0) / trial.clients * 1e6


def stall(trial: Trial) -> float:
    """Milliseconds of the slowest answer."""
    return trial.measured.latency_us["max"] / 1e3


@dataclass(frozen=True, slots=True)
class Work:
    """A load on servers of a shape, for some peers; `figure` is the result of a trial.

    With `share`, the load's rate is that share of the server's capacity in `ask`.
    """

    name: str
    title: str
    load: Load
    peers: tuple[str, ...] = SOCKETIO
    unit: str = "us"
    figure: Figure = cpu
    shape: Shape = field(default_factory=Shape)
    share: float | None = None


def _loops() -> Iterable[Work]:
    chat = Load("loop", inflight=4)
    yield Work("chat", "chat, answer emitted, 50 clients x 4", chat, tuple(PEERS))
    ask = Load("loop", inflight=4, event="ask", ack=True)
    yield Work("ask", "chat, answer as ack, 50 clients x 4", ask)
    yield Work("chat-5000", "chat, 5,000 clients x 1", Load("loop", clients=5000))
    polling = Load("loop", event="ask", ack=True, polling=True)
    yield Work("polling", "acked call by polling, 50 clients x 1", polling, MODERN)
    echo = Load("loop", clients=10, inflight=2, event="echo", size=65536)
    yield Work("echo", "64 KiB of bytes and back, 10 clients x 2", echo, tuple(PEERS))


def _clients() -> Iterable[Work]:
    for count in (500, 5000):
        load = Load("broadcast", clients=count, event="broadcast")
        yield Work(f"broadcast-{count}", f"broadcast, each of {count:,} recipients", load)
    storm = Load("storm", clients=2000, stay=True)
    yield Work("connect", "connection accepted, 2,000 in a storm", storm)
    idle = Load("idle", clients=5000, seconds=SETTLE + 1)
    yield Work("memory", "connected client, 5,000 idle", idle, unit="KiB", figure=memory)
    for count in (1000, 5000, 10000):
        load = Load("leave", clients=count, event="ask", ack=True, rate=500)
        title = f"each of {count:,} clients that leave at once"
        yield Work(f"leave-{count}", title, load, SHAPED, figure=leaving)


def _shapes() -> Iterable[Work]:
    chat = Load("loop", inflight=4)
    yield Work("chain-5", "chat, 5 packet middleware", chat, SHAPED, shape=Shape(middleware=5))
    yield Work("routes-1000", "chat, 1,000 routes", chat, SHAPED, shape=Shape(routes=1000))
    yield Work("names-200", "chat, 200 namespaces", chat, SHAPED, shape=Shape(namespaces=200))


TABLE = (*_loops(), *_clients(), *_shapes())

CURVE = tuple(
    Work(f"curve-{count}", f"chat, {count:,} clients x 1", Load("loop", clients=count))
    for count in (50, 100, 200, 500, 1000, 2000, 5000, 10000)
)

LATENCY = tuple(
    Work(
        f"latency-{share}",
        f"acked calls, {share} % of capacity",
        Load("rate", event="ask", ack=True),
        share=share / 100,
    )
    for share in (30, 60, 90)
)

WORKS = {work.name: work for work in (*TABLE, *CURVE, *LATENCY)}
