"""Does what pushes ask for, through the emitter that plugins have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from gateway.api import Namespace
from gateway.base64json import dumps
from gateway.cluster.listing import rooms_page, sockets_page
from gateway.errors import Reject, UsageError
from gateway.push.operations import (
    Call,
    Disconnect,
    Emit,
    FindSocket,
    Join,
    Leave,
    ListNamespaces,
    ListRooms,
    ListSockets,
    Operation,
    Target,
    cursor_of,
)
from gateway.push.problems import PushError
from gateway.socketio.hub import Hub
from gateway.socketio.listing import Listed

__all__ = ["Pusher"]

CONFIRM = 2.0
"""Seconds that an emit waits until other members have told how many sockets they sent it to."""


class Pusher:
    """Does pushes on a hub, and with it on all members."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._ways: Mapping[type[Any], Callable[[Any], Awaitable[dict[str, Any]]]] = {
            Emit: self._emit,
            Call: self._call,
            Join: self._join,
            Leave: self._leave,
            Disconnect: self._disconnect,
            ListNamespaces: self._list_namespaces,
            ListRooms: self._list_rooms,
            ListSockets: self._list_sockets,
            FindSocket: self._find_socket,
        }

    async def perform(self, operation: Operation) -> bytes:
        """Do what is asked for, and return the answer as JSON. Raises `PushError`."""
        try:
            return dumps(await self._ways[type(operation)](operation))
        except Reject as error:
            code = error.code if error.code == "forbidden_room" else "bad_request"
            raise PushError(code, error.message) from None
        except (UsageError, TypeError, ValueError) as error:  # what cannot be sent
            raise PushError("bad_request", str(error)) from None

    # Pushes

    async def _emit(self, push: Emit) -> dict[str, Any]:
        target = self._target(push.target)
        if push.volatile:
            target = target.volatile
        delivery = await target.emit(push.event, *push.args, confirm=True, timeout=CONFIRM)
        sockets = sum(delivery.recipients.values())
        return {"sockets": sockets, "missing_members": delivery.missing}

    async def _call(self, push: Call) -> dict[str, Any]:
        target = self._target(push.target)
        found = await target.call(push.event, *push.args, timeout=push.timeout)
        return {
            "answers": [{"socket": each, "args": args} for each, args in found.answers.items()],
            "missing": [{"socket": each} for each in found.missing],
            "missing_members": found.missing_members,
        }

    async def _join(self, push: Join) -> dict[str, Any]:
        target = self._target(push.target)
        sockets = await target.count(CONFIRM)
        await target.join(push.rooms)
        return {"sockets": sockets}

    async def _leave(self, push: Leave) -> dict[str, Any]:
        target = self._target(push.target)
        sockets = await target.count(CONFIRM)
        await target.leave(push.rooms)
        return {"sockets": sockets}

    async def _disconnect(self, push: Disconnect) -> dict[str, Any]:
        target = self._target(push.target)
        sockets = await target.count(CONFIRM)
        await target.disconnect_sockets(push.close)
        return {"sockets": sockets}

    # Lists

    async def _list_namespaces(self, asked: ListNamespaces) -> dict[str, Any]:
        current = self._hub.dispatcher.live.current
        served = sorted(current.blueprint.namespaces) if current else []
        names = [each for each in served if asked.names is None or each in asked.names]
        counts = await asyncio.gather(*(self._hub.scope(each).count(CONFIRM) for each in names))
        found = zip(names, counts, strict=True)
        return {"namespaces": [{"namespace": name, "sockets": count} for name, count in found]}

    async def _list_rooms(self, asked: ListRooms) -> dict[str, Any]:
        name = self._served(asked.namespace)
        page = await rooms_page(self._hub, name, asked.after, asked.limit)
        rooms = [{"room": room, "sockets": count} for room, count in page.rooms.items()]
        names = list(page.rooms)
        after = cursor_of(names[-1]) if len(names) == asked.limit else None
        return {"rooms": rooms, "next": after, "missing_members": page.missing}

    async def _list_sockets(self, asked: ListSockets) -> dict[str, Any]:
        target = self._hub.scope(self._served(asked.namespace))
        if asked.room is not None:
            target = target.to(asked.room)
        if asked.user is not None:
            target = target.user(asked.user)
        page = await sockets_page(self._hub, target, asked.after, asked.limit)
        full = len(page.sockets) == asked.limit
        return {
            "sockets": [_shown(each, target.name) for each in page.sockets],
            "next": cursor_of(page.sockets[-1].id) if full else None,
            "total": page.total,
            "missing_members": page.missing,
        }

    async def _find_socket(self, asked: FindSocket) -> dict[str, Any]:
        missing: tuple[str, ...] = ()
        for name in filter(self._hub.dispatcher.serves, asked.namespaces):
            target = self._hub.scope(name).to(asked.id)
            page = await sockets_page(self._hub, target, "", 1)
            if page.sockets and page.sockets[0].id == asked.id:
                return _shown(page.sockets[0], name)
            missing = missing or page.missing
        if missing:
            raise PushError("unavailable", f"no answer of {', '.join(missing)}")
        raise PushError("not_found", f"no socket {asked.id!r}")

    # Targets

    def _target(self, target: Target) -> Namespace:
        scope = self._hub.scope(self._served(target.namespace))
        chosen = scope
        if not target.all:
            chosen = chosen.to(target.rooms, target.sockets).user(cast("list[str]", target.users))
        excluded = target.excluded
        return chosen.except_(excluded.rooms, excluded.sockets).except_user(
            cast("list[str]", excluded.users)
        )

    def _served(self, name: str) -> str:
        """Return a namespace's full name. Raises `PushError` for one that there is not."""
        full = "/" + name.removeprefix("/")
        if not self._hub.dispatcher.serves(full):
            raise PushError("unknown_namespace", f"no namespace {full!r}")
        return full


def _shown(socket: Listed, namespace: str) -> dict[str, Any]:
    return {
        "id": socket.id,
        "namespace": namespace,
        "user": socket.user,
        "rooms": socket.rooms,
        "room_count": socket.room_count,
        "address": socket.address,
        "connected": socket.connected,
    }
