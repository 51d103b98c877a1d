"""Messages on their way to other members: who gets them, their numbers and their encoding."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from gateway.api import Namespace
from gateway.cluster import messages as wire
from gateway.cluster.bus import Bus, Channel, Key, Kind, Numbers, Reason
from gateway.cluster.messages import Request

__all__ = ["ID_SIZE", "Outgoing"]

LOG = logging.getLogger("sockgw.cluster")

ID_SIZE = 20
"""Characters of a socket's id, which begins with the tag of its member."""


class Outgoing:
    """What a member sends to the others on its bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._numbers = Numbers()
        self._told: tuple[int, dict[Key, int]] = 0, {}

    def owner(self, target: Namespace) -> str | None:
        """The member that has all sockets of a target; `None` if it could be any.

        A target that is a single socket's id has one.
        """
        rooms = target.rooms
        if rooms is None or len(rooms) != 1 or len(rooms[0]) != ID_SIZE:
            return None
        tag = rooms[0][: len(self._bus.tag)]
        return tag if tag == self._bus.tag or tag in self._bus.members else None

    def is_taken(self, room: str) -> bool:
        """True if a room has the name that a socket of another member can have."""
        return len(room) == ID_SIZE and room[: len(self._bus.tag)] in self._bus.members

    def answer(self, namespace: str, answer: wire.Answer, to: str) -> None:
        """Send an answer to the member that has asked.

        If it cannot be sent, and is the last, one without content says that it is not whole.
        """
        channel = Channel(Kind.ANSWER, namespace)
        answer.uid = self._bus.tag
        answer.number = self._numbers.next(channel, to)
        size = len(self._publish(channel, answer, to))
        if not 0 < size <= self._bus.most_bytes and not answer.more:
            number, parts = self._numbers.next(channel, to), answer.parts + 2
            told = wire.Answer(answer.request_id, answer.uid, number, parts=parts)
            self._publish(channel, told, to)

    def answer_node(self, namespace: str, answer: dict[str, object], to: str) -> None:
        """Send an answer to the Node server that has asked."""
        try:
            encoded = wire.encode_plain(answer)
        except wire.CODING_ERRORS:
            self._bus.counts.unpublished["unsendable"] += 1
        else:
            self._bus.publish(Channel(Kind.ANSWER, namespace), encoded, to)

    def broadcast(
        self, target: Namespace, event: str, args: Sequence[object], confirm: str = ""
    ) -> None:
        """Send an event, which is answered if it has the id of a request to `confirm`."""
        to = self.owner(target)
        if to == self._bus.tag:
            return
        channel = Channel(Kind.BROADCAST, target.name)
        number = self._numbers.next(channel, to)
        ours = wire.Ours(number, to is not None, time.time(), confirm)
        packet = wire.event(target.name, [event, *args])
        message = wire.Broadcast(self._bus.tag, packet, wire.options(target), ours)
        self._publish(channel, message, to, volatile=target.is_volatile)

    def request(
        self, namespace: str, request: Request, to: str | None = None, id: str = ""
    ) -> None:
        """Send a request to all members, or to one. Without an `id` it is not answered."""
        channel = Channel(Kind.REQUEST, namespace)
        request.uid, request.request_id = self._bus.tag, id
        request.number, request.direct = self._numbers.next(channel, to), to is not None
        self._publish(channel, request, to)

    def last(self, to: str | None = None, *, is_joining: bool = True) -> None:
        """Tell the last numbers to a member that has joined, or to all if there are new ones.

        What all were told before the bus went away they are told again: it may not have arrived.
        """
        numbers = self._numbers.last(to)
        now = self._bus.state.changes, numbers
        if to is None and (now == self._told or not numbers):
            return
        told = [(key.kind.value, key.namespace, d, n) for (key, d), n in numbers.items()]
        last = wire.Last(uid=self._bus.tag, numbers=told, joining=is_joining and to is not None)
        self._bus.publish(Channel(Kind.REQUEST, "/"), wire.encode(last), to)
        if to is None:
            self._told = now

    def again(self, to: str) -> None:
        """Tell the last numbers to a member that has connected again, and missed those for all."""
        self.last(to, is_joining=False)

    def introduce(self, told: wire.Hello | wire.Serves, to: str | None) -> None:
        """Send what has no number: it may be a member's first message or not."""
        self._bus.publish(Channel(Kind.REQUEST, "/"), wire.encode(told), to)

    def forget(self, member: str) -> None:
        """Forget a member that is gone."""
        self._numbers.forget(member)

    def _publish(
        self,
        channel: Channel,
        message: wire.Broadcast | Request | wire.Answer,
        to: str | None,
        *,
        volatile: bool = False,
    ) -> bytes:
        """Send a message; returns it encoded, `b""` if that is not possible."""
        try:
            encoded = wire.encode(message)
        except wire.CODING_ERRORS:
            reason: Reason = "unsendable"
            self._bus.counts.unpublished[reason] += 1
            LOG.exception("a message for other members cannot be encoded")
            return b""
        self._bus.publish(channel, encoded, to, volatile=volatile)
        return encoded
