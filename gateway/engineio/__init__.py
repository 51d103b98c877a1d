"""Engine.IO v4: the connection under Socket.IO.

Without I/O, to be read beside the protocol:

    packet      types, payloads             https://github.com/socketio/socket.io/blob/main/docs/
    frame       WebSocket frames            engine.io-protocol/v4-current.md
    session     one client
    upgrade     its way to a WebSocket
    deadlines   heartbeats and limits, on one timer for all
    carrier     the seams to what follows

The wire:

    head        plain requests, told from their bytes
    response    answers
    direct      polls that were plain requests
    inbox       what comes on a WebSocket, by aiohttp's parser
    websocket   the connection that is one
    exit        connections that leave, in their turn

On aiohttp:

    connection  plain requests are answered at once, all others by aiohttp, and so by
    requests    where requests meet sessions
    polling  opening  cors  refusal  environ
    handover    a connection's way from aiohttp to a WebSocket
    server      the engine: what python-socketio asks for
"""

__all__: list[str] = []
