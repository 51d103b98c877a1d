"""Forwarding: requests of sessions that another member owns.

A session's id begins with the tag of its owner. Another member that gets a request for it sends the
whole request to the owner in one frame and writes the answer that comes back. What becomes of
the client goes to the owner in signals, so polls behave as if the client were connected to it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Literal, get_args

import msgspec

from gateway.cluster.passing import Passing
from gateway.cluster.peer import Frame, Mesh, Peer
from gateway.cluster.requests import (
    ForwardedAnswer,
    ForwardedRequest,
    Head,
    Signal,
    decode_signal,
    encode,
    encode_signal,
    head_of,
)
from gateway.engineio.counted import RAISE_PAYLOAD
from gateway.engineio.engine import Engine, Forward
from gateway.engineio.polling import PollExchange
from gateway.engineio.refusals import Refusal, busy, refuse, too_large
from gateway.engineio.violations import EventCounter, Violation
from gateway.http.closing import CloseQueue
from gateway.http.connection import HttpServer
from gateway.http.exchange import Connection, Exchange
from gateway.http.request import Request
from gateway.http.response import Answer
from gateway.http.switching import websocket_key

__all__ = ["FORWARDED", "RANDOM", "ForwardExchange", "Forwarded", "Forwarding", "OwnedRequest"]

CURE = "that worker is stuck or overloaded"

RANDOM = 20
"""Characters of a session's id after its tag."""

Forwarded = Literal["answered", "client_gone", "owner_lost", "busy", "passed", "relayed"]
"""What became of a request for another member's session.

`answered`, by its owner. `client_gone` and `owner_lost`: before the answer. `busy`: refused,
because too much waits for the owner. `passed` and `relayed`: its connection became a WebSocket.
"""

FORWARDED: tuple[Forwarded, ...] = get_args(Forwarded)


class Forwarding:
    """Joins an engine and its HTTP server to those of the peers in `mesh`.

    Make it before any session opens: from then on all ids begin with the tag of the mesh. Without
    `owns_ids` they do not, and peers are found by other means; see `to`. `counts` has the requests
    for sessions of other members, by what became of them.
    """

    def __init__(
        self, engine: Engine, server: HttpServer, mesh: Mesh, *, owns_ids: bool = True
    ) -> None:
        self.counts: Counter[Forwarded] = Counter(dict.fromkeys(FORWARDED, 0))
        self._engine, self._server, self._mesh = engine, server, mesh
        self.passing = Passing(server)
        self._numbers = count(1)
        self._sent: dict[Peer, dict[int, ForwardExchange]] = {}  # requests that wait for answers
        self._taken: dict[Peer, dict[int, OwnedRequest]] = {}  # requests of peers
        self._requests = msgspec.msgpack.Decoder(ForwardedRequest)
        self._answers = msgspec.msgpack.Decoder(ForwardedAnswer)
        if owns_ids:
            engine.tag = mesh.tag
            engine.find_owner = self._find_owner
        mesh.on(Frame.REQUEST, self._take_request)
        mesh.on(Frame.ANSWER, self._take_answer)
        mesh.on(Frame.SIGNAL, self._take_signal)
        mesh.on_connection = self.passing.take
        mesh.on_lost.append(self._lost)

    @property
    def waiting(self) -> int:
        """The number of forwarded requests that are not answered yet."""
        return sum(map(len, self._sent.values()))

    @property
    def relays(self) -> int:
        """The number of connections that are relayed now."""
        return len(self._server.relays)

    def close(self) -> None:
        """End what is relayed, and connections on their way here."""
        self.passing.close()

    # Here, for sessions of peers

    def _find_owner(self, sid: str) -> Forward | None:
        peer = self._mesh.peers.get(sid[:-RANDOM])
        return self.to(peer) if peer is not None and peer.is_up else None

    def to(self, peer: Peer) -> Forward:
        """Return what sends requests to a peer."""
        return lambda request, connection, fields: self._forward(peer, request, connection, fields)

    def _forward(
        self, peer: Peer, request: Request, connection: Connection, fields: str
    ) -> Exchange | None:
        if request.query.get("transport") == "websocket" and websocket_key(request) is not None:
            if peer.is_full:
                self.refuse(peer, connection, fields)
            elif way := self.passing.give(peer, request, connection):
                self.counts[way] += 1
            return None
        return ForwardExchange(self, peer, head_of(request, connection), connection, fields)

    @property
    def body_limit(self) -> int:
        """The size of the largest body that is forwarded, in bytes."""
        return self._engine.settings.max_payload

    @property
    def violations(self) -> EventCounter[Violation]:
        """Counts what clients do wrong here."""
        return self._engine.violations

    def give_up(self, peer: Peer, head: Head) -> None:
        """Tell the owner of a request whose body will not come."""
        peer.send(Frame.REQUEST, encode(ForwardedRequest(next(self._numbers), head, None)))

    def send(self, peer: Peer, head: Head, body: bytes, exchange: ForwardExchange) -> int | None:
        """Send a request to its owner; gives its number, or `None` if it cannot be sent."""
        number = next(self._numbers)
        if not peer.send(Frame.REQUEST, encode(ForwardedRequest(number, head, body))):
            return None
        self._sent.setdefault(peer, {})[number] = exchange
        return number

    def refuse(self, peer: Peer, connection: Connection, fields: str) -> None:
        """Refuse a request that cannot be sent to its owner."""
        if not peer.is_up:
            self.counts["owner_lost"] += 1
            connection.answer(refuse(Refusal.UNKNOWN_SESSION, fields))
            return
        self.counts["busy"] += 1
        why = "too much waits for the worker that has the session"
        self._engine.limits_met.record("forwarding", connection.address, why, CURE)
        connection.answer(busy(fields))

    def done(self, peer: Peer, number: int, signal: Signal | None) -> None:
        """Forget a request, and tell its owner why; `None` if it need not know."""
        self._sent.get(peer, {}).pop(number, None)
        if signal is not None:
            peer.send(Frame.SIGNAL, encode_signal(number, signal))

    def _take_answer(self, peer: Peer, payload: bytes) -> None:
        answered = self._answers.decode(payload)
        exchange = self._sent.get(peer, {}).get(answered.number)
        if exchange is not None:
            self.counts["answered"] += 1
            exchange.answered(answered.answer)

    # Here, for peers

    def _take_request(self, peer: Peer, payload: bytes) -> None:
        if not peer.is_up:  # it is gone, and this was its last word
            return
        forwarded = self._requests.decode(payload)
        owned = OwnedRequest(peer, forwarded, self._server, self._forget)
        self._taken.setdefault(peer, {})[forwarded.number] = owned
        owned.begin(self._engine, forwarded)

    def _forget(self, owned: OwnedRequest) -> None:
        self._taken.get(owned.peer, {}).pop(owned.number, None)

    # Both

    def _take_signal(self, peer: Peer, payload: bytes) -> None:
        number, signal, seconds = decode_signal(payload)
        if signal in {Signal.WRITTEN, Signal.LOST}:
            owned = self._taken.get(peer, {}).get(number)
            if owned is not None:
                owned.ended(signal)
            return
        exchange = self._sent.get(peer, {}).get(number)
        if exchange is not None:
            exchange.cut(signal, seconds)

    def _lost(self, peer: Peer) -> None:
        for exchange in self._sent.pop(peer, {}).values():
            if exchange.orphaned():
                self.counts["owner_lost"] += 1
        for owned in self._taken.pop(peer, {}).values():
            owned.orphaned()


class ForwardExchange:
    """A request that its session's owner answers. `fields` are header fields for refusals."""

    __slots__ = (
        "_connection",
        "_fields",
        "_forwarding",
        "_head",
        "_is_answered",
        "_is_whole",
        "_number",
        "_peer",
    )

    def __init__(
        self,
        forwarding: Forwarding,
        peer: Peer,
        head: Head,
        connection: Connection,
        fields: str,
    ) -> None:
        self._forwarding, self._peer, self._head = forwarding, peer, head
        self._connection, self._fields = connection, fields
        self._number: int | None = None
        self._is_whole = False  # nothing more of it is expected
        self._is_answered = False

    @property
    def body_limit(self) -> int:
        return self._forwarding.body_limit

    def finish(self, body: bytes) -> None:
        self._is_whole = True
        if len(body) > self.body_limit:
            self.too_large()
            return
        self._number = self._forwarding.send(self._peer, self._head, body, self)
        if self._number is None:
            self._forwarding.refuse(self._peer, self._connection, self._fields)

    def too_large(self) -> None:
        self._is_whole = True
        violations, address = self._forwarding.violations, self._connection.address
        violations.record("too_large", address, "a body over the limit", RAISE_PAYLOAD)
        self._connection.answer(too_large(self._fields))

    def broken(self) -> None:
        address = self._connection.address
        self._forwarding.violations.record("http", address, "a body that cannot be read")
        self._forwarding.give_up(self._peer, self._head)

    def written(self) -> None:
        self._connection.cut_no_more()
        if self._number is not None:
            # The owner does not wait for the end of a POST.
            signal = Signal.WRITTEN if self._head.method == "GET" else None
            self._forwarding.done(self._peer, self._number, signal)

    def lost(self) -> None:
        if self._number is not None:
            if not self._is_answered:
                self._forwarding.counts["client_gone"] += 1
            self._forwarding.done(self._peer, self._number, Signal.LOST)
        elif not self._is_whole:
            self._forwarding.give_up(self._peer, self._head)

    # Called for the owner

    def answered(self, answer: Answer) -> None:
        self._is_answered = True
        self._connection.answer(answer)

    def cut(self, signal: Signal, seconds: float) -> None:
        """Drop the connection, now or later."""
        if signal is Signal.ABORT:
            self._connection.abort()
        else:
            self._connection.cut_later(seconds)

    def orphaned(self) -> bool:
        """Refuse the request, as its owner is gone; false if it was answered before."""
        self._number = None
        if not self._is_answered:
            self._connection.answer(refuse(Refusal.UNKNOWN_SESSION, self._fields))
        return not self._is_answered


class OwnedRequest:
    """A request that a peer has forwarded here: the connection of its exchange."""

    __slots__ = (
        "_exchange",
        "_forget",
        "_is_answered",
        "_is_get",
        "_server",
        "address",
        "is_secure",
        "number",
        "peer",
    )

    def __init__(
        self,
        peer: Peer,
        forwarded: ForwardedRequest,
        server: HttpServer,
        forget: Callable[[OwnedRequest], None],
    ) -> None:
        self.peer, self.number = peer, forwarded.number
        self.address, self.is_secure = forwarded.head.address, forwarded.head.is_secure
        self._is_get = forwarded.head.method == "GET"
        self._server, self._forget = server, forget
        self._exchange: Exchange | None = None
        self._is_answered = False

    def begin(self, engine: Engine, forwarded: ForwardedRequest) -> None:
        """Answer the request, or begin to."""
        try:
            exchange = engine.respond(forwarded.head.request(), self)
            if exchange is not None:
                self._exchange = exchange
                if forwarded.body is None:
                    self.ended(Signal.LOST)
                else:
                    exchange.finish(forwarded.body)
        except Exception:
            self._fault()

    def _fault(self) -> None:
        """Answer a request that met a fault in the gateway itself."""
        self._server.fault(self.address)
        exchange, self._exchange = self._exchange, None
        if self._is_answered:
            self.abort()
        else:
            self.answer(Answer(500, closes=True))
        if exchange is not None:
            exchange.lost()

    # Called by the exchange

    @property
    def closing(self) -> CloseQueue:
        return self._server.closing

    def answer(self, answer: Answer) -> None:
        if self._is_answered:
            return
        self._is_answered = True
        if not self.peer.send(Frame.ANSWER, encode(ForwardedAnswer(self.number, answer))):
            self.abort()
            self.ended(Signal.LOST)
        elif self._exchange is None or not self._is_get:
            self.ended(Signal.WRITTEN)

    def detach(self) -> tuple[asyncio.Transport, bytes] | None:
        """There is no connection here: those of WebSockets are passed."""
        return None

    def abort(self) -> None:
        self._signal(Signal.ABORT)

    def cut_later(self, seconds: float) -> None:
        self._signal(Signal.CUT, seconds)

    def cut_no_more(self) -> None:
        """Do nothing: the peer does so when it has written the answer."""

    def _signal(self, signal: Signal, seconds: float = 0.0) -> None:
        self.peer.send(Frame.SIGNAL, encode_signal(self.number, signal, seconds))

    # Called for the peer

    def ended(self, signal: Signal) -> None:
        """End the exchange: its answer is written, or the client is gone."""
        self._forget(self)
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if signal is Signal.WRITTEN:
            exchange.written()
        else:
            exchange.lost()

    def orphaned(self) -> None:
        """End the exchange, as the peer is gone.

        A session stays if no packets were on their way: a proxy repeats its poll elsewhere, and a
        client without one comes back with a new session.
        """
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if isinstance(exchange, PollExchange):
            exchange.withdraw()
        elif self._is_get:
            exchange.lost()
