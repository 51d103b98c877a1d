"""Who a socket is: its user, read from `socket.data` when its connection chain accepts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.errors import UsageError
from gateway.runtime.blueprint import NamespaceBlueprint
from gateway.runtime.connection import Connection
from gateway.runtime.outcome import TooManySockets

__all__ = ["LONGEST_USER", "identify"]

LONGEST_USER = 256
"""Characters of the longest name of a user."""


def identify(connection: Connection, namespace: NamespaceBlueprint) -> None:
    """Give a socket its user, which it keeps.

    Raises `UsageError` for a value that is no name, and `TooManySockets` if the user may have no
    more of them; that is counted.
    """
    if namespace.user is None:
        return
    socket = connection.socket
    user = _user_in(socket.data, namespace.user, namespace.name)
    if user is not None and connection.sockets_of(user) >= namespace.limits.sockets_per_user:
        connection.count_limit("sockets_per_user", f"a connection of user {user!r} is refused")
        raise TooManySockets("busy", "too many connections of this user", {"retry_after": 1})
    socket.user = user


def _user_in(data: object, path: Sequence[str], namespace: str) -> str | None:
    """Return the name at a path; `None` if there is nothing."""
    value = data
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None or value == "":
        return None
    if not isinstance(value, str | int) or isinstance(value, bool):
        found = f"is of type {type(value).__name__}"
    elif len(str(value)) > LONGEST_USER:
        found = f"is longer than {LONGEST_USER} characters"
    else:
        return str(value)
    where = ".".join(("data", *path))
    raise UsageError(f"{where} {found}, but namespaces.{namespace}.user takes it for a user's name")
