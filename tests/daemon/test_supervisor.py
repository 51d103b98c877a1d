"""The supervisor's part of a worker: starting it again, and what it has told so far."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.core import CounterMetricFamily

from gateway.backends.sessions import Home
from gateway.daemon import supervisor, zygote
from gateway.daemon.control import Ask, Channel, Message, Metrics, Start
from gateway.daemon.sums import Sums
from gateway.daemon.supervisor import Pauses, Supervisor, Worker, WorkerLost
from gateway.daemon.zygote import Zygote, ZygoteLost
from tests.daemon.gateway_of_workers import alive
from tests.deadline import deadline, until

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="workers need Linux")

NOBODY = 2**30
"""A pid that no process has."""


class ZygoteOfTasks(Zygote):
    """Forks no process: this one plays the workers, which have counted `count` packets."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.channels: list[Channel] = []

    async def fork(self, number: int, sock: socket.socket) -> int:
        def take(number: int, message: Message, descriptors: list[int]) -> None:
            if isinstance(message, Ask):
                packets = CounterMetricFamily("packets", "Packets.", value=self.count)
                channel.send(number, Metrics((packets,)))
            for each in descriptors:
                os.close(each)

        channel = Channel(sock.dup(), take, lambda: None)
        self.channels.append(channel)
        return NOBODY

    async def status(self, pid: int, timeout: float) -> int | None:
        return -signal.SIGKILL


def start(number: int, tag: str) -> Start:
    return Start(number, tag, Home(Path("gateway.yaml"), None), {}, None, verbose=False)


def packets(sums: Sums, workers: list[Worker]) -> float | None:
    for metric in sums.metrics(workers):
        if metric.name == "packets":
            return metric.samples[0].value
    return None


async def test_what_a_worker_has_counted_is_known_before_it_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody has asked for metrics meanwhile."""
    monkeypatch.setattr(supervisor, "PING", 0.0)
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.0)
    sums, forks = Sums(), ZygoteOfTasks()

    async def restart(worker: Worker) -> None:
        await workers.begin(worker)

    workers = Supervisor(1, start, restart, sums.keep, longest_silence=lambda: 5.0)
    workers.zygote = forks
    await workers.start()
    forks.count = 7
    await until(lambda: packets(sums, workers.workers) == 7)
    forks.count = 0
    forks.channels[0].close()
    await until(lambda: len(forks.channels) == 2)
    assert packets(sums, workers.workers) == 7
    forks.count = 2
    await until(lambda: packets(sums, workers.workers) == 9)
    forks.channels[1].close()
    await workers.stop(0.0)


def test_pauses_double_up_to_half_a_minute() -> None:
    pauses = Pauses()
    assert [round(pauses.next(0.0), 1) for _ in range(11)] == [
        *(0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6),
        *(30.0, 30.0),
    ]


def test_the_first_pause_comes_again_after_a_minute_of_serving() -> None:
    pauses = Pauses()
    assert [pauses.next(served) for served in (0.0, 59.0, 61.0, 0.0)] == [0.1, 0.2, 0.1, 0.2]


async def test_a_start_that_fails_does_not_count_as_serving(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However long it takes, the pauses double."""
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.001)
    now = 0.0
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: now))
    forks, tries = ZygoteOfTasks(), 0

    async def restart(worker: Worker) -> None:
        nonlocal tries, now
        tries += 1
        await workers.begin(worker)
        now += 90.0
        raise WorkerLost("it does not serve")

    workers = Supervisor(1, start, restart, Sums().keep, longest_silence=lambda: 5.0)
    workers.zygote = forks
    await workers.start()
    forks.channels[0].close()
    await until(lambda: tries == 3)
    await workers.stop(0.0)
    again = [line for line in caplog.messages if "it is started again in" in line]
    assert [line.split()[-2] for line in again[:3]] == ["0.001", "0.002", "0.004"]


@pytest.fixture
def forking() -> Zygote:
    return Zygote()


async def forked(forking: Zygote) -> tuple[int, socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            return await forking.fork(1, theirs), ours
        except BaseException:
            ours.close()
            raise


async def test_a_zygote_that_hangs_is_killed(
    forking: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next fork has another one."""
    pid, sock = await forked(forking)
    hung = forking.pid
    assert hung is not None
    os.kill(hung, signal.SIGSTOP)
    monkeypatch.setattr(zygote, "FORK", 0.05)
    with pytest.raises(ZygoteLost):
        await forked(forking)
    await until(lambda: not alive({hung}))
    assert alive({pid}) == {pid}
    monkeypatch.undo()
    other, others_sock = await forked(forking)
    sock.close()
    others_sock.close()
    assert await forking.status(other, timeout=60.0) == os.EX_UNAVAILABLE
    await until(lambda: not alive({pid}))
    await forking.close()


async def test_a_zygote_that_hangs_holds_up_no_stop(forking: Zygote) -> None:
    _, sock = await forked(forking)
    assert forking.pid is not None
    os.kill(forking.pid, signal.SIGSTOP)
    sock.close()
    async with deadline():
        await forking.close()
    assert forking.pid is None
