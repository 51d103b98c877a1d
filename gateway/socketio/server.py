"""A Socket.IO server: live cell, dispatcher, hub and engine, made in that order."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.engineio.engine import Engine
from gateway.engineio.session import Session
from gateway.engineio.settings import Settings
from gateway.http.request import Request
from gateway.limits import Limits
from gateway.runtime.blueprint import Blueprint, Generation
from gateway.runtime.connection import ACCEPTED
from gateway.runtime.dispatch import Dispatcher
from gateway.runtime.live import Live
from gateway.socketio.client import Client
from gateway.socketio.handshake import Handshakes
from gateway.socketio.hub import Hub, Serializer

__all__ = ["Server"]


class Server:
    """A Socket.IO server, which serves the generation in `live`."""

    def __init__(self, settings: Settings, limits: Limits, serializer: Serializer = "json") -> None:
        self.live = Live()
        self.dispatcher = Dispatcher(self.live)
        self.hub = Hub(self.dispatcher, serializer, limits)
        load = self.dispatcher.in_flight.load
        find_gate = Handshakes(self.live).find_gate
        self.engine = Engine(settings, limits, self._connect, lambda: load.is_high, find_gate)

    async def start(self, blueprint: Blueprint, number: int | None = None) -> Generation:
        """Start a blueprint's services; see `Live.start`. Raises `ConfigError` if one fails."""
        return await self.live.start(blueprint, self.hub.gateway, number)

    def configure(self, settings: Settings, limits: Limits) -> None:
        """Apply new settings, and new limits, which hold for connected clients too."""
        self.engine.configure(settings, limits)
        self.hub.configure(limits)
        self.dispatcher.in_flight.load.watch(limits.overload_after)

    @staticmethod
    def is_at_rest(session: Session) -> bool:
        """True if nothing that the session's client asked for is under way.

        A client without a socket is about to connect one, as one whose connection chain runs is.
        """
        client = session.receiver
        if not isinstance(client, Client):  # it is over
            return True
        sockets = client.sockets.values()
        return bool(sockets) and not any(
            each.in_flight or each.state is not ACCEPTED for each in sockets
        )

    def _connect(self, session: Session, request: Request, data: Mapping[str, object]) -> Client:
        return Client(session, request, self.hub, data)
