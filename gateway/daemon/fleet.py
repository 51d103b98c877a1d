"""What serves a snapshot: the one process, or all the workers of a supervisor.

A snapshot is served in two steps. Everything that can fail happens in `Fleet.prepare`, and clients
notice nothing of it; `Candidate.commit` cannot fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from prometheus_client.core import Metric

from gateway.cluster.handover import Link
from gateway.daemon.listener import Listener
from gateway.daemon.plan import Plan
from gateway.errors import ConfigError, Problem
from gateway.push.operations import Operation
from gateway.snapshot import Snapshot

__all__ = ["START", "Candidate", "Fleet", "Unready"]

START = 60.0
"""Seconds in which a process has to be ready, beyond what loading and services may take."""


class Unready(ConfigError):
    """A snapshot that was not got ready, for another reason than what it says."""


class Candidate(Protocol):
    """A snapshot that is ready to serve, and does not yet.

    `plan` is what will change. `warnings` are about what can be served, and is most likely not
    meant.
    """

    @property
    def plan(self) -> Plan: ...

    @property
    def warnings(self) -> Sequence[Problem]: ...

    @property
    def members(self) -> int:
        """The number of processes that will serve it."""

    async def link(self, links: Sequence[Link]) -> None:
        """Let each member send requests for unknown sessions to the process before this one."""

    async def commit(self) -> None:
        """Serve it from now on."""

    async def abort(self) -> None:
        """Give it up; what serves stays."""


class Fleet(Protocol):
    """What serves, and how the next snapshot replaces it."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The snapshot that serves; `None` before the first."""

    @property
    def generation(self) -> int:
        """The number of the generation that serves; 0 if none does."""

    @property
    def listener(self) -> Listener:
        """The public listener. Raises `LookupError` before the first snapshot serves."""

    async def prepare(self, snapshot: Snapshot, *, anyway: bool = False) -> Candidate | None:
        """Get a snapshot ready to serve; `None` if what it says is served already.

        With `anyway`, get it ready even then. Raises `ConfigError`, and `ListenError` if an address
        cannot be bound; nothing has changed then.
        """

    async def plan(self, snapshot: Snapshot) -> tuple[Plan, int]:
        """Return what serving a snapshot would change, and how many sockets it would close.

        Raises `ConfigError` and `ListenError`.
        """

    async def push(self, operation: Operation) -> bytes:
        """Do what another service asks for, and return the answer as JSON.

        Raises `PushError`.
        """

    async def status(self) -> dict[str, Any]:
        """Return what serves, and for whom, as JSON has it."""

    async def metrics(self) -> Sequence[Metric]:
        """Return the metrics of what serves."""

    async def give_way(self, links: Sequence[Link]) -> None:
        """Stop accepting connections: another process is about to, on the same socket.

        What it gets for sessions of this one comes on `links`.
        """

    async def close(self, *, is_replaced: bool = False) -> None:
        """Stop serving, in order.

        With `is_replaced`, another process accepts the connections; see `let_go`.
        """
