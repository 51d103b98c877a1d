"""The roster: who is present where, as all members tell it.

Each member alone says who is present by its own sockets, so the rosters of two members that have
heard the same are equal, in whatever order the members were heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Change", "Place", "Roster"]

Place = tuple[str, str | None]
"""A namespace and a room in it; `None` is the whole namespace."""


@dataclass(frozen=True, slots=True)
class Change:
    """A join, or a leave, of a user or a socket: `who`."""

    place: Place
    who: str
    has_joined: bool
    meta: str


class Roster:
    """Entries by place, by who and by the tag of the member that tells it; each has its `meta`.

    It keeps `most` entries.
    """

    def __init__(self, most: float) -> None:
        self.most = most
        self._places: dict[Place, dict[str, dict[str, str]]] = {}
        self._own: dict[str, dict[tuple[Place, str], None]] = {}
        self._before: dict[tuple[Place, str], tuple[bool, str]] = {}
        self._size = 0

    def __len__(self) -> int:
        """The number of entries."""
        return self._size

    @property
    def has_changes(self) -> bool:
        """True if `take_changes` may have some."""
        return bool(self._before)

    def put(self, tag: str, place: Place, who: str, meta: str) -> bool:
        """Note that a member has somebody; false if there is no more room for it."""
        entries = self._places.get(place, {}).get(who, {})
        if tag not in entries:
            if self._size >= self.most:
                return False
            self._size += 1
        self._note(place, who)
        self._places.setdefault(place, {}).setdefault(who, {})[tag] = meta
        self._own.setdefault(tag, {})[place, who] = None
        return True

    def drop(self, tag: str, place: Place, who: str) -> None:
        """Note that a member no longer has somebody."""
        own = self._own.get(tag, {})
        if (place, who) not in own:
            return
        self._note(place, who)
        self._size -= 1
        del own[place, who]
        if not own:
            del self._own[tag]
        here = self._places[place]
        del here[who][tag]
        if not here[who]:
            del here[who]
        if not here:
            del self._places[place]

    def entries(self, tag: str) -> Mapping[tuple[Place, str], None]:
        """Whom a member has, and where."""
        return self._own.get(tag, {})

    def meta(self, tag: str, place: Place, who: str) -> str:
        """The `meta` of an entry of a member. Raises `KeyError` if it has none."""
        return self._places[place][who][tag]

    def tags(self) -> Iterable[str]:
        """The members that have somebody."""
        return tuple(self._own)

    def present(self, place: Place) -> Iterator[tuple[str, str]]:
        """Yield who is at a place, each once, with the `meta` that all members agree on."""
        for who, entries in self._places.get(place, {}).items():
            yield who, entries[min(entries)]

    def take_changes(self) -> list[Change]:
        """Return the joins and leaves since this was called last; what came to nothing is none."""
        before, self._before = self._before, {}
        changes = []
        for (place, who), (was_here, meta) in before.items():
            entries = self._places.get(place, {}).get(who)
            if was_here != bool(entries):
                told = entries[min(entries)] if entries else meta
                changes.append(Change(place, who, bool(entries), told))
        return changes

    def _note(self, place: Place, who: str) -> None:
        if (place, who) not in self._before:
            entries = self._places.get(place, {}).get(who)
            meta = entries[min(entries)] if entries else ""
            self._before[place, who] = bool(entries), meta
