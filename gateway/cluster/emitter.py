"""The emitter of a gateway with several members: it acts here first, then tells the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from gateway.api import Answers, Delivery, Member, Namespace, Present, Socket, Sockets, Value
from gateway.cluster import messages as wire
from gateway.cluster.accept import Accept
from gateway.cluster.asking import NODE, Gathered, Requests
from gateway.cluster.bus import Bus
from gateway.cluster.configurations import Configurations
from gateway.cluster.incoming import Incoming
from gateway.cluster.lead import Lead
from gateway.cluster.messages import BadMessage, Request
from gateway.cluster.node import ACK
from gateway.cluster.outgoing import ID_SIZE, Outgoing
from gateway.cluster.remote import socket_views
from gateway.errors import UsageError
from gateway.socketio.hub import Hub, published
from gateway.users import is_user_room

__all__ = ["ClusterEmitter"]

LOG = logging.getLogger("sockgw.cluster")

CONFIRM = 2.0
"""Seconds that a change of sockets waits for other members to confirm it."""

GRACE = 0.5
"""Seconds that a call waits for other members beyond its own time."""

QUIET = 10.0
"""Seconds between two lines of the log about members that do not answer."""


class ClusterEmitter:
    """The emitter that plugins get from a `hub` that has other members beside it on a `bus`.

    `number` is that of the worker, `accept` tells what is accepted of others than members. To be
    made before anything starts on the hub. `local` is the bus of this machine, whose members find
    out among themselves which of them leads; `None` if that is `bus`.
    """

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        number: int = 1,
        accept: Accept | None = None,
        local: Bus | None = None,
    ) -> None:
        self.member = Member(bus.tag, number, hub.member.node)
        self.bus = bus
        self.requests = Requests(bus.tag)
        self._hub = hub
        self._outgoing = Outgoing(bus)
        beside = local or bus
        say = Outgoing(beside).introduce
        settle = hub.dispatcher.live.pool.settle
        self.lead = Lead(self.member, lambda: beside.members, say, settle)
        accept = accept or Accept()
        introduce = self._outgoing.introduce
        self.configurations = Configurations(self.member, lambda: bus.members, introduce)
        heard = self.lead.heard, self.configurations.heard
        self.incoming = Incoming(hub, bus, self._outgoing, self.requests, *heard, accept)
        self._told = -QUIET
        hub.member = self.member
        hub.use(self)
        hub.rooms.is_foreign = self._outgoing.is_taken
        hub.dispatcher.live.pool.leads = {"node": self.lead, "cluster": bus.lease or self.lead}
        if bus.lease is not None:
            bus.lease.changed = settle
        bus.receive = self.incoming.receive
        bus.on_beat.append(self._outgoing.last)
        if bus is not local:  # messages can be lost on the way
            bus.on_joined += [self._outgoing.last, self.configurations.joined]
            bus.on_beat.append(self.configurations.beat)
            bus.on_again.append(self._outgoing.again)
        bus.on_lost.append(self._lost)
        if beside is not bus:
            beside.receive = self.incoming.receive_hello
        beside.on_joined.append(self.lead.joined)
        beside.on_lost.append(self.lead.lost)

    # The emitter

    async def broadcast(self, target: Namespace, event: str, args: Sequence[object]) -> None:
        self._hub.deliver(target, event, args)
        if self._is_public(target):
            self._outgoing.broadcast(target, event, args)

    async def confirm(
        self, target: Namespace, event: str, args: Sequence[object], timeout: float
    ) -> Delivery:
        here = self._hub.deliver(target, event, args)

        def publish(id: str) -> None:
            self._outgoing.broadcast(target, event, args, id)

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
            self.request(target, request, timeout + GRACE, answered_by_node=True),
        )
        answers, missing = dict(here.answers), list(here.missing)
        for each in (each for several in found.answers.values() for each in several):
            answers |= each.answers
            missing += each.missing
        answers |= _of_node(target, found)
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
        found = await self.request(target, request, timeout, answered_by_node=True)
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
        if await self._strangers(target):  # Node counts for nobody
            return len(await self.sockets(target, timeout))
        here = await self._hub.count(target, timeout)
        found = await self.request(target, wire.Count(opts=wire.options(target)), timeout)
        return here + sum(each[0].count for each in found.answers.values())

    async def present(self, target: Namespace) -> list[Present]:
        return await self._hub.presence.present(target)

    async def publish(self, event: str, args: Sequence[object]) -> None:
        data = published(event, args)
        self._hub.dispatcher.cluster(data)
        self._outgoing.request("/", wire.Publish(data=data, everywhere=True))

    # Asking

    async def _ask(
        self,
        target: Namespace,
        publish: Callable[[str], None],
        timeout: float,
        strangers: int = 0,
    ) -> Gathered:
        """Ask the members that can have sockets of a target, and Node servers if there are any."""
        asked: Collection[str] = tuple(self.bus.members)
        owner = self._outgoing.owner(target)
        if owner is not None:
            asked = [owner] if owner in asked else []
        if not (asked or strangers) or not self._is_public(target):
            return Gathered()
        if not self.bus.is_up:
            return Gathered({}, tuple(asked))
        return await self.requests.ask(asked, publish, timeout, strangers)

    async def request(
        self,
        target: Namespace,
        request: Request,
        timeout: float,
        *,
        answered_by_node: bool = False,
    ) -> Gathered:
        """Ask the members that can have sockets of a target, and gather their answers.

        With `answered_by_node`, Node servers are asked too.
        """
        owner = self._outgoing.owner(target)
        strangers = await self._strangers(target) if answered_by_node else 0

        def publish(id: str) -> None:
            self._outgoing.request(target.name, request, owner, id)

        return await self._ask(target, publish, timeout, strangers)

    async def _strangers(self, target: Namespace) -> int:
        """The number of Node servers that can have sockets of a target."""
        is_elsewhere = self._outgoing.owner(target) is None and self._is_public(target)
        return await self.bus.strangers(target.name) if is_elsewhere else 0

    async def _change(self, target: Namespace, request: wire.Confirmed) -> None:
        """Have other members change their sockets; those that do not confirm it are logged."""
        found = await self.request(target, request, CONFIRM)
        late = [tag for tag in found.missing if tag in self.bus.members]
        now = asyncio.get_running_loop().time()
        if late and now >= self._told + QUIET:
            self._told = now
            what = type(request).__name__.lower()
            LOG.warning("%s: not confirmed in %g s by %s", what, CONFIRM, ", ".join(late))

    def _is_public(self, target: Namespace) -> bool:
        """False for a target that cannot have sockets on any member."""
        return target.rooms != () and self._hub.dispatcher.serves(target.name)

    def _lost(self, member: str) -> None:
        self.requests.lost(member)
        self.incoming.forget(member)
        self._outgoing.forget(member)
        self.configurations.lost(member)


def _of_node(target: Namespace, found: Gathered) -> dict[str, list[Value]]:
    """The answers of Node's sockets, which come without an id: they are numbered instead."""
    answers = [each.packet for each in found.answers.get(NODE, ()) if each.type == ACK]
    rooms = target.rooms or ()
    is_one = len(rooms) == 1 and len(rooms[0]) == ID_SIZE and not is_user_room(rooms[0])
    if is_one and len(answers) == 1:
        return {rooms[0]: [answers[0]]}
    return {f"{NODE}-{number}": [answer] for number, answer in enumerate(answers, 1)}
