"""What a member does with a message besides carrying it, each part by itself."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

from bench.buses.sides import ARGS, CHANNEL, EVENT, SENDS, TAKES, TestMember, encoded
from gateway.cluster import messages as wire
from gateway.cluster.bus import Gaps, Numbers
from gateway.cluster.local import LocalBus
from gateway.cluster.peer import Mesh

__all__ = ["parts"]


async def parts(count: int) -> dict[str, float]:
    """Seconds of CPU time of each part, `count` times."""
    with tempfile.TemporaryDirectory() as folder:
        async with TestMember(folder, LocalBus(Mesh(TAKES))) as member:
            numbers, gaps, message = Numbers(), Gaps(), encoded(SENDS)
            target, number = member.target, iter(range(1, 4 * count))
            options, packet = wire.options(target), wire.event("/", [EVENT, *ARGS])
            broadcast = wire.Broadcast(SENDS, packet, options, wire.Ours(1, time=time.time()))
            works: dict[str, Callable[[], object]] = {
                "number": lambda: numbers.next(CHANNEL),
                "encode": lambda: wire.encode(broadcast),
                "decode": lambda: wire.decode_broadcast(message),
                "note": lambda: gaps.missed(SENDS, CHANNEL, next(number)),
                "deliver to nobody": lambda: member.hub.deliver(target, EVENT, ARGS),
            }
            return {name: _timed(work, count) for name, work in works.items()}


def _timed(work: Callable[[], object], count: int) -> float:
    work()
    before = time.process_time()
    for _ in range(count):
        work()
    return time.process_time() - before
