"""Socket.IO v5: packets, a client's sockets, rooms, and the hub that sends to them.

The protocol: https://github.com/socketio/socket.io/blob/main/docs/socket.io-protocol/v5-current.md
"""

__all__: list[str] = []
