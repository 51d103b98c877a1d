"""The engine alone: every message is sent back as it came, at `/engine.io/`.

python -m tests.engineio.echo --port 3000 --ping-interval 0.3 --ping-timeout 0.2
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields
from math import inf
from typing import Any

from gateway.engineio.engine import Engine
from gateway.engineio.frames import Frames
from gateway.engineio.packet import Message
from gateway.engineio.receiver import Reason
from gateway.engineio.session import Session
from gateway.engineio.settings import Settings
from gateway.http.connection import HttpServer
from gateway.limits import Limits, unit_of

UNLIMITED = Limits(
    **{each.name: inf for each in fields(Limits) if unit_of(each) != "choice"}  # type: ignore[arg-type]
    | {
        "request_timeout": 10.0,
        "keepalive_timeout": 60.0,
        "upgrade_timeout": 10.0,
        "join_timeout": 45.0,
    }
)


def say(session: Session, *messages: Message) -> None:
    """Send a session one message after the other."""
    for message in messages:
        session.send_many(Frames([message]))


def echo(session: Session, message: Message) -> None:
    say(session, message)


@dataclass(slots=True)
class Hooks:
    """What a session's receiver calls: each may be replaced while it is served."""

    connect: Callable[[Session], object] = lambda session: None
    message: Callable[[Session, Message], Awaitable[None] | None] = echo
    disconnect: Callable[[Session, Reason], object] = lambda session, reason: None


@dataclass(slots=True)
class Receiver:
    """The receiver of one session."""

    session: Session
    hooks: Hooks
    socket_id: str = ""

    def receive(self, message: Message) -> Awaitable[None] | None:
        return self.hooks.message(self.session, message)

    def closed(self, reason: Reason) -> None:
        self.hooks.disconnect(self.session, reason)

    def limit(self, limits: Limits) -> None:
        return None


def echo_engine(hooks: Hooks | None = None, **options: Any) -> Engine:
    """An engine that echoes. `options` are settings and limits, where there are no other limits."""
    hooked = hooks or Hooks()

    def connect(session: Session, *_: object) -> Receiver:
        hooked.connect(session)
        return Receiver(session, hooked)

    return Engine(*settings_and_limits(**options), connect)


def settings_and_limits(**options: Any) -> tuple[Settings, Limits]:
    """The settings and the limits among `options`, where there are no other limits."""
    limits = {each.name: getattr(UNLIMITED, each.name) for each in fields(Limits)}
    names = {each.name for each in fields(Settings)}
    limits |= {name: value for name, value in options.items() if name not in names}
    settings = {name: value for name, value in options.items() if name in names}
    return Settings(**settings), Limits(**limits)


@asynccontextmanager
async def serving(server: HttpServer, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Serve connections; gives the port."""
    site = await asyncio.get_running_loop().create_server(server, host, port)
    try:
        yield site.sockets[0].getsockname()[1]
    finally:
        site.close()
        await server.shutdown()


async def serve(engine: Engine, host: str, port: int) -> None:
    async with serving(engine.http_server("/engine.io/"), host, port):
        await asyncio.Event().wait()


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=3000)
    flags.add_argument("--ping-interval", type=float, default=25.0, help="seconds")
    flags.add_argument("--ping-timeout", type=float, default=20.0, help="seconds")
    given = flags.parse_args()
    engine = echo_engine(
        ping_interval=given.ping_interval, ping_timeout=given.ping_timeout, cors_origins="*"
    )
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(engine, given.host, given.port))


if __name__ == "__main__":
    main()
