"""The copy of a spool's ends, for other machines to tell if this one is lost.

It has the end of each socket that is there, and the ends that wait. An end is in the copy before
its connect is on disk, and so before the connect is told; it leaves the copy once it was told.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from gateway.backends.request import rfc3339
from gateway.backends.spool_file import Change, CopyState, Ends, Place
from gateway.base64json import dumps, loads

__all__ = ["GATEWAY_LOST", "PAGE", "Claim", "Copies", "SpoolCopy"]

log = logging.getLogger("sockgw.backend")

PAGE = 500
"""Ends that are written at a time."""

LARGEST = 4096
"""Bytes of an end that is taken over; ours are smaller."""

GATEWAY_LOST = "gateway lost"
"""The reason of an end that the process with the socket did not live to tell."""

MEMBER_LOST = "member lost"
"""The same, told by a process of another machine."""

Claim: TypeAlias = Literal["won", "busy", "done"]
"""Nobody else tells the ends in a copy; another member is about to; or has taken all of them."""

Put: TypeAlias = Callable[[Sequence[Change]], Awaitable[None]]
"""Takes up changes, and returns when they are on disk."""

Read: TypeAlias = Callable[[Place, int], Awaitable[tuple[Ends, Place | None]]]
"""Returns ends from a place on, at most so many, and the place of the next; `None` for no more."""


class Copies(Protocol):
    """Copies, by names, where all members of a cluster find them.

    What is called there: `arrived` when a connection is new, `beat` every few seconds while there
    is one, `look` when a member may be lost. What awaits raises `OSError`.
    """

    arrived: Callable[[], None]
    beat: Callable[[], None]
    look: Callable[[], None]

    def name(self, of: str, epoch: int) -> str:
        """Return the name of this member's copy of something; the first `epoch` is 1."""

    async def ready(self) -> None:
        """Wait until there is a connection, two seconds at most from the start. Raises nothing."""

    async def begin(self, name: str) -> bool:
        """Begin a new copy beside the one that is there; false if another member has claimed it."""

    async def write(
        self, name: str, ends: Mapping[str, bytes], gone: Sequence[str], *, is_new: bool
    ) -> bool:
        """Remove those that are gone, then add ends; false if there is no copy any more.

        With `is_new`, in the new copy.
        """

    async def complete(self, name: str) -> bool:
        """Let the new copy take the place of the former one; false if it is gone or claimed."""

    async def remove(self, name: str) -> None:
        """Remove a copy of this member, which nobody needs."""

    async def lost(self, of: str) -> Sequence[str]:
        """Return the names of the copies of something whose members are lost."""

    async def claim(self, name: str) -> Claim:
        """Claim a copy whose member is gone, to tell the ends in it."""

    def pages(self, name: str) -> AsyncIterator[Ends]:
        """Yield what is in a copy that was claimed; each page is removed when the next is due."""

    async def finish(self, name: str) -> None:
        """Remove a copy that was claimed, and note that its ends were taken."""


class SpoolCopy:
    """The copy of one spool of this member, kept in step with it.

    `reaped` is called when another member has taken this one for lost and told the ends in the
    copy: there is a new one then, of the next epoch. `taken_over` counts the ends of members that
    were lost.
    """

    def __init__(self, copies: Copies, backend: str) -> None:
        self.copies, self.backend = copies, backend
        self.epoch = 1
        self.is_wanted = False
        self.reaped: Callable[[], None] = _ignore
        self._is_begun = self._is_due = self._was_begun = False
        self._next: Place | None = ""
        self.taken_over = 0
        self._gone: list[str] = []
        self._unfinished: set[str] = set()
        self._is_told = False

    @property
    def name(self) -> str:
        return self.copies.name(self.backend, self.epoch)

    @property
    def is_whole(self) -> bool:
        """True if all that is on disk is in the copy."""
        return self._is_begun and self._next is None

    @property
    def state(self) -> CopyState:
        """What the file says of its copy."""
        return CopyState(self.name if self._was_begun else "", is_whole=self.is_whole)

    @property
    def has_work(self) -> bool:
        """True if `go_on` has something to do."""
        return self._is_due or (self._is_begun and (bool(self._gone) or self._next is not None))

    def want(self, is_wanted: bool) -> None:
        """Keep it from now on, or not any more; what there is stays until this member stops."""
        if is_wanted is not self.is_wanted:
            self.is_wanted = is_wanted
            self.anew()

    def anew(self) -> None:
        """Write all of it anew: what is there may be old."""
        self._is_begun, self._is_due = False, self.is_wanted

    def check(self) -> None:
        """Look if it is still there."""
        self._is_due = self.is_wanted

    def forget(self, sockets: Sequence[str]) -> None:
        """Take out ends that were told, or dropped."""
        if self._is_begun:
            self._gone += sockets

    async def write(self, changes: Sequence[Change]) -> None:
        """Take up changes, before they are on disk."""
        if not self._is_begun or not (changes or self._gone):
            return
        ends: dict[str, bytes] = {}
        for change in changes:
            end = change.message if change.lost is None else change.lost
            if end is None:
                ends.pop(change.socket, None)
                self._gone.append(change.socket)
            else:
                ends[change.socket] = end
        await self._write(ends)

    async def go_on(self, read: Read) -> None:
        """Do what is due: begin, write a page of what `read` returns, or look if it is there."""
        self._is_due = False
        if not self._is_begun:
            await self._begin()
            return
        ends: Ends = ()
        if (place := self._next) is not None:
            ends, place = await read(place, PAGE)
        gone = {*self._gone}
        if not await self._write({socket: end for socket, end in ends if socket not in gone}):
            return
        if self._next is not None and place is None:
            await self._complete()
        else:
            self._next = place
        await self.finish()

    async def claimed(self, names: Sequence[str]) -> dict[str, Claim]:
        """Claim copies of processes of this machine that have ended, to tell the ends from disk.

        While Redis is away nobody else can claim them.
        """
        claims: dict[str, Claim] = {}
        if names:
            await self.copies.ready()
        for name in names:
            try:
                claims[name] = await self.copies.claim(name)
            except OSError as error:
                self._tell(error)
                claims[name] = "won"
        return claims

    async def finish(self, names: Iterable[str] = ()) -> None:
        """Remove copies whose ends are on disk here, now or when that can be done."""
        self._unfinished.update(names)
        try:
            for name in [*self._unfinished]:
                if await self.copies.claim(name) == "won":
                    await self.copies.finish(name)
                self._unfinished.discard(name)
        except OSError as error:
            self._tell(error)

    async def take_over(self, put: Put, at: float) -> None:
        """Put the ends of sockets of members that are lost on disk here, as found `at` that time.

        Members that have the same copy claim it: one has it, and the next if that one is lost.
        """
        if not self.is_wanted:
            return
        try:
            for name in await self.copies.lost(self.backend):
                if await self.copies.claim(name) != "won":
                    continue
                count = 0
                async for page in self.copies.pages(name):
                    ends = [(socket, _lost(socket, end, at)) for socket, end in page]
                    changes = [Change(socket, end, None) for socket, end in ends if end]
                    await put(changes)
                    count += len(changes)
                    self.taken_over += len(changes)
                await self.copies.finish(name)
                log.warning(
                    "backend %s: a member is lost (%s): this one tells the ends of its sockets, %d",
                    *(self.backend, name, count),
                )
        except OSError as error:
            self._tell(error)

    async def remove(self) -> None:
        """Remove it: its ends are told from the disk, or not at all."""
        self._is_begun = self._is_due = False
        if self._was_begun:
            self._was_begun = False
            try:
                await self.copies.remove(self.name)
            except OSError as error:
                self._fail(error)

    async def _begin(self) -> None:
        self._gone.clear()
        try:
            is_begun = await self.copies.begin(self.name)
        except OSError as error:
            self._fail(error)
            return
        if is_begun:
            self._is_begun, self._was_begun, self._next = True, True, ""
            return
        former, self.epoch = self.name, self.epoch + 1
        self._is_due = True
        log.warning(
            "backend %s: this member was taken for lost, and others have told the ends of its "
            "sockets: those that are there are told anew (%s is now %s)",
            *(self.backend, former, self.name),
        )
        self.reaped()

    async def _complete(self) -> None:
        try:
            if await self.copies.complete(self.name):
                self._next, self._is_told = None, False
            else:
                self.anew()
        except OSError as error:
            self._fail(error)

    async def _write(self, ends: Mapping[str, bytes]) -> bool:
        """Write ends, and remove those that are gone; true if all of that is done."""
        gone = [socket for socket in self._gone if socket not in ends]
        self._gone.clear()
        items = [*ends.items()]
        try:
            for begin in range(0, max(1, len(items), len(gone)), PAGE):
                page = slice(begin, begin + PAGE)
                ends, is_new = dict(items[page]), self._next is not None
                if not await self.copies.write(self.name, ends, gone[page], is_new=is_new):
                    self.anew()
                    return False
        except OSError as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: OSError) -> None:
        """Give the copy up until there is a connection, or the next beat."""
        self._is_begun = False
        self._tell(error)

    def _tell(self, error: OSError) -> None:
        """Log what Redis refuses, once until it works; that it is away is told elsewhere."""
        is_away = isinstance(error, ConnectionResetError | TimeoutError)
        if not is_away and not self._is_told:
            self._is_told = True
            log.warning(
                "backend %s: machines cannot tell the ends of each other's sockets: Redis says: %s",
                *(self.backend, error),
            )


def _lost(socket: str, end: bytes, at: float) -> bytes | None:
    """Return what is told of a socket whose member was lost; `None` if `end` is no end of it."""
    try:
        message: Any = loads(end) if len(end) <= LARGEST else None
        told = message["type"], message["socket"]["id"]
        if told != ("disconnect", socket) or not isinstance(message["id"] + message["time"], str):
            return None
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    if message.get("reason") != GATEWAY_LOST:  # it was told when the socket ended
        return end
    return dumps({**message, "time": rfc3339(at), "reason": MEMBER_LOST})


def _ignore() -> None:
    """Tell nobody."""
