"""The client table of python-socketio with a reverse index, and a fan-out without tasks.

Stock python-socketio looks for a leaving socket in every room of its namespace (each socket is a
room, so that is every socket), and starts a task for every recipient of every packet. Managers
that reach other processes are mixed with this one: `class Redis(AsyncRedisManager, Rooms)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import socketio

from gateway.socketio.packet import EVENT

__all__ = ["Rooms"]


class Rooms(socketio.AsyncManager):  # type: ignore[misc]
    """Who is in which room: `rooms[namespace][room][sid]` is the Engine.IO session's id.

    A socket that is not accepted yet is known by its session (`sid_from_eio_sid`) and may enter
    rooms, but is in none that a packet could be sent to.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sids: dict[tuple[str, str], str] = {}
        self._entered: dict[str, set[str | None]] = {}
        self._waiting: dict[str, str] = {}

    def pre_connect(self, eio_sid: str, namespace: str) -> str:
        """Give the session's socket in `namespace` an id."""
        sid: str = self.server.eio.generate_id()
        self._sids[eio_sid, namespace] = sid
        self._entered[sid] = {None, sid}
        self._waiting[sid] = eio_sid
        return sid

    def admit(self, sid: str, namespace: str) -> None:
        """The socket is accepted: from here on its rooms count."""
        eio_sid = self._waiting.pop(sid)
        for room in self._entered[sid]:
            self._place(sid, namespace, room, eio_sid)

    def is_connected(self, sid: str, namespace: str) -> bool:
        return sid in self.rooms.get(namespace, {}).get(None, ())

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        return self._sids.get((eio_sid, namespace))

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        eio_sid: str | None = self.rooms.get(namespace, {}).get(None, {}).get(sid)
        return eio_sid

    def basic_enter_room(
        self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None
    ) -> None:
        if room != sid and room in self._entered:
            raise ValueError(f"room '{room}' is a socket's own")
        self._entered[sid].add(room)
        if sid not in self._waiting:
            self._place(sid, namespace, room, eio_sid or self.rooms[namespace][None][sid])

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        self._entered.get(sid, set()).discard(room)
        self._remove(sid, namespace, room)

    def depart(self, sid: str, namespace: str) -> None:
        """The socket is gone: nothing is sent to it any more, `get_rooms` still knows its rooms."""
        eio_sid = self._waiting.pop(sid, None) or self.eio_sid_from_sid(sid, namespace)
        for room in self._entered.get(sid, ()):
            self._remove(sid, namespace, room)
        self.callbacks.pop(sid, None)
        if eio_sid is not None:
            self._sids.pop((eio_sid, namespace), None)

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: object) -> None:
        """Forget the socket, in as many steps as it was in rooms."""
        self.depart(sid, namespace)
        self._entered.pop(sid, None)

    def may_enter(self, sid: str, room: str, limit: float) -> bool:
        """Whether a socket that may be in `limit` rooms besides its own is, or may be, in this."""
        entered = self._entered.get(sid, ())
        return room in entered or len(entered) < limit + len((None, sid))

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        return [room for room in self._entered.get(sid, ()) if room is not None]

    def get_participants(
        self, namespace: str, room: str | Iterable[str] | None
    ) -> Iterator[tuple[str, str]]:
        """Each socket of the room or rooms once, with its session's id."""
        rooms = self.rooms.get(namespace, {})
        if room is None or isinstance(room, str):
            yield from tuple(rooms.get(room, {}).items())
            return
        found: dict[str, str] = {}
        for name in room:
            found.update(rooms.get(name, {}))
        yield from found.items()

    async def emit(
        self,
        event: str,
        data: object,
        namespace: str,
        room: str | Iterable[str] | None = None,
        skip_sid: str | Iterable[str] | None = None,
        callback: Callable[..., object] | None = None,
        to: str | Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Send one event to many. A room in `skip_sid` leaves out every socket in it."""
        args = list(data) if isinstance(data, tuple) else [] if data is None else [data]
        left_out = self.members(namespace, skip_sid)
        frames_of = self.server.packet_class.frames
        frames = frames_of(EVENT, [event, *args], namespace)
        for sid, eio_sid in self.get_participants(namespace, to or room):
            if sid in left_out:
                continue
            if callback is not None:
                ack = self._generate_ack_id(sid, callback)
                frames = frames_of(EVENT, [event, *args], namespace, ack)
            self.server.send_frames(eio_sid, frames, callback is None)

    def members(self, namespace: str, rooms: str | Iterable[str] | None) -> set[str]:
        """The ids of the sockets in any of `rooms`; none of no rooms."""
        if not rooms:
            return set()
        return {sid for sid, _ in self.get_participants(namespace, rooms)}

    def _remove(self, sid: str, namespace: str, room: str | None) -> None:
        rooms = self.rooms.get(namespace, {})
        members = rooms.get(room, {})
        members.pop(sid, None)
        if room in rooms and not members:
            del rooms[room]
            if not rooms:
                del self.rooms[namespace]

    def _place(self, sid: str, namespace: str, room: str | None, eio_sid: str) -> None:
        self.rooms.setdefault(namespace, {}).setdefault(room, {})[sid] = eio_sid
