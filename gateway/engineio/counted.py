"""Counting what a client did wrong, what limits it met and what was refused to it."""

from __future__ import annotations

import logging
from typing import Protocol

from gateway.engineio.receiver import Receiver
from gateway.engineio.violations import EventCounter, RefusalCounter, RefusedThing, Violation
from gateway.limits import LimitName

__all__ = ["RAISE_PAYLOAD", "Counted", "Counters"]

RAISE_PAYLOAD = "to allow it, raise server.max_payload"
"""The cure for what is too large."""


class Counters(Protocol):
    """The counters of an engine."""

    violations: EventCounter[Violation]
    limits_met: EventCounter[LimitName]
    refused: RefusalCounter


class Counted:
    """A client, as far as what it did wrong is counted, and what was refused to it.

    `address` is the client's address. `receiver` gets the messages of the client.
    """

    __slots__ = ("_host", "address", "receiver")

    _host: Counters
    address: str
    receiver: Receiver

    @property
    def who(self) -> str:
        """The client as the log names it: the socket it had last, and its address."""
        socket = self.receiver.socket_id
        return f"socket {socket} of {self.address}" if socket else self.address

    def count_violation(self, kind: Violation, why: object, cure: str = "") -> None:
        """Count a violation by the client; the caller decides if that ends the session."""
        self._host.violations.record(kind, self.who, why, cure)

    def count_limit(self, limit: LimitName, why: object, key: str = "") -> None:
        """Count a limit that the client met; the caller decides what follows.

        `key` is that of the limit if it is not among the gateway's.
        """
        self._host.limits_met.record(limit, self.who, why, f"to allow it, raise {key}" * bool(key))

    def count_refused(
        self, kind: RefusedThing, thing: str, cure: str, level: int = logging.INFO
    ) -> None:
        """Count what was refused to the client; without a `cure` that is logged elsewhere."""
        if cure:
            self._host.refused.record(kind, self.address, thing, cure, level)
        else:
            self._host.refused.count(kind)
