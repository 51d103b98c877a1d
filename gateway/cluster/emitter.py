"""The emitter of a gateway with several members: it acts here first, then tells the others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from gateway.api import Answers, Delivery, Member, Namespace, Socket, Sockets
from gateway.cluster import messages as wire
from gateway.cluster.answering import Answering
from gateway.cluster.asking import Gathered, Requests
from gateway.cluster.bus import Bus, Channel, Gaps, Kind, Numbers, Reason
from gateway.cluster.lead import Lead
from gateway.cluster.messages import BadMessage, Request
from gateway.cluster.remote import socket_views
from gateway.errors import UsageError
from gateway.socketio.hub import Hub, published

__all__ = ["ClusterEmitter"]

LOG = logging.getLogger("sockgw.cluster")

CONFIRM = 2.0
"""Seconds that a change of sockets waits for other members to confirm it."""

GRACE = 0.5
"""Seconds that a call waits for other members beyond its own time."""

ID_SIZE = 20
"""Characters of a socket's id, which begins with the tag of its member."""

QUIET = 10.0
"""Seconds between two lines of the log about members that do not answer."""


class ClusterEmitter:
    """The emitter that plugins get from a `hub` that has other members beside it on a `bus`.

    `number` is that of the worker. To be made before anything starts on the hub.
    """

    def __init__(self, hub: Hub, bus: Bus, number: int = 1) -> None:
        self.member = Member(bus.tag, number, hub.member.node)
        self.bus = bus
        self.requests = Requests()
        self._hub = hub
        self._numbers = Numbers()
        self._gaps = Gaps()
        self._told = -QUIET
        self.lead = Lead(self.member, lambda: bus.members, self._hello, self._lead_changed)
        self.answering = Answering(hub, self.answer)
        hub.member = self.member
        hub.use(self)
        hub.rooms.is_taken = self._is_taken(hub.rooms.is_taken)
        hub.dispatcher.live.follow(self.lead)
        bus.receive = self.receive
        bus.on_joined.append(self.lead.joined)
        bus.on_lost.append(self._lost)

    # The emitter

    async def broadcast(self, target: Namespace, event: str, args: Sequence[object]) -> None:
        self._hub.deliver(target, event, args)
        self._broadcast(target, event, args)

    async def confirm(
        self, target: Namespace, event: str, args: Sequence[object], timeout: float
    ) -> Delivery:
        here = self._hub.deliver(target, event, args)

        def publish(id: str) -> None:
            self._broadcast(target, event, args, id)

        found = await self._ask(target, publish, timeout)
        counts = {tag: each[0].count for tag, each in found.answers.items()}
        return Delivery({self.member.tag: here, **counts}, found.missing)

    async def call(
        self, target: Namespace, event: str, args: Sequence[object], timeout: float
    ) -> Answers:
        if target.is_volatile:
            raise UsageError("call() cannot be volatile: it waits for every answer")
        self._hub.event(event, args, target.name)  # raises before anything is sent
        request = wire.Call(
            opts=wire.options(target), packet=wire.event(target.name, [event, *args])
        )
        request.timeout = timeout
        here, found = await asyncio.gather(
            self._hub.call(target, event, args, timeout),
            self._request(target, request, timeout + GRACE),
        )
        answers, missing = dict(here.answers), list(here.missing)
        for each in (each for several in found.answers.values() for each in several):
            answers |= each.answers
            missing += each.missing
        return Answers(answers, tuple(missing), found.missing)

    async def join(self, target: Namespace, rooms: Sequence[str]) -> None:
        await self._hub.join(target, rooms)
        request = wire.Join(opts=wire.options(target), rooms=list(rooms))
        await self._change(target, request)

    async def leave(self, target: Namespace, rooms: Sequence[str]) -> None:
        await self._hub.leave(target, rooms)
        request = wire.Leave(opts=wire.options(target), rooms=list(rooms))
        await self._change(target, request)

    async def disconnect_sockets(self, target: Namespace, close: bool) -> None:
        await self._hub.disconnect_sockets(target, close)
        await self._change(target, wire.Disconnect(opts=wire.options(target), close=close))

    async def sockets(self, target: Namespace, timeout: float) -> Sockets:
        request = wire.Fetch(opts=wire.options(target), brief=True)
        here = await self._hub.sockets(target, timeout)
        found = await self._request(target, request, timeout)
        scope, missing = self._hub.scope(target.name), list(found.missing)
        sockets: list[Socket] = list(here)
        for tag, answers in found.answers.items():
            try:
                for answer in answers:
                    sockets += socket_views(answer.sockets, scope)
            except BadMessage:
                self.bus.counts.undecodable += 1
                missing.append(tag)
        return Sockets(sockets, tuple(dict.fromkeys(missing)))

    async def count(self, target: Namespace, timeout: float) -> int:
        here = await self._hub.count(target, timeout)
        found = await self._request(target, wire.Count(opts=wire.options(target)), timeout)
        return here + sum(each[0].count for each in found.answers.values())

    async def publish(self, event: str, args: Sequence[object]) -> None:
        data = published(event, args)
        self._hub.dispatcher.cluster(data)
        self._send("/", wire.Publish(data=data, everywhere=True))

    # Sending

    def answer(self, namespace: str, answer: wire.Answer, to: str) -> None:
        """Send an answer to the member that has asked."""
        channel = Channel(Kind.ANSWER, namespace)
        answer.uid = self.member.tag
        answer.number = self._numbers.next(channel, to)
        self._publish(channel, answer, to)

    def _broadcast(
        self, target: Namespace, event: str, args: Sequence[object], confirm: str = ""
    ) -> None:
        to = self._owner(target)
        if to == self.member.tag or not self._is_public(target):
            return
        channel = Channel(Kind.BROADCAST, target.name)
        ours = wire.Ours(self._numbers.next(channel, to), time.time(), confirm)
        packet = wire.event(target.name, [event, *args])
        message = wire.Broadcast(self.member.tag, packet, wire.options(target), ours)
        self._publish(channel, message, to, volatile=target.is_volatile)

    def _send(self, namespace: str, request: Request, to: str | None = None, id: str = "") -> None:
        channel = Channel(Kind.REQUEST, namespace)
        request.uid, request.request_id = self.member.tag, id
        request.number = self._numbers.next(channel, to)
        self._publish(channel, request, to)

    def _publish(
        self,
        channel: Channel,
        message: wire.Broadcast | Request | wire.Answer,
        to: str | None,
        *,
        volatile: bool = False,
    ) -> None:
        try:
            encoded = wire.encode(message)
        except (TypeError, ValueError, OverflowError, RecursionError):
            reason: Reason = "unsendable"
            self.bus.counts.unpublished[reason] += 1
            LOG.exception("a message for other members cannot be encoded")
        else:
            self.bus.publish(channel, encoded, to, volatile=volatile)

    # Asking

    async def _ask(
        self, target: Namespace, publish: Callable[[str], None], timeout: float
    ) -> Gathered:
        """Ask the members that can have sockets of a target."""
        asked: Collection[str] = tuple(self.bus.members)
        owner = self._owner(target)
        if owner is not None:
            asked = [owner] if owner in asked else []
        if not asked or not self._is_public(target):
            return Gathered()
        if not self.bus.is_up:
            return Gathered({}, tuple(asked))
        return await self.requests.ask(asked, publish, timeout)

    async def _request(self, target: Namespace, request: Request, timeout: float) -> Gathered:
        owner = self._owner(target)
        return await self._ask(
            target, lambda it: self._send(target.name, request, owner, it), timeout
        )

    async def _change(self, target: Namespace, request: wire.Confirmed) -> None:
        """Have other members change their sockets; those that do not confirm it are logged."""
        found = await self._request(target, request, CONFIRM)
        late = [tag for tag in found.missing if tag in self.bus.members]
        now = asyncio.get_running_loop().time()
        if late and now >= self._told + QUIET:
            self._told = now
            what = type(request).__name__.lower()
            LOG.warning("%s: not confirmed in %g s by %s", what, CONFIRM, ", ".join(late))

    def _is_public(self, target: Namespace) -> bool:
        """False for a target that cannot have sockets on any member."""
        return target.rooms != () and self._hub.dispatcher.serves(target.name)

    def _owner(self, target: Namespace) -> str | None:
        """The member that has all sockets of a target; `None` if it could be any.

        A target that is a single socket's id has one.
        """
        rooms = target.rooms
        if rooms is None or len(rooms) != 1 or len(rooms[0]) != ID_SIZE:
            return None
        tag = rooms[0][: len(self.member.tag)]
        return tag if tag == self.member.tag or tag in self.bus.members else None

    def _is_taken(self, is_ours: Callable[[str], bool]) -> Callable[[str], bool]:
        """True of a room that has the name of a socket's own, on whatever member."""

        def is_taken(room: str) -> bool:
            if is_ours(room):
                return True
            return len(room) == ID_SIZE and room[: len(self.member.tag)] in self.bus.members

        return is_taken

    # Receiving

    def receive(self, channel: Channel, message: bytes) -> None:
        """Act on a message of another member; one that cannot be decoded is counted."""
        try:
            if channel.kind is Kind.BROADCAST:
                self._take_broadcast(channel, wire.decode_broadcast(message))
            elif channel.kind is Kind.REQUEST:
                self._take_request(channel, wire.decode_request(message))
            else:
                answer = wire.decode_answer(message)
                self._note(channel, answer.uid, answer.number)
                self.requests.take(answer)
        except BadMessage as error:
            self.bus.counts.undecodable += 1
            LOG.debug("a message of another member is dropped: %s", error)
        except Exception:
            LOG.exception("a fault in the gateway itself")

    def _take_broadcast(self, channel: Channel, message: wire.Broadcast) -> None:
        if message.uid == self.member.tag:
            return
        packet, ours = message.packet, message.ours
        if packet.nsp != channel.namespace:
            raise BadMessage("a packet of another namespace than that of its channel")
        target = self._target(channel.namespace, message.opts)
        self._note(channel, message.uid, ours.number, target)
        event, *args = packet.data
        try:
            count = self._hub.deliver(target, event, args)
        except (TypeError, ValueError, UsageError) as error:
            raise BadMessage(str(error)) from None
        if ours.confirm:
            answer = wire.Answer(ours.confirm, count=count)
            self.answer(channel.namespace, answer, message.uid)

    def _take_request(self, channel: Channel, request: Request) -> None:
        if request.uid == self.member.tag:
            return
        opts = getattr(request, "opts", None)
        target = None if opts is None else self._target(channel.namespace, opts)
        if isinstance(request, wire.Hello):  # sent before or after any other
            self.lead.heard(request)
            return
        self._note(channel, request.uid, request.number, target)
        if isinstance(request, wire.Publish):
            everywhere = None if request.everywhere else channel.namespace
            self._hub.dispatcher.cluster(request.data, everywhere)
        elif target is not None:
            self.answering.begin(request, target)

    def _note(
        self, channel: Channel, sender: str, number: int, target: Namespace | None = None
    ) -> None:
        """Count what was missed before a message, if a member has sent it."""
        if number and sender in self.bus.members:
            is_direct = target is not None and self._owner(target) is not None
            missed = self._gaps.missed(sender, channel, number, is_direct=is_direct)
            self.bus.counts.missed += missed

    def _target(self, namespace: str, opts: wire.Options) -> Namespace:
        target = Namespace(namespace, self, tuple(opts.rooms) or None, tuple(opts.excluded))
        return replace(target, is_volatile=True) if opts.flags.volatile else target

    # Members

    def _hello(self, hello: wire.Hello, to: str | None) -> None:
        self.bus.publish(Channel(Kind.REQUEST, "/"), wire.encode(hello), to)

    def _lead_changed(self) -> None:
        LOG.info("this member %s", "leads" if self.lead.is_here else "no longer leads")
        self._hub.dispatcher.live.lead_changed()

    def _lost(self, member: str) -> None:
        self.requests.lost(member)
        self._gaps.forget(member)
        self._numbers.forget(member)
        self.lead.lost(member)
