"""Faults of the processes of a gateway, and who notices them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TypeAlias

from bench.processes import family
from bench.reloading.daemon import Daemon, running
from bench.scaling.clients import Client, Clients, clients
from bench.scaling.gateway import behind, pids, served_by
from bench.scaling.rooms import settled
from tests.certificates import TLS

__all__ = ["FAULTS", "Fault", "fault"]

VICTIM = 2
"""The number of the worker that is met; broadcasts come from a client of another."""

EVERY = 0.05
"""Seconds between two broadcasts, and between two newcomers."""

BEFORE, STOPPED = 1.0, 3.0
"""Seconds before a fault, and those for which the supervisor or the zygote are stopped."""

PATIENCE = 90.0
"""Seconds in which all clients have to be back."""

REQUEST = (
    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What came of a fault. `own` clients are those of the worker that was met.

    `noticed` counts own clients that lost their connection, and others by their transport; `lost`
    and `twice` are broadcasts to those that noticed nothing, and `counted` those that the gateway
    says were lost. Seconds: `back` until all are in the room again, `wait` the longest time in
    which a newcomer got an answer, `None` if one got none.
    """

    kind: str
    proxy: str
    clients: int
    own: int
    noticed: dict[str, int]
    broadcasts: int
    lost: int
    twice: int
    counted: int
    back: float
    wait: float | None
    orphans: int

    @property
    def is_clean(self) -> bool:
        # what was sent to a worker that was ending is counted, and its clients may not miss it
        return not (self.twice or self.orphans) and self.lost <= self.counted


@dataclass(slots=True)
class _Scene:
    """A gateway with its clients, and a way to start it again."""

    daemon: Daemon
    folder: Path
    stack: AsyncExitStack
    workers: dict[int, int]
    orphans: set[int] = field(default_factory=set)


_Deed: TypeAlias = Callable[[_Scene], Awaitable[None]]


def _on_worker(number: signal.Signals) -> _Deed:
    async def deed(scene: _Scene) -> None:
        pid = scene.workers[VICTIM]
        os.kill(pid, number)
        await served_by(scene.daemon, pid)

    return deed


async def _kill_zygote(scene: _Scene) -> None:
    os.kill(_zygote(scene.daemon), signal.SIGKILL)


async def _stop_zygote(scene: _Scene) -> None:
    await _stop_for_a_while(_zygote(scene.daemon))


async def _stop_supervisor(scene: _Scene) -> None:
    await _stop_for_a_while(scene.daemon.pid)


async def _kill_supervisor(scene: _Scene) -> None:
    """Kill it and, when its processes have ended, start the gateway again as systemd would."""
    processes = family(scene.daemon.pid)
    os.kill(scene.daemon.pid, signal.SIGKILL)
    end = monotonic() + PATIENCE
    while (left := _running(processes)) and monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(EVERY)
    scene.orphans = left
    again = running(scene.folder / "gateway.yaml", os.sched_getaffinity(0))
    scene.daemon = await scene.stack.enter_async_context(again)
    await scene.daemon.listens()


FAULTS: Mapping[str, _Deed] = {
    "kill -9 worker": _on_worker(signal.SIGKILL),
    "kill -STOP worker": _on_worker(signal.SIGSTOP),
    "kill -9 zygote": _kill_zygote,
    "kill -STOP zygote": _stop_zygote,
    "kill -STOP supervisor": _stop_supervisor,
    "kill -9 supervisor": _kill_supervisor,
}


async def fault(kind: str, proxy: str, workers: int, count: int, folder: Path) -> Fault:
    """Let something happen to a gateway while its clients share a room."""
    async with (
        AsyncExitStack() as stack,
        behind(proxy, folder, workers) as (daemon, port, url),
        clients() as crowd,
    ):
        await crowd.open(url, (TLS / "one.pem").read_text(), count)
        before = await crowd.facts(0, 0)
        scene = _Scene(daemon, folder, stack, await pids(daemon))
        async with _newcomers(port) as waits:
            await crowd.start(_teller(before), EVERY)
            await asyncio.sleep(BEFORE)
            began = monotonic()
            await FAULTS[kind](scene)
            await _all_are_in(crowd)
            back = monotonic() - began
            await asyncio.sleep(BEFORE)
        told = await crowd.stop()
        found = await settled(crowd, 0, told, lambda each: not each.noticed)
        names = ("sockgw_bus_missed_total", "sockgw_bus_unpublished_total")
        counted = sum([sum(await scene.daemon.metric(name)) for name in names])
        stayed = [each for each in found if not each.noticed]
        return Fault(
            kind=kind,
            proxy=proxy,
            clients=count,
            own=sum(each.worker == VICTIM for each in before),
            noticed=_noticed(before, found),
            broadcasts=told,
            lost=sum(each.lost for each in stayed),
            twice=sum(each.twice for each in found),
            counted=int(counted),
            back=back,
            wait=None if None in waits else max(filter(None, waits)),
            orphans=len(scene.orphans),
        )


def _teller(before: list[Client]) -> int:
    """The first client on a WebSocket of a worker that nothing happens to."""
    numbers = (
        number
        for number, each in enumerate(before)
        if each.transports == "websocket" and each.worker != VICTIM
    )
    return next(numbers)


def _noticed(before: list[Client], after: list[Client]) -> dict[str, int]:
    found = dict.fromkeys(("own", "others, polling", "others, WebSocket"), 0)
    for former, each in zip(before, after, strict=True):
        if each.noticed:
            polls = each.transports == "polling"
            other = "others, polling" if polls else "others, WebSocket"
            found["own" if former.worker == VICTIM else other] += 1
    return found


async def _all_are_in(crowd: Clients) -> None:
    """Wait until all clients are in the room. Raises `TimeoutError`."""
    async with asyncio.timeout(PATIENCE):
        while not all(each.worker for each in await crowd.facts(0, 0)):  # noqa: ASYNC110
            await asyncio.sleep(EVERY)


@asynccontextmanager
async def _newcomers(port: int) -> AsyncIterator[list[float | None]]:
    """Let newcomers ask for a session, one after the other; gives the seconds they took."""
    waits: list[float | None] = []

    async def come() -> None:
        while True:
            began = monotonic()
            waits.append(monotonic() - began if await _is_answered(port) else None)
            await asyncio.sleep(EVERY)

    task = asyncio.create_task(come())
    try:
        yield waits
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _is_answered(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("::1", port)
    except OSError:
        return False
    try:
        writer.write(REQUEST)
        return (await reader.read()).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
    finally:
        writer.close()


async def _stop_for_a_while(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(STOPPED)
    finally:
        os.kill(pid, signal.SIGCONT)


def _zygote(daemon: Daemon) -> int:
    return family(daemon.pid)[1]  # its only child


def _running(processes: list[int]) -> set[int]:
    """Those of some processes that have not ended."""
    found = set[int]()
    for pid in processes:
        with suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX":
                found.add(pid)
    return found
