"""What clients lost, beside what members counted as missed.

Each member numbers its broadcasts, and each other member counts the numbers that it missed. One
that it missed reached none of its clients. So all clients that stayed on a member lack the same
broadcasts, as many as it has counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bench.clustering.nodes import Counted
from bench.scaling.clients import Client, Song

__all__ = ["Loss", "is_witness", "losses"]


@dataclass(frozen=True, slots=True)
class Loss:
    """A member's share of a fault, on the node with the number `node`.

    `witnesses` are clients that stayed all the time. `lost` are broadcasts that each of them lacks,
    `alone` those that some lack and others have. `counted` is what the member has counted.
    """

    tag: str
    node: int
    witnesses: int
    lost: int
    alone: int
    counted: int

    @property
    def is_exact(self) -> bool:
        """True if as much was lost as was counted; nobody has seen that where no client stayed."""
        return not self.alone and (not self.witnesses or self.lost == self.counted)


def is_witness(client: Client) -> bool:
    """True for a client that stayed, and noticed nothing."""
    return not (client.noticed or client.ended or client.left) and bool(client.worker)


def losses(
    before: Mapping[str, Counted],
    after: Mapping[str, Counted],
    clients: Sequence[Client],
    songs: Sequence[Song],
) -> list[Loss]:
    """The losses of each member that is there afterwards."""
    made = _made(clients, songs)
    found = []
    for tag, counted in sorted(after.items(), key=lambda each: (each[1].node, each[0])):
        lacks = [set(each.lacks) & made for each in clients if each.tag == tag and is_witness(each)]
        all_, some = (set.intersection(*lacks), set.union(*lacks)) if lacks else (set(), set())
        known = before[tag].missed if tag in before else 0
        found.append(
            Loss(
                tag=tag,
                node=counted.node,
                witnesses=len(lacks),
                lost=len(all_),
                alone=len(some - all_),
                counted=counted.missed - known,
            )
        )
    return found


def _made(clients: Collection[Client], songs: Sequence[Song]) -> set[int]:
    """The broadcasts that were made: their call was answered, or some client has them."""
    lacked = [set(each.lacks) for each in clients]
    nobody_has = set.intersection(*lacked) if lacked else set()
    return {song.number for song in songs if song.answered or song.number not in nobody_has}
