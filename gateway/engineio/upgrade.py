"""The upgrade of a session from HTTP long-polling to a WebSocket."""

from __future__ import annotations

from enum import Enum

from gateway.engineio.packet import PROBE_PING, PROBE_PONG, UPGRADE, Packet
from gateway.engineio.timers import Due
from gateway.engineio.transports import WebSocket

__all__ = ["Upgrade", "UpgradeStep"]

NOOP_AFTER, LATER_NOOP_AFTER = 0.1, 1.0
"""Seconds before a poll that came during an upgrade is answered: the first one, and later ones."""


class UpgradeStep(Enum):
    """The effect of a packet on an upgrade."""

    PROBED = "probed"
    COMPLETE = "complete"
    FAILED = "failed"


class Upgrade:
    """One attempt to move from polling to a WebSocket.

    The session stays on polling until the upgrade is complete.

    "To upgrade to WebSocket, the client MUST:
     - pause the HTTP long-polling transport (no more HTTP request gets sent), to ensure that no
       packet gets lost
     - open a WebSocket connection with the same session ID
     - send a ping packet with the string probe in the payload
    The server MUST:
     - send a noop packet to any pending GET request (if applicable) to cleanly close HTTP
       long-polling transport
     - respond with a pong packet with the string probe in the payload
    Finally, the client MUST send a upgrade packet to complete the upgrade."
    """

    __slots__ = ("_has_held", "is_probed", "websocket")

    def __init__(self, websocket: WebSocket) -> None:
        self.websocket = websocket
        self.is_probed = False
        self._has_held = False

    def receive(self, packet: Packet) -> UpgradeStep:
        """Handle a packet that came on the WebSocket."""
        if packet == PROBE_PING:
            self.websocket.send(PROBE_PONG)
            self.is_probed = True
            return UpgradeStep.PROBED
        is_complete = packet == UPGRADE and self.is_probed
        return UpgradeStep.COMPLETE if is_complete else UpgradeStep.FAILED

    def hold_poll(self) -> tuple[Due, float]:
        """The deadline for answering a poll that came after the probe, in seconds.

        The client had not seen the pong, and does not complete the upgrade before its poll is
        answered. An immediate answer would be wrong too: if the pong is lost on the way, the
        client would poll as fast as it can.
        """
        if self._has_held:
            return Due.LATER_NOOP, LATER_NOOP_AFTER
        self._has_held = True
        return Due.NOOP, NOOP_AFTER
