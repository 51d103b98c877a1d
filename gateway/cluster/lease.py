"""The lease: the one member of a cluster that runs services of which there is only one.

A value in Redis or NATS names its holder, who writes a new one each third of the lease. Another
takes it once it has seen the same value for a whole lease, by its own clock and on one connection:
so neither the clock of a server, nor one that is emptied, restored or replaced, lets two hold it.
The holder counts from before it sent its last value, and gives the lease up when two thirds are
over: its services have the last third to end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

__all__ = ["LEASE", "Lease", "Store"]

LOG = logging.getLogger("sockgw.cluster")

LEASE = 7.5
"""Seconds that a lease holds. With the third until others look, it has moved within ten."""

DECIDE = 2.0
"""Seconds that the start of a service waits until it is known if the lease is here."""

AGAIN = 0.5
"""Seconds until the next look after one that has failed, as the holder must write in time."""

ROUNDS = 3
"""Attempts at a time to replace a value that others replace too."""

FREE = b"free"
"""What the value is when its holder has given it back."""

MARK = b"? "
"""What a value begins with that was written because there was none: nobody holds it yet."""


class Store(Protocol):
    """Where the value of a lease is kept; `name` is what the log calls it.

    Both functions raise `OSError`: a `ConnectionResetError` or a `TimeoutError` if it is away.
    """

    name: str

    async def get(self) -> bytes:
        """Return the value, `b""` if there is none."""

    async def swap(self, former: bytes, new: bytes) -> bytes:
        """Replace a value, unless it is another by now; returns the one that is there then."""


class Lease:
    """The lease that is in a `store`, as the member `tag` sees it.

    `changed` is called when it comes or goes. It is sought from the first `decide` on.
    `stop_within` are the seconds that services may take to end when it goes, `seconds` those that
    it holds.
    """

    def __init__(self, tag: str, store: Store, seconds: float = LEASE) -> None:
        self.is_here = False
        self.changed: Callable[[], None] = _ignore
        self.stop_within = 0.9 * seconds / 3
        self._tag, self._store = tag.encode(), store
        self._seconds = seconds
        self._written = 0
        self._seen, self._since = b"", 0.0
        self._fault = ""
        self._task: asyncio.Task[None] | None = None
        self._end: asyncio.TimerHandle | None = None
        self._hurry = asyncio.Event()
        self._decided = asyncio.Event()
        self._is_leaving = self._is_over = False

    @property
    def is_sought(self) -> bool:
        """True once this member has had a service that needs it."""
        return self._task is not None

    @property
    def holder(self) -> str | None:
        """The tag of the member that has it, as Redis said last; `None` if that is not known."""
        if self.is_here:
            return self._tag.decode()
        if not self._seen or self._seen.startswith(MARK):
            return None
        return self._seen.partition(b" ")[0].decode("ascii", "replace")

    async def decide(self) -> None:
        """Seek the lease from now on, and wait until it is known if it is here.

        At most two seconds, and not at all while Redis is away.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        with suppress(TimeoutError):
            async with asyncio.timeout(DECIDE):
                await self._decided.wait()

    def leave(self) -> None:
        """Do not get it any more: this member ends."""
        self._is_leaving = True

    def arrive(self) -> None:
        """Look at once, because there is a new connection: what was seen on another is nothing."""
        self._seen = b""
        self.hurry()

    def hurry(self) -> None:
        """Look at once: a member is gone."""
        self._hurry.set()

    async def close(self) -> None:
        """Give it back, once the services have ended."""
        if self._task is None:
            return
        self._is_over = True
        self.hurry()
        self._task.cancel()  # nats-py swallows a cancellation now and then
        await asyncio.wait({self._task})
        self._set(False)
        with suppress(OSError, TimeoutError):
            found = await self._store.get()
            if self._is_own(found):
                await self._store.swap(found, FREE)

    async def _run(self) -> None:
        while not self._is_over:
            self._hurry.clear()
            try:
                await self._look()
            except (OSError, TimeoutError) as error:
                self._tell(error)
                pause = min(AGAIN, self._pause())
            else:
                self._fault = ""
                pause = self._pause()
            self._decided.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hurry.wait()

    def _pause(self) -> float:
        """Seconds until the next look: when it is due, and not later than a third."""
        third = self._seconds / 3
        if self.is_here or not self._seen:
            return third
        now = asyncio.get_running_loop().time()
        return min(third, max(0.01, self._since + self._seconds - now))

    async def _look(self) -> None:
        """Take the lease, or keep it, if that may be. Raises `OSError` or `TimeoutError`."""
        found = await self._store.get()
        if not (found or self.is_here):
            found = await self._store.swap(b"", MARK + self._new())
        for _ in range(ROUNDS):
            if not self._may_take(found):
                break
            sent, new = asyncio.get_running_loop().time(), self._new()
            found = await self._store.swap(found, new)
            if found == new:
                self._hold(sent)
                return
        self._set(False)

    def _may_take(self, found: bytes) -> bool:
        if self.is_here and (not found or found.startswith(MARK)):  # Redis has lost it
            return True
        if self._is_leaving and not self.is_here:
            return False
        if found == FREE or self._is_own(found):
            return True
        now = asyncio.get_running_loop().time()
        if found != self._seen:
            self._seen, self._since = found, now
        return now - self._since >= self._seconds

    def _hold(self, sent: float) -> None:
        """Have it, counted from a time of the loop's clock."""
        loop = asyncio.get_running_loop()
        until = sent + 2 * self._seconds / 3
        if until > loop.time():
            self._set(True)
            self._end = loop.call_at(until, self._set, False)

    def _set(self, is_here: bool) -> None:
        if self._end is not None:
            self._end.cancel()
        if self.is_here is not is_here:
            self.is_here, self._seen = is_here, b""
            LOG.debug("the lease %s", "is here" if is_here else "is no longer here")
            self.changed()

    def _tell(self, error: OSError) -> None:
        """Log that Redis refuses what the lease needs, once; that it is away is told elsewhere."""
        is_away = isinstance(error, ConnectionResetError | TimeoutError)
        if not is_away and str(error) != self._fault:
            LOG.warning(
                "services with scope: cluster cannot run here: %s says: %s", self._store.name, error
            )
            self._fault = str(error)

    def _is_own(self, value: bytes) -> bool:
        return value.startswith(self._tag + b" ")

    def _new(self) -> bytes:
        """Return a value that was never there before."""
        self._written += 1
        return b"%b %d" % (self._tag, self._written)


def _ignore() -> None:
    """Have no services."""
