"""Engine.IO v4: sessions over HTTP long-polling and WebSockets; `docs/architecture.md` has a map.

The protocol: https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md
"""

__all__: list[str] = []
