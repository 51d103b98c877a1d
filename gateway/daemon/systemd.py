"""systemd: what the daemon tells it, as of sd_notify(3), and the sockets that it passes.

The latter as of sd_listen_fds(3). Other service managers speak the same protocols.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from gateway.daemon.listener import ListenError

__all__ = ["ADMIN", "API", "CLIENTS", "Notifier", "inherited_sockets"]

FIRST = 3
"""The first descriptor that is passed."""

ADMIN, CLIENTS, API = "admin", "clients", "api"
"""What a socket is for. Any name but `admin` of one that is passed means clients."""


def inherited_sockets(environ: Mapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """Return the listening sockets that were passed to this process, by what they are for.

    Call it once: the sockets own their descriptors. Raises `ListenError`.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, socket.socket] = {}
    with ExitStack() as stack:
        for number in range(_number(environ, "LISTEN_FDS")):
            name = names[number] if number < len(names) else ""
            use = ADMIN if name == ADMIN else CLIENTS
            if use in found:
                raise ListenError(
                    f"two sockets for {use} were passed, and one can be served: write one "
                    "ListenStream=, or FileDescriptorName=admin for the admin listener's"
                )
            what = f"descriptor {FIRST + number}" + (f" ({name})" if name else "")
            found[use] = stack.enter_context(_adopted(FIRST + number, what))
            _expect_listening(found[use], what)
        stack.pop_all()
    return found


def _number(environ: Mapping[str, str], name: str) -> int:
    written = environ.get(name, "")
    return int(written) if written.isdecimal() else 0


def _adopted(descriptor: int, what: str) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)  # plugins may start programs
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise ListenError(f"{what} was passed and is no socket: {error.strerror}") from None


def _expect_listening(sock: socket.socket, what: str) -> None:
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listens or sock.type != socket.SOCK_STREAM:
        raise ListenError(
            f"{what} was passed and takes no connections: write ListenStream= and Accept=no"
        )
    sock.setblocking(False)


class Notifier:
    """Sends states to the socket in `NOTIFY_SOCKET`; nowhere when there is none."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog = _number(environ, "WATCHDOG_USEC") / 1e6 if is_ours else 0.0

    def ready(self, status: str) -> None:
        """The daemon serves."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it, whatever its outcome."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def replaced(self, pid: int) -> None:
        """Another process serves from now on, and speaks for the daemon."""
        self._send(f"MAINPID={pid}")

    def stopping(self) -> None:
        """The daemon is about to end."""
        self._send("STOPPING=1\nSTATUS=stopping")

    async def watchdog(self) -> None:
        """Say that the loop runs, twice in the time after which systemd ends the daemon.

        Returns at once if there is no watchdog.
        """
        while self._watchdog and self._address:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog / 2)

    def _send(self, state: str) -> None:
        if not self._address:
            return
        # The daemon serves even if nothing listens there.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), self._address)
