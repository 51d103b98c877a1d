"""The members that are there, by the beats that are heard."""

from __future__ import annotations

import msgspec

from gateway.cluster.members import LEASE, Members


async def test_who_stood_still_holds_it_against_nobody() -> None:
    """A process that was stopped has not read the beats that came meanwhile."""
    lost: list[str] = []
    members = Members("own-1", lambda beat, to: members.echoed(), [], [lost.append], beat=1.0)
    members.arrive()
    members.heard(msgspec.msgpack.encode(("other", "here")))
    start = members._heard["other"]
    for now in (1.1, 20.0, 21.1, 22.2, 23.3):
        members.look(start + now)
        assert lost == []
    members.look(start + 20.0 + LEASE + 1)
    assert lost == ["other"]
