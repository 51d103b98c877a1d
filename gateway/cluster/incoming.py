"""Messages that have come from other members: decoded, counted and acted on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from gateway.api import Namespace
from gateway.cluster import messages as wire
from gateway.cluster.accept import Accept, Operation, operation_of
from gateway.cluster.answering import Answering
from gateway.cluster.asking import Requests
from gateway.cluster.bus import Bus, Channel, Gaps, Kind
from gateway.cluster.messages import BadMessage, Request
from gateway.cluster.node import NodeAnswers
from gateway.cluster.outgoing import Outgoing
from gateway.cluster.presence import PresenceExchange
from gateway.cluster.python_socketio import PythonMessages
from gateway.errors import UsageError
from gateway.socketio.hub import Hub

__all__ = ["Incoming"]

_KINDS = frozenset(Kind)

LOG = logging.getLogger("sockgw.cluster")


class Incoming:
    """What a member receives on its bus. `answering` does what others ask for.

    `meet` gets who a member is, and `learn` what it serves. `accept` tells what is accepted of
    others than members.
    """

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        outgoing: Outgoing,
        requests: Requests,
        meet: Callable[[wire.Hello], None],
        learn: Callable[[wire.Serves], None],
        accept: Accept,
    ) -> None:
        self.answering = Answering(hub, bus, outgoing.answer)
        self._accept = accept
        self._node = NodeAnswers(hub, outgoing.answer_node)
        self._python = PythonMessages(hub, accept)
        self._hub = hub
        self._bus = bus
        self._outgoing = outgoing
        self._requests = requests
        self._meet, self._learn = meet, learn
        self._gaps = Gaps()
        self._presence = PresenceExchange(hub.presence, bus, outgoing)

    def forget(self, member: str) -> None:
        """Forget a member that is gone."""
        self._gaps.forget(member)

    def receive(self, channel: Channel, message: bytes) -> None:
        """Act on a message of another member; one that cannot be decoded is counted."""
        try:
            if channel.kind is Kind.BROADCAST:
                self._take_broadcast(channel, wire.decode_broadcast(message))
            elif channel.kind is Kind.REQUEST:
                self._take_request(channel, self._request(channel, message))
            elif channel.kind is Kind.OUTSIDE:
                self._take_python(message)
            else:
                self._take_answer(channel, message)
        except BadMessage as error:
            self._bus.counts.undecodable += 1
            LOG.debug("a message of another member is dropped: %s", error)
        except Exception:
            LOG.exception("a fault in the gateway itself")

    def receive_hello(self, channel: Channel, message: bytes) -> None:
        """Act on a message of a member on this machine about who leads; there are no others."""
        with suppress(BadMessage):
            request = wire.decode_request(message)
            if isinstance(request, wire.Hello):
                self._meet(request)

    def _take_broadcast(self, channel: Channel, message: wire.Broadcast) -> None:
        if message.uid == self._bus.tag:
            return
        packet, ours = message.packet, message.ours
        if packet.nsp != channel.namespace:
            raise BadMessage("a packet of another namespace than that of its channel")
        target = self._target(channel.namespace, message.opts)
        if ours.number:
            if not self._note(channel, message.uid, ours.number, is_direct=ours.direct):
                return
            self._bus.counts.lags.note(time.time() - ours.time)
        elif not self._accepts(message.uid, "emit", channel.namespace):
            return
        event, *args = packet.data
        count = 0
        try:
            if self._has_sockets(target):  # else it would be encoded for nobody
                count = self._hub.deliver(target, event, args)
        except (TypeError, ValueError, UsageError) as error:
            raise BadMessage(str(error)) from None
        if ours.confirm:
            answer = wire.Answer(ours.confirm, count=count)
            self._outgoing.answer(channel.namespace, answer, message.uid)

    def _request(self, channel: Channel, message: bytes) -> Request:
        """Decode a request; one of a later version has arrived, even if nobody can read it."""
        try:
            return wire.decode_request(message)
        except BadMessage:
            with suppress(BadMessage):
                head = wire.decode_head(message)
                self._note(channel, head.uid, head.number, is_direct=head.direct)
            raise

    def _take_request(self, channel: Channel, request: Request) -> None:
        if request.uid == self._bus.tag:
            return
        opts = getattr(request, "opts", None)
        target = self._target(channel.namespace, opts or wire.Options())
        if isinstance(request, wire.Hello):  # sent before or after any other
            self._meet(request)
        elif isinstance(request, wire.Serves):
            self._learn(request)
        elif isinstance(request, wire.Last):
            self._take_last(request)
        elif not request.number:
            if self._accepts(request.uid, operation_of(request), channel.namespace):
                self._take_stranger(request, target)
        elif not self._note(channel, request.uid, request.number, is_direct=request.direct):
            return
        elif isinstance(request, wire.Presence | wire.AskPresence):
            self._presence.take(request)
        elif isinstance(request, wire.Publish):
            everywhere = None if request.everywhere else channel.namespace
            self._hub.dispatcher.cluster(request.data, everywhere)
        elif opts is not None:
            self.answering.begin(request, target)

    def _take_stranger(self, request: Request, target: Namespace) -> None:
        """Do what a Node server or an emitter asks for."""
        if isinstance(request, wire.Publish):
            self._node.publish(request, target.name)
        elif work := self._node.work(request, target, target.name):
            self.answering.do(work)
        else:
            request.request_id = ""  # Node waits for no answer to what changes sockets
            self.answering.begin(request, target)

    def _take_last(self, last: wire.Last) -> None:
        if last.uid in self._bus.members:
            numbers = {
                (Channel(Kind(kind), namespace), is_direct): number
                for kind, namespace, is_direct, number in last.numbers
                if kind in _KINDS
            }
            missed = self._gaps.told(last.uid, numbers, is_joining=last.joining)
            self._bus.counts.missed += missed

    def _take_answer(self, channel: Channel, message: bytes) -> None:
        answer = wire.decode_answer(message)
        if answer.uid:
            is_due = self._note(channel, answer.uid, answer.number, is_direct=True)
        else:
            is_due = self._accepts("node", "list", channel.namespace)
        if is_due:
            self._requests.take(answer)

    def _take_python(self, message: bytes) -> None:
        done = self._python.take(message)
        self._bus.counts.unaccepted += done is None
        if done is not None:
            self.answering.do(done)

    def _accepts(self, uid: str, operation: Operation, namespace: str) -> bool:
        is_accepted = self._accept.allows(uid, operation, namespace)
        self._bus.counts.unaccepted += not is_accepted
        return is_accepted

    def _note(self, channel: Channel, sender: str, number: int, *, is_direct: bool = False) -> bool:
        """Count what was missed before a member's message; false if it comes too late itself."""
        is_known = sender in self._bus.members or self._gaps.is_gone(sender)
        if not number or not is_known:
            return True
        missed = self._gaps.missed(sender, channel, number, is_direct=is_direct)
        self._bus.counts.missed += missed or 0
        return missed is not None

    def _has_sockets(self, target: Namespace) -> bool:
        """False if nobody here is in the rooms of a target."""
        rooms, sizes = target.rooms, self._hub.rooms
        return rooms is None or any(sizes.size(target.name, room) for room in rooms)

    def _target(self, namespace: str, opts: wire.Options) -> Namespace:
        target = Namespace(namespace, self._hub, tuple(opts.rooms) or None, tuple(opts.excluded))
        return replace(target, is_volatile=True) if opts.flags.volatile else target
