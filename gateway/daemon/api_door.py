"""Where the api listener listens, as the config has it."""

from __future__ import annotations

from gateway.config.model import GatewayConfig
from gateway.daemon.listener import Address, Listener, Move

__all__ = ["ApiDoor"]


class ApiDoor:
    """The api listener and its address, which may change with each config."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def is_at(self, config: GatewayConfig) -> bool:
        """True if the listener is where the config says. Raises `ListenError`."""
        address = _address(config)
        return address is None or self.listener.is_at(address)

    def prepare(self, config: GatewayConfig) -> Move:
        """Bind the address that the config says. Raises `ListenError`."""
        return self.listener.prepare(_address(config))


def _address(config: GatewayConfig) -> Address | None:
    api = config.api
    if api is None:
        return None
    if api.socket:
        return Address("api", path=api.socket, tls=api.tls)
    return Address("api", api.host, api.port, tls=api.tls)
