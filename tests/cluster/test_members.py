"""Who is a member, as beats tell, and when one is gone."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest

from gateway.cluster.bus import BusCounts
from gateway.cluster.members import BEAT, Members

LONG = 3.5 * BEAT


class Told:
    """A member that has heard of `tag-1`, and what it tells of others."""

    def __init__(self) -> None:
        self.said: list[tuple[str, ...]] = []
        self.seen: list[str] = []
        self.counts = BusCounts()
        self.members = Members(
            "tag-0",
            lambda beat, to: self.said.append(msgspec.msgpack.decode(beat)),
            [lambda tag: self.seen.append(f"+{tag}")],
            [lambda tag: self.seen.append(f"-{tag}")],
            counts=self.counts,
        )
        self.now = asyncio.get_running_loop().time()
        self.members.arrive()
        self.hear("new")
        self.said.clear()

    def hear(self, word: str) -> None:
        self.members.heard(msgspec.msgpack.encode(("tag-1", word)))

    def look(self, seconds: float) -> None:
        """Look as often as a member does, until so many seconds are over."""
        end = self.now + seconds
        while self.now < end:
            self.now += BEAT / 10
            self.members.echoed()
            self.members.look(self.now)


async def test_one_that_is_silent_is_gone_and_may_be_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sockgw.cluster")
    told = Told()
    told.look(LONG + 2 * BEAT)
    assert told.seen == ["+tag-1", "-tag-1"]
    assert told.counts.members_lost == 1
    told.hear("here")
    assert told.seen == ["+tag-1", "-tag-1", "+tag-1"]
    assert [each.getMessage() for each in caplog.records] == [
        "member tag-1 is gone: nothing was heard of it for 10.5 s",
        "member tag-1 is back",
    ]


async def test_one_that_leaves_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    told.hear("bye")
    told.members.ended("tag-1")
    assert told.seen == ["+tag-1", "-tag-1"]
    assert told.counts.members_lost == 0
    assert told.said == []
    assert not caplog.records


async def test_one_on_this_machine_that_has_ended_is_told_of() -> None:
    told, other = Told(), Told()
    told.members.ended("tag-1")
    assert told.said == [["tag-1", "gone"]]
    other.hear("gone")
    for each in (told, other):
        assert each.seen == ["+tag-1", "-tag-1"]
        assert each.counts.members_lost == 1


async def test_one_that_leaves_itself_tells_of_nobody() -> None:
    told = Told()
    told.members.leave()
    told.members.ended("tag-1")
    assert told.said == [["tag-0", "bye"]]
    assert told.seen == ["+tag-1"]


async def test_nobody_is_gone_because_this_member_was_stopped() -> None:
    """What others have said meanwhile, and what it has said itself, is not read yet."""
    told = Told()
    told.members.look(told.now + BEAT)
    told.now += 100 * BEAT
    told.members.look(told.now)
    assert told.seen == ["+tag-1"]
    assert not told.members.is_deaf
    told.look(LONG + 2 * BEAT)
    assert told.seen == ["+tag-1", "-tag-1"]
