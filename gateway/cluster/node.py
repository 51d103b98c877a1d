"""Answers to Node servers, in the format of Node's redis-adapter 8."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict, replace
from typing import Any

from gateway.api import Namespace, Value
from gateway.cluster import messages as wire
from gateway.cluster.messages import Request
from gateway.socketio.hub import Hub

__all__ = ["ACK", "NodeAnswers"]

CALL = 5.0
"""Seconds that clients have for their ack if a Node server does not say."""

LONGEST_CALL = 60.0
"""Seconds that they have at most."""

PUBLISHED, ASKED, ACK = 6, 8, 9
"""Types of answers."""

Send = Callable[[str, dict[str, object], str], None]
"""Sends an answer: its namespace, the answer, and the Node server that asked."""


class NodeAnswers:
    """Does what Node servers ask for; `send` takes the answers."""

    def __init__(self, hub: Hub, send: Send) -> None:
        self._hub = hub
        self._send = send

    def work(
        self, request: Request, target: Namespace, namespace: str
    ) -> Coroutine[Any, Any, None] | None:
        """What is to be done for a request that Node servers put in a way of their own.

        `None` for those that they put as members do.
        """
        if isinstance(request, wire.Call):
            return self._call(request, target)
        if isinstance(request, wire.Fetch):
            return self._fetch(request, target)
        if isinstance(request, wire.SocketIds):
            asked = replace(target, rooms=tuple(request.rooms) or None)
            return self._ids(request, asked)
        if isinstance(request, wire.RoomNames):
            return self._rooms(request, namespace)
        return None

    def publish(self, request: wire.Publish, namespace: str) -> None:
        """Run the `cluster` route of a namespace; what it returns is the answer, if one is due."""

        def answer(value: Value) -> None:
            self._answer(request, namespace, type=PUBLISHED, data=value)

        wants = bool(request.request_id)
        runs = self._hub.dispatcher.cluster(request.data, namespace, answer if wants else None)
        if wants and not runs:
            answer(None)

    async def _call(self, request: wire.Call, target: Namespace) -> None:
        """Ask the sockets of a target; a Node server wants each answer as it comes."""
        event, *args = request.packet.data
        milliseconds = request.opts.flags.timeout
        seconds = CALL if milliseconds is None else milliseconds / 1000
        members = self._hub.rooms.find(target)
        self._answer(request, target.name, type=ASKED, clientCount=len(members))

        async def ask(id: str) -> None:
            one = Namespace(target.name, self._hub, (id,))
            found = await self._hub.call(one, event, args, min(seconds, LONGEST_CALL))
            for answer in found.answers.values():
                packet = answer[0] if answer else None
                self._answer(request, target.name, type=ACK, packet=packet)

        await asyncio.gather(*(ask(member.socket.id) for member in members))

    async def _fetch(self, request: wire.Fetch, target: Namespace) -> None:
        sockets = await self._hub.sockets(target, 0)
        told = [
            wire.found_socket(
                each.id, sorted(each.rooms), each.user, each.data, asdict(each.handshake)
            )
            for each in sockets
        ]
        self._answer(request, target.name, sockets=told)

    async def _ids(self, request: wire.SocketIds, target: Namespace) -> None:
        sockets = await self._hub.sockets(target, 0)
        self._answer(request, target.name, sockets=[each.id for each in sockets])

    async def _rooms(self, request: wire.RoomNames, namespace: str) -> None:
        sockets = await self._hub.sockets(Namespace(namespace, self._hub), 0)
        names = sorted({room for each in sockets for room in each.rooms})
        self._answer(request, namespace, rooms=names)

    def _answer(self, request: Request, namespace: str, **answer: object) -> None:
        self._send(namespace, {"requestId": request.request_id, **answer}, request.uid)
