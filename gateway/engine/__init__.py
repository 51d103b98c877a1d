"""Engine.IO v4: the connection under Socket.IO.

Without I/O, to be read beside the protocol:

    packet      types, payloads             https://github.com/socketio/socket.io/blob/main/docs/
    frame       WebSocket frames            engine.io-protocol/v4-current.md
    session     one client
    upgrade     its way to a WebSocket
    deadlines   heartbeats and limits, on one timer for all
    carrier     the seams to what follows

On aiohttp:

    polling  websocket  cors  refusal  environ
    server      the engine: requests, sessions, and what python-socketio asks for
"""

__all__: list[str] = []
