"""What every engine of the bus keeps to. Each engine's own test file runs these functions.

`Network` makes members that are joined by an engine.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.cluster.bus import Bus, Channel, Gaps, Kind, Numbers
from tests.deadline import until

__all__ = ["CONTRACT", "Network"]

CHAT = Channel(Kind.BROADCAST, "/chat")
OTHER = Channel(Kind.REQUEST, "/☃")
HEAD = struct.Struct("!I")


class Network(Protocol):
    """Members that an engine joins."""

    async def join(self, tag: str) -> Bus: ...

    async def leave(self, bus: Bus) -> None:
        """End a member as a crash does."""

    def freeze(self, bus: Bus) -> AbstractAsyncContextManager[None]:
        """A time in which nothing leaves a member's outbox."""


class Heard:
    """What a member has received: numbered messages, by sender, and how many are missing."""

    def __init__(self, bus: Bus) -> None:
        self.messages: list[tuple[Channel, bytes]] = []
        self.numbers: dict[str, list[int]] = defaultdict(list)
        self.missed = 0
        self._gaps = Gaps()
        bus.receive = self.take
        bus.on_lost.append(self._gaps.forget)

    def take(self, channel: Channel, message: bytes) -> None:
        self.messages.append((channel, message))
        if len(message) >= HEAD.size + 5:
            (number,) = HEAD.unpack_from(message)
            sender = message[HEAD.size : HEAD.size + 5].decode()
            self.missed += self._gaps.missed(sender, channel, number) or 0
            self.numbers[sender].append(number)


class Sender:
    """Sends numbered messages."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._numbers = Numbers()

    def send(self, size: int = 0) -> None:
        number = HEAD.pack(self._numbers.next(CHAT))
        self._bus.publish(CHAT, number + self._bus.tag.encode() + bytes(size))


async def all_receive_what_one_publishes_but_not_itself(network: Network) -> None:
    one, two, last = [await network.join(tag) for tag in ("one..", "two..", "last.")]
    heard = [Heard(bus) for bus in (one, two, last)]
    assert set(one.members) == {"two..", "last."}
    assert one.is_up
    one.publish(CHAT, b"")
    one.publish(OTHER, b"\0\xff")
    two.publish(CHAT, b"two")
    await until(lambda: len(heard[2].messages) == 3)
    await until(lambda: len(heard[1].messages) == 2)
    await until(lambda: len(heard[0].messages) == 1)
    assert heard[1].messages == [(CHAT, b""), (OTHER, b"\0\xff")]
    assert heard[0].messages == [(CHAT, b"two")]
    assert last.counts.received == 3


async def one_member_alone_receives_what_is_for_it(network: Network) -> None:
    one, two, last = [await network.join(tag) for tag in ("one..", "two..", "last.")]
    heard = [Heard(bus) for bus in (one, two, last)]
    one.publish(CHAT, b"yours", "two..")
    one.publish(CHAT, b"all")
    await until(lambda: heard[1].messages and heard[2].messages)
    await until(lambda: len(heard[1].messages) == 2)
    assert heard[2].messages == [(CHAT, b"all")]
    one.publish(CHAT, b"nobody", "gone.")
    assert one.counts.unpublished == {"gone": 1}


async def messages_of_a_sender_arrive_in_order(network: Network) -> None:
    one, two, last = [await network.join(tag) for tag in ("one..", "two..", "last.")]
    heard, senders = Heard(last), [Sender(one), Sender(two)]
    for count in range(1000):
        for sender in senders:
            sender.send(count)
    await until(lambda: all(len(heard.numbers[each]) == 1000 for each in ("one..", "two..")))
    assert heard.numbers == {key: list(range(1, 1001)) for key in ("one..", "two..")}
    assert heard.missed == 0


async def a_full_outbox_drops_what_it_counts(network: Network) -> None:
    one, two = [await network.join(tag) for tag in ("one..", "two..")]
    heard, sender = Heard(two), Sender(one)
    sender.send()
    await until(lambda: heard.numbers["one.."])
    async with network.freeze(one):
        for _ in range(60):
            sender.send(2**19)
        lost = sum(one.counts.unpublished.values())
        assert 0 < lost < 60
        assert one.counts.unpublished == {"full": lost}
        one.publish(CHAT, b"", volatile=True)
        assert one.counts.unpublished == {"full": lost, "volatile": 1}
    await until(lambda: len(heard.numbers["one.."]) == 61 - lost)
    sender.send()
    await until(lambda: heard.numbers["one.."][-1] == 62)
    assert heard.missed == lost


async def a_member_that_is_gone_is_told_and_may_come_back(network: Network) -> None:
    one, two = [await network.join(tag) for tag in ("one..", "two..")]
    lost: list[str] = []
    joined: list[str] = []
    two.on_lost.append(lost.append)
    two.on_joined.append(joined.append)
    heard, sender = Heard(two), Sender(one)
    for _ in range(9):
        sender.send()
    await until(lambda: len(heard.numbers["one.."]) == 9)
    await network.leave(one)
    await until(lambda: lost)
    assert (lost, list(two.members)) == (["one.."], [])
    again = await network.join("again")
    await until(lambda: joined)
    Sender(again).send()
    await until(lambda: heard.numbers["again"])
    assert (joined, heard.numbers["again"], heard.missed) == (["again"], [1], 0)


CONTRACT: list[Callable[..., object]] = [
    all_receive_what_one_publishes_but_not_itself,
    one_member_alone_receives_what_is_for_it,
    messages_of_a_sender_arrive_in_order,
    a_full_outbox_drops_what_it_counts,
    a_member_that_is_gone_is_told_and_may_come_back,
]
