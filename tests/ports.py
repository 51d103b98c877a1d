"""Ports for tests that have to know a port before, or after, something listens on it.

They lie below those that the kernel gives out, and every worker has its own: none of them can
become another test's in between.
"""

from __future__ import annotations

import itertools
import os
import socket

__all__ = ["free_port"]

FIRST, EACH = 20_000, 500
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

_ports = itertools.cycle(range(FIRST + WORKER * EACH, FIRST + (WORKER + 1) * EACH))


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    for port in itertools.islice(_ports, EACH):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")
