"""What a service manager is told, at a real datagram socket; test_activation has what it passes."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.daemon.systemd import Notifier
from tests.deadline import deadline


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket and its address as `NOTIFY_SOCKET` has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        if request.param == "path":
            address = name = str(tmp_path / "notify")
        else:
            name, address = f"\0{tmp_path}", f"@{tmp_path}"
        sock.bind(name)
        sock.settimeout(5)
        yield sock, address


def test_each_state_is_one_datagram(systemd: tuple[socket.socket, str]) -> None:
    sock, address = systemd
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready("generation 1 serves")
    notifier.reloading()
    notifier.stopping()
    assert sock.recv(4096) == b"READY=1\nSTATUS=generation 1 serves"
    reloading = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=(\d+)", sock.recv(4096))
    assert reloading is not None
    # systemd takes no READY for the answer that is older than this.
    assert 0 < int(reloading[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert sock.recv(4096) == b"STOPPING=1\nSTATUS=stopping"


def test_a_manager_that_does_not_read_keeps_nobody_waiting(
    systemd: tuple[socket.socket, str],
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd[1]})
    for _ in range(2000):
        notifier.ready("x" * 500)


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/no/such"}])
def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    Notifier(environ).ready("generation 1 serves")


async def test_the_watchdog_hears_of_the_loop_twice_in_its_time(
    systemd: tuple[socket.socket, str],
) -> None:
    sock, address = systemd
    sock.setblocking(False)
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "40000", "WATCHDOG_PID": str(os.getpid())}
    telling = asyncio.create_task(Notifier(environ).watchdog())
    loop = asyncio.get_running_loop()
    async with deadline():
        for _ in range(3):
            assert await loop.sock_recv(sock, 4096) == b"WATCHDOG=1"
    telling.cancel()
    await asyncio.wait({telling})


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "no"}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}]
)
async def test_without_a_watchdog_none_is_told(
    systemd: tuple[socket.socket, str], environ: dict[str, str]
) -> None:
    await Notifier({"NOTIFY_SOCKET": systemd[1], **environ}).watchdog()
    systemd[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd[0].recv(4096)
