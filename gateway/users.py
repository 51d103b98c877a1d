"""Users as targets: each is a room that only the gateway puts sockets into."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["UserNames", "is_user_room", "user_of", "user_room", "user_rooms"]

UserNames: TypeAlias = str | int | list[str] | tuple[str, ...] | set[str] | frozenset[str]
"""The name of a user, or several."""

_USER = "\0user:"
"""Begins the names of the rooms of users, which are no plugin's."""


def user_room(name: str) -> str:
    """The room of a user: only sockets of that user are in it, from their acceptance on."""
    return _USER + name


def user_of(room: str) -> str | None:
    """The user that a room is of; `None` for any other room."""
    return room.removeprefix(_USER) if is_user_room(room) else None


def is_user_room(room: str) -> bool:
    """True of a room that sockets are in because of who they are."""
    return isinstance(room, str) and room.startswith(_USER)


def user_rooms(users: tuple[UserNames, ...]) -> tuple[str, ...]:
    """The rooms of users. Raises `TypeError` for what is no name."""
    names: list[str] = []
    for each in users:
        for name in each if isinstance(each, list | tuple | set | frozenset) else (each,):
            if not isinstance(name, str | int) or isinstance(name, bool):
                kind = type(name).__name__
                raise TypeError(f"a user's name is text or a whole number, not {kind}")
            names.append(user_room(str(name)))
    return tuple(names)
