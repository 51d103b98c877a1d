"""Members: what joins the processes of one gateway.

A member is one process with its sockets. Between members go frames (`peer`), and on these
everything else: requests of sessions that another member owns, connections, and the bus.
"""

__all__: list[str] = []
