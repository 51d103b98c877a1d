"""The service `plugin_name`: `ctx.service.plugin_name` in middleware and handlers."""

from typing import Self

from gateway import Gateway


class PluginName:
    def __init__(self, gateway: Gateway, greeting: str = "hello") -> None:
        # `gateway` emits from anywhere; every other parameter is an option under `with:`.
        self.gateway = gateway
        self.greeting = greeting

    async def __aenter__(self) -> Self:
        # Open resources here: a connection pool, a file, a background task.
        return self

    async def __aexit__(self, *error: object) -> None:
        # Close them here: nothing uses the service any more.
        pass

    async def greet(self, name: str) -> str:
        return f"{self.greeting}, {name}"
