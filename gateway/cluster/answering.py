"""Requests of other members: what they ask for is done here, and answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from gateway.api import Namespace, Socket
from gateway.cluster import messages as wire
from gateway.cluster.bus import Bus
from gateway.cluster.messages import Answer, Request
from gateway.errors import GatewayError
from gateway.runtime.tasks import start
from gateway.socketio.hub import Hub
from gateway.socketio.listing import Listed, list_rooms, list_sockets

__all__ = ["MOST_ANSWERING", "Answering"]

LOG = logging.getLogger("sockgw.cluster")

MOST_ANSWERING = 10_000
"""Requests of others that may be worked on at the same time; more get no answer."""

PAGE = 500
"""Sockets in one answer."""

LARGEST_PART = 200_000
"""Bytes of sockets in one answer, where the first socket may have more."""

LONGEST_LIST = 200_000
"""Characters of rooms in one answer with a page, where the first socket may have more."""

Send = Callable[[str, Answer, str], None]
"""Sends an answer: its namespace, the answer, and the member that asked."""


class Answering:
    """The requests on a `bus` that are worked on. `refused` counts those that were too many."""

    def __init__(self, hub: Hub, bus: Bus, send: Send) -> None:
        self.refused = 0
        self._bus = bus
        self._hub = hub
        self._send = send
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """The number of requests that are worked on."""
        return len(self._tasks)

    def begin(self, request: Request, target: Namespace) -> None:
        """Do what a request asks for its target, up to where that waits, and answer in the end."""
        self.do(self._work(request, target))

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work, up to where it waits, if there is not too much."""
        if len(self._tasks) >= MOST_ANSWERING:
            self.refused += 1
            work.close()
            return
        task = start(asyncio.get_running_loop(), _sound(work))
        if not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, request: Request, target: Namespace) -> None:
        if isinstance(request, wire.Fetch):
            await self._tell_sockets(request, target)
            return
        if isinstance(request, wire.ListSockets):
            await self._tell_page(request, target)
            return
        answer = await self._done(request, target)
        if request.request_id:
            self._send(target.name, answer, request.uid)

    async def _done(self, request: Request, target: Namespace) -> Answer:
        hub, answer = self._hub, Answer(request.request_id)
        if isinstance(request, wire.Join):
            await hub.join(target, request.rooms)
        elif isinstance(request, wire.Leave):
            await hub.leave(target, request.rooms)
        elif isinstance(request, wire.Disconnect):
            await hub.disconnect_sockets(target, request.close)
        elif isinstance(request, wire.Count):
            answer.count = await hub.count(target, 0)
        elif isinstance(request, wire.ListRooms):
            answer.rooms = await list_rooms(hub.rooms, target.name, request.after, request.limit)
        elif isinstance(request, wire.Call):
            event, *args = request.packet.data
            found = await hub.call(target, event, args, request.timeout)
            answer.answers, answer.missing = dict(found.answers), list(found.missing)
        return answer

    async def _tell_sockets(self, request: wire.Fetch, target: Namespace) -> None:
        """Answer with the sockets of a target, some at a time: others have their turn between."""
        sockets = await self._hub.sockets(target, 0)
        number, part, size = 1, list[wire.Encoded](), 0
        most = min(LARGEST_PART, self._bus.most_bytes // 2)
        for each in sockets:
            found = _found(each)
            length = len(bytes(found))
            if part and (len(part) == PAGE or size + length > most):
                self._send(target.name, _part(request, part, number, more=True), request.uid)
                await asyncio.sleep(0)
                number, part, size = number + 1, [], 0
            part.append(found)
            size += length
        self._send(target.name, _part(request, part, number, more=False), request.uid)

    async def _tell_page(self, request: wire.ListSockets, target: Namespace) -> None:
        """Answer with a page of the sockets of a target, in several answers."""
        page, total = await list_sockets(self._hub.rooms, target, request.after, request.limit)
        parts = list(_parts(page, min(LONGEST_LIST, self._bus.most_bytes // 4)))
        for number, part in enumerate(parts, 1):
            answer = Answer(request.request_id, count=total, more=number < len(parts))
            answer.parts = 0 if answer.more else number
            answer.listed = part
            self._send(target.name, answer, request.uid)


def _part(request: wire.Fetch, sockets: list[wire.Encoded], number: int, *, more: bool) -> Answer:
    parts = 0 if more else number
    return Answer(request.request_id, sockets=sockets, more=more, parts=parts)


def _parts(page: Sequence[Listed], most: int) -> Iterator[list[Listed]]:
    """Split a page into parts of so many characters of rooms; an empty one is one part."""
    part: list[Listed] = []
    size = 0
    for each in page:
        length = sum(map(len, each.rooms))
        if part and size + length > most:
            yield part
            part, size = [], 0
        part.append(each)
        size += length
    yield part


def _found(socket: Socket) -> wire.Encoded:
    told: dict[str, object] = {"address": socket.handshake.address}
    return wire.found_socket(socket.id, sorted(socket.rooms), socket.user, socket.data, told)


async def _sound(work: Coroutine[Any, Any, None]) -> None:
    """Do some work; what goes wrong is logged."""
    try:
        await work
    except (GatewayError, TypeError, ValueError) as error:
        LOG.debug("a request of another member is refused: %s", error)
    except Exception:
        LOG.exception("a fault in the gateway itself")
