"""The way from HTTP long-polling to a WebSocket.

"To upgrade to WebSocket, the client MUST:
 - pause the HTTP long-polling transport (no more HTTP request gets sent), to ensure that no packet
   gets lost
 - open a WebSocket connection with the same session ID
 - send a ping packet with the string probe in the payload
The server MUST:
 - send a noop packet to any pending GET request (if applicable) to cleanly close HTTP long-polling
   transport
 - respond with a pong packet with the string probe in the payload
Finally, the client MUST send a upgrade packet to complete the upgrade."
"""

from __future__ import annotations

from enum import Enum

from gateway.engineio.carrier import WebSocket
from gateway.engineio.deadlines import Due
from gateway.engineio.packet import PROBE_PING, PROBE_PONG, UPGRADE, Packet

__all__ = ["Step", "Upgrade"]

NOOP_AFTER = 0.1
LATER_NOOP_AFTER = 1.0


class Step(Enum):
    """What a packet did for an upgrade."""

    PROBED = "probed"
    COMPLETE = "complete"
    FAILED = "failed"


class Upgrade:
    """One attempt. Until it is complete the session stays on polling, as if nothing were tried."""

    __slots__ = ("_held", "probed", "websocket")

    def __init__(self, websocket: WebSocket) -> None:
        self.websocket = websocket
        self.probed = False
        self._held = False

    def receive(self, packet: Packet) -> Step:
        """Take a packet that came on the WebSocket."""
        if packet == PROBE_PING:
            self.websocket.send(PROBE_PONG)
            self.probed = True
            return Step.PROBED
        return Step.COMPLETE if packet == UPGRADE and self.probed else Step.FAILED

    def hold(self) -> tuple[Due, float]:
        """When to end a poll that came after the probe, if no packet does so before.

        Its client had not seen the pong, and will not complete the upgrade before the poll is
        answered. To answer at once would be wrong too: where the pong is lost on its way, the
        client would poll as fast as it can.
        """
        if self._held:
            return Due.LATER_NOOP, LATER_NOOP_AFTER
        self._held = True
        return Due.NOOP, NOOP_AFTER
