"""Where the admin listener listens, as the config or a service manager has it."""

from __future__ import annotations

import logging
import socket

from gateway.config.model import GatewayConfig
from gateway.daemon.listener import Address, Listener, ListenError, Move

__all__ = ["AdminDoor"]

log = logging.getLogger("sockgw.server")


class AdminDoor:
    """The admin listener and its address, which may change with each config.

    `inherited` is a socket that listens already; it takes precedence over the config.
    """

    def __init__(self, listener: Listener, inherited: socket.socket | None = None) -> None:
        self.listener = listener
        self._inherited = inherited

    def is_at(self, config: GatewayConfig) -> bool:
        """True if the listener is where the config says. Raises `ListenError`."""
        address = self._address(config)
        return address is None or self.listener.is_at(address)

    def prepare(self, config: GatewayConfig) -> Move:
        """Bind the address that the config says. Raises `ListenError`."""
        if self._inherited is not None and config.admin is None:
            log.warning("the socket 'admin' was passed, but there is no admin: block")
        return self.listener.prepare(self._address(config))

    def _address(self, config: GatewayConfig) -> Address | None:
        admin = config.admin
        if admin is None:
            return None
        if self._inherited is not None:
            if admin.token is None:
                raise ListenError("a socket that was passed to the daemon needs a token", "admin")
            return Address("admin", inherited=self._inherited)
        if admin.socket:
            return Address("admin", path=admin.socket)
        return Address("admin", admin.host, admin.port)
