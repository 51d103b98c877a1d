"""The operations of a push, read from JSON: strictly, so that a wrong key never means everybody."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from gateway.base64json import loads
from gateway.push.problems import PushError

__all__ = [
    "LIST_LIMIT",
    "LONGEST_CURSOR",
    "MOST_NAMES",
    "MOST_OPERATIONS",
    "MOST_SECONDS",
    "OPERATIONS",
    "Batch",
    "Call",
    "Disconnect",
    "Emit",
    "Except",
    "FindSocket",
    "Join",
    "Leave",
    "ListNamespaces",
    "ListRooms",
    "ListSockets",
    "Operation",
    "Push",
    "Target",
    "batch_of",
    "cursor_of",
    "listing_of",
    "parsed",
    "push_of",
]

MOST_NAMES = 1_000
"""Rooms, users or sockets that one list of a target names at most."""

MOST_OPERATIONS = 100
"""Operations in one batch at most."""

MOST_SECONDS = 60.0
"""The longest time for clients to answer, in seconds: of a call, and of all calls of a batch."""

LONGEST_CURSOR = 16_000
"""Characters of a cursor at most."""

LIST_LIMIT = 500
"""Sockets or rooms on one page at most."""

T = TypeVar("T")

Name = Annotated[str, Meta(min_length=1, max_length=1_000)]
UserName = Annotated[str, Meta(min_length=1, max_length=256)]
User = UserName | int
Names = Annotated[list[Name], Meta(max_length=MOST_NAMES)]
Users = Annotated[list[User], Meta(max_length=MOST_NAMES)]
Limit = Annotated[int, Meta(ge=1, le=LIST_LIMIT)]
SomeNames = Annotated[list[Name], Meta(min_length=1, max_length=MOST_NAMES)]
Seconds = Annotated[float, Meta(gt=0, le=MOST_SECONDS)]


class Except(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """Sockets that a target leaves out."""

    rooms: Names = []
    users: Users = []
    sockets: Names = []


class Target(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """Whom a push is for: all that are in any of the rooms, are any of the users or sockets.

    With `all` it is the whole namespace, which is never meant by leaving something out.
    """

    namespace: Name
    rooms: Names = []
    users: Users = []
    sockets: Names = []
    all: bool = False
    excluded: Except = field(default_factory=Except, name="except")


class Push(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """What all pushes have."""

    operation: ClassVar[str]
    target: Target


class Emit(Push, frozen=True):
    """Send an event. With `volatile`, clients that are not ready for it do not get it."""

    operation: ClassVar[str] = "emit"
    event: Name
    args: list[Any] = []
    volatile: bool = False


class Call(Push, frozen=True):
    """Send an event, and wait at most `timeout` seconds for the answers of the clients."""

    operation: ClassVar[str] = "call"
    event: Name
    args: list[Any] = []
    timeout: Seconds = 5.0


class Join(Push, frozen=True):
    """Have sockets join rooms."""

    operation: ClassVar[str] = "join"
    rooms: SomeNames


class Leave(Push, frozen=True):
    """Have sockets leave rooms."""

    operation: ClassVar[str] = "leave"
    rooms: SomeNames


class Disconnect(Push, frozen=True):
    """Disconnect sockets; with `close`, close their connections too."""

    operation: ClassVar[str] = "disconnect"
    close: bool = False


class ListNamespaces(Struct, frozen=True):
    """List namespaces: these, as far as they are served; `None` for all."""

    names: frozenset[str] | None = None


class ListRooms(Struct, forbid_unknown_fields=True, frozen=True):
    """List rooms of a namespace, in the order of their names, from the one behind `after` on."""

    namespace: Name
    limit: Limit = 100
    after: str = ""


class ListSockets(Struct, forbid_unknown_fields=True, frozen=True):
    """List sockets of a namespace, of a room or a user in it, in the order of their ids.

    It begins with the one behind `after`.
    """

    namespace: Name
    room: Name | None = None
    user: UserName | None = None
    limit: Limit = 100
    after: str = ""


class FindSocket(Struct, frozen=True):
    """Find a socket by its id in some namespaces."""

    id: Name
    namespaces: tuple[str, ...] = ()


class Batch(Struct, forbid_unknown_fields=True, frozen=True):
    """Several pushes, one after the other. Each has its own `operation`, and is read by itself."""

    operations: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MOST_OPERATIONS)]


L = TypeVar("L", ListRooms, ListSockets)

Operation = Push | ListNamespaces | ListRooms | ListSockets | FindSocket

OPERATIONS: Mapping[str, type[Push]] = {
    each.operation: each for each in (Emit, Call, Join, Leave, Disconnect)
}


def parsed(body: bytes) -> object:
    """Decode the body of a request. Raises `PushError`."""
    try:
        return loads(body)
    except ValueError as error:
        raise PushError("bad_json", f"the body is not JSON: {error}") from None


def push_of(kind: type[Push], data: object) -> Push:
    """Make a push of what a body says. Raises `PushError`."""
    push = _converted(data, kind)
    target = push.target
    is_some = bool(target.rooms or target.users or target.sockets)
    if is_some and target.all:
        why = "all is for the whole namespace: leave out rooms, users and sockets, or all"
        raise PushError("bad_request", f"{why} - at `$.target`")
    if not is_some and not target.all:
        why = "name rooms, users or sockets, or write all: true for the whole namespace"
        raise PushError("no_target", f"{why} - at `$.target`")
    return push


def batch_of(data: object) -> list[dict[str, Any]]:
    """Return the pushes of a batch, as they are written. Raises `PushError`."""
    return _converted(data, Batch).operations


def listing_of(kind: type[L], query: Mapping[str, str]) -> L:
    """Make a request for a page of its query. Raises `PushError`."""
    given = dict(query)
    if len(given.get("after", "")) > LONGEST_CURSOR:
        raise PushError("bad_request", "after is not the `next` of an answer")
    if "after" in given:
        given["after"] = _name_in(given["after"])
    return _converted(given, kind, strict=False)


def cursor_of(name: str) -> str:
    """Return what leads to the page behind a socket's id, or a room's name."""
    return urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _name_in(cursor: str) -> str:
    try:
        return b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except ValueError:
        raise PushError("bad_request", "after is not the `next` of an answer") from None


def _converted(data: object, kind: type[T], *, strict: bool = True) -> T:
    try:
        return msgspec.convert(data, kind, strict=strict)
    except (msgspec.ValidationError, RecursionError) as error:
        raise PushError("bad_request", str(error)) from None
