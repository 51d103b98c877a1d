"""Messages that have come from other members: decoded, counted and acted on."""

from __future__ import annotations

import logging
from dataclasses import replace

from gateway.api import Namespace
from gateway.cluster import messages as wire
from gateway.cluster.answering import Answering
from gateway.cluster.asking import Requests
from gateway.cluster.bus import Bus, Channel, Gaps, Kind
from gateway.cluster.lead import Lead
from gateway.cluster.messages import BadMessage, Request
from gateway.cluster.outgoing import Outgoing
from gateway.errors import UsageError
from gateway.socketio.hub import Hub

__all__ = ["Incoming"]

LOG = logging.getLogger("sockgw.cluster")


class Incoming:
    """What a member receives on its bus. `answering` does what others ask for."""

    def __init__(
        self, hub: Hub, bus: Bus, outgoing: Outgoing, requests: Requests, lead: Lead
    ) -> None:
        self.answering = Answering(hub, outgoing.answer)
        self._hub = hub
        self._bus = bus
        self._outgoing = outgoing
        self._requests = requests
        self._lead = lead
        self._gaps = Gaps()

    def forget(self, member: str) -> None:
        """Forget a member that is gone."""
        self._gaps.forget(member)

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
                self._requests.take(answer)
        except BadMessage as error:
            self._bus.counts.undecodable += 1
            LOG.debug("a message of another member is dropped: %s", error)
        except Exception:
            LOG.exception("a fault in the gateway itself")

    def _take_broadcast(self, channel: Channel, message: wire.Broadcast) -> None:
        if message.uid == self._bus.tag:
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
            self._outgoing.answer(channel.namespace, answer, message.uid)

    def _take_request(self, channel: Channel, request: Request) -> None:
        if request.uid == self._bus.tag:
            return
        opts = getattr(request, "opts", None)
        target = None if opts is None else self._target(channel.namespace, opts)
        if isinstance(request, wire.Hello):  # sent before or after any other
            self._lead.heard(request)
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
        if number and sender in self._bus.members:
            is_direct = target is not None and self._outgoing.owner(target) is not None
            missed = self._gaps.missed(sender, channel, number, is_direct=is_direct)
            self._bus.counts.missed += missed

    def _target(self, namespace: str, opts: wire.Options) -> Namespace:
        target = Namespace(namespace, self._hub, tuple(opts.rooms) or None, tuple(opts.excluded))
        return replace(target, is_volatile=True) if opts.flags.volatile else target
