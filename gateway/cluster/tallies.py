"""Tallies: what plugins count on all workers of a machine together.

Each member tells the others what its plugins have counted: what comes in one turn of the loop in
one frame. A member that reads nothing for so long that a frame is refused is not told again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from weakref import WeakValueDictionary

import msgspec

from gateway.cluster.peer import Frame, Mesh, Peer
from gateway.context import Tally
from gateway.runtime.blueprint import Blueprint
from gateway.runtime.live import Live
from gateway.runtime.outcome import FAULTS

__all__ = ["Tallies"]

LOG = logging.getLogger("sockgw.plugin")

Counts = dict[str, dict[bytes, int]]
"""Counts by the name of a tally, then by key."""


class Tallies:
    """Connects the tallies of what is live here with those of the peers in a mesh.

    A tally is known for as long as its plugin has it.
    """

    def __init__(self, live: Live, mesh: Mesh) -> None:
        self._mesh = mesh
        self._known: WeakValueDictionary[str, Tally] = WeakValueDictionary()
        self._counted: dict[str, Counter[str]] = {}
        self._decoder = msgspec.msgpack.Decoder(Counts)
        live.connect_tallies = self._connect
        mesh.on(Frame.TALLY, self._take)

    def __len__(self) -> int:
        """The number of tallies."""
        return len(self._known)

    def _connect(self, blueprint: Blueprint) -> None:
        for tally in blueprint.tallies:
            tally._tell = self._count
            self._known[tally._name] = tally

    def _count(self, name: str, key: str, count: int) -> None:
        if not self._counted:
            asyncio.get_running_loop().call_soon(self._tell)
        self._counted.setdefault(name, Counter())[key] += count

    def _tell(self) -> None:
        """Tell the peers what was counted since this was called last."""
        counted, self._counted = self._counted, {}
        payload = msgspec.msgpack.encode(
            {
                name: {key.encode("utf-8", "surrogatepass"): count for key, count in counts.items()}
                for name, counts in counted.items()
            }
        )
        for peer in self._mesh.peers.values():
            peer.send(Frame.TALLY, payload)

    def _take(self, peer: Peer, payload: bytes) -> None:
        for name, counts in self._decoder.decode(payload).items():
            tally = self._known.get(name)
            if tally is None:  # this member has another generation for now
                continue
            try:
                for key, count in counts.items():
                    tally.heard(key.decode("utf-8", "surrogatepass"), count)
            except FAULTS:
                LOG.exception("a plugin failed to hear what was counted by other workers")
