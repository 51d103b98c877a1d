"""The engine alone: every message is sent back as it came, at `/engine.io/`.

python -m tests.engineio.echo --port 3000 --ping-interval 0.3 --ping-timeout 0.2
"""

from __future__ import annotations

import argparse

from aiohttp import web

from gateway.engineio.packet import Message
from gateway.engineio.server import Engine
from gateway.engineio.session import Session


def echo(session: Session, message: Message) -> None:
    session.send(message)


def echo_app(engine: Engine) -> web.Application:
    """An application that echoes at `/engine.io/`."""
    engine.on_connect, engine.on_message = lambda session, opening: None, echo
    engine.on_disconnect = lambda session, reason: None
    app = web.Application()
    engine.attach(app, "engine.io")
    return app


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=3000)
    flags.add_argument("--ping-interval", type=float, default=25.0, help="seconds")
    flags.add_argument("--ping-timeout", type=float, default=20.0, help="seconds")
    given = flags.parse_args()
    engine = Engine(
        ping_interval=given.ping_interval, ping_timeout=given.ping_timeout, cors_origins="*"
    )
    web.run_app(echo_app(engine), host=given.host, port=given.port, handler_cancellation=True)


if __name__ == "__main__":
    main()
