"""The runtime: it runs sockets and packets through chains, handlers and services, without I/O."""

__all__: list[str] = []
