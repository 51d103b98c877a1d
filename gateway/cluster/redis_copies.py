"""Copies in Redis of what a member has, for others to find when the member is lost.

A copy is the hash `CLUSTER-sessions-NAME`; its name is `TAG.EPOCH.WHAT`. The set `CLUSTER-sessions`
has the names of all. Who takes over the copy of a lost member claims it first, in the key
`CLUSTER-reap-NAME`, for ten seconds at a time, so that another can follow one that dies over it.
The key says `done` in the end: a member that was only out of reach finds it there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from math import inf
from operator import itemgetter
from secrets import token_hex
from typing import Any, Literal

from gateway.cluster.members import BEAT, LEASE, MOST_MEMBERS

__all__ = ["CLAIM", "KEPT", "RedisCopies"]

KEPT = b"86400"
"""Seconds that Redis keeps copies of a cluster that is gone, and that one was taken over."""

CLAIM = b"10"
"""Seconds that a claim holds after each page."""

READY = 2.0
"""Seconds from the start in which others wait for the connection."""

PAGE = b"200"
"""Fields that Redis looks at for a page."""

FREE = b"""local function is_claimed()
  return redis.call('EXISTS', KEYS[3]) == 1 or redis.call('HGET', KEYS[1], '') == 'lost'
end
"""
"""The field with the empty name says `lost` if another member has claimed a copy."""

BEGIN = (
    FREE
    + b"""if is_claimed() then return 0 end
redis.call('UNLINK', KEYS[4])
redis.call('HSET', KEYS[4], '', 'here')
redis.call('EXPIRE', KEYS[4], ARGV[1])
return 1"""
)
"""Begins a new copy, beside the one that is there."""

WRITE = b"""if redis.call('HGET', KEYS[1], '') ~= 'here' then return 0 end
local gone = tonumber(ARGV[3])
if gone > 0 then redis.call('HDEL', KEYS[1], unpack(ARGV, 4, 3 + gone)) end
if #ARGV > 3 + gone then redis.call('HSET', KEYS[1], unpack(ARGV, 4 + gone)) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return 1"""
"""Removes fields and sets others, unless the copy is gone or claimed."""

COMPLETE = (
    FREE
    + b"""if is_claimed() or redis.call('EXISTS', KEYS[4]) == 0 then return 0 end
redis.call('RENAME', KEYS[4], KEYS[1])
return 1"""
)
"""Lets a new copy take the place of the former one."""

CLAIM_IT = b"""local by = redis.call('GET', KEYS[3])
if by == 'done' then return by end
if by and by ~= ARGV[1] then return 'busy' end
redis.call('SET', KEYS[3], ARGV[1], 'EX', ARGV[2])
for _, key in ipairs({KEYS[1], KEYS[4]}) do
  if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, '', 'lost') end
end
return 'won'"""
"""Claims a copy, or holds the claim for longer."""

FINISH = b"""if redis.call('GET', KEYS[3]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[3], 'done', 'EX', ARGV[1])
redis.call('UNLINK', KEYS[1], KEYS[4])
return redis.call('SREM', KEYS[2], ARGV[2])"""
"""Removes a copy that was taken over."""

Ask = Callable[..., Awaitable[Any]]
"""Sends a command to Redis and returns the reply. Raises `OSError` or `TimeoutError`."""


class RedisCopies:
    """The copies of a cluster, as the member `tag` sees them; see `backends.spool_copy.Copies`.

    `members` returns the tags of the others. `beat` are the seconds between two beats.
    """

    def __init__(
        self,
        tag: str,
        cluster: str,
        ask: Ask,
        members: Callable[[], Collection[str]],
        beat: float = BEAT,
    ) -> None:
        self.arrived: Callable[[], None] = _ignore
        self.beat: Callable[[], None] = _ignore
        self.look: Callable[[], None] = _ignore
        self._tag, self._ask, self._members = tag, ask, members
        self._index, self._reap = f"{cluster}-sessions", f"{cluster}-reap"
        self._pause = beat
        self._own = token_hex(8).encode()
        self._gone: set[str] = set()
        self._due: dict[str, float] = {}
        self._connected = asyncio.Event()
        self._ready_at: float | None = None

    # What the bus tells

    def arrive(self) -> None:
        """Begin anew, because there is a new connection."""
        self._due.clear()
        self._connected.set()
        self.arrived()

    def gone(self, member: str) -> None:
        """Note that a member is gone."""
        if len(self._gone) >= MOST_MEMBERS:
            self._gone.clear()
        self._gone.add(member)
        self.look()

    async def ready(self) -> None:
        loop = asyncio.get_running_loop()
        if self._ready_at is None:
            self._ready_at = loop.time() + READY
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._ready_at):
                await self._connected.wait()

    # The copy of this member

    def name(self, of: str, epoch: int) -> str:
        return f"{self._tag}.{epoch}.{of}"

    async def begin(self, name: str) -> bool:
        return bool(await self._do(BEGIN, name, KEPT))

    async def write(
        self, name: str, ends: Mapping[str, bytes], gone: Sequence[str], *, is_new: bool
    ) -> bool:
        fields = chain.from_iterable((socket.encode(), end) for socket, end in ends.items())
        count, removed = b"%d" % len(gone), [socket.encode() for socket in gone]
        main, index, _, new = self._keys(name)
        keys = b"2", new if is_new else main, index
        args = KEPT, name.encode(), count, *removed, *fields
        return bool(await self._ask(b"EVAL", WRITE, *keys, *args))

    async def complete(self, name: str) -> bool:
        return bool(await self._do(COMPLETE, name))

    async def remove(self, name: str) -> None:
        main, index, _, new = self._keys(name)
        await self._ask(b"UNLINK", main, new)
        await self._ask(b"SREM", index, name.encode())

    # Those of members that are lost

    async def lost(self, of: str) -> Sequence[str]:
        """Return the names of the copies of something whose members are lost.

        Others on the machine of a member that was there have the time of a beat to claim what it
        had: they have it on disk. A member that was not has as long to tell a beat as any other.
        """
        names: Collection[bytes] = await self._ask(b"SMEMBERS", self._index.encode())
        loop = asyncio.get_running_loop()
        orphans = self._orphans([name.decode(errors="replace") for name in names])
        self._gone &= {_tag(name) for name in orphans}
        due: dict[str, float] = {}
        for name in orphans:
            pause = self._pause if _tag(name) in self._gone else LEASE * self._pause
            due[name] = min(self._due.get(name, inf), loop.time() + pause)
            if due[name] != self._due.get(name):
                loop.call_at(due[name], self._look)
        self._due = due
        return [
            name for name, at in due.items() if at <= loop.time() and name.split(".", 2)[2] == of
        ]

    async def claim(self, name: str) -> Literal["won", "busy", "done"]:
        claim: bytes = await self._do(CLAIM_IT, name, self._own, CLAIM)
        return "won" if claim == b"won" else "done" if claim == b"done" else "busy"

    async def pages(self, name: str) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """Yield what is in a copy that was claimed; each page is removed when the next is due.

        Ends early if somebody else has the claim.
        """
        main, _, _, new = self._keys(name)
        for key in (main, new):
            cursor = b""
            while cursor != b"0":
                cursor, flat = await self._ask(b"HSCAN", key, cursor or b"0", b"COUNT", PAGE)
                found = [*filter(itemgetter(0), zip(flat[::2], flat[1::2], strict=True))]
                if found:
                    yield [(field.decode(errors="replace"), end) for field, end in found]
                    await self._ask(b"HDEL", key, *map(itemgetter(0), found))
                if await self.claim(name) != "won":
                    return

    async def finish(self, name: str) -> None:
        await self._do(FINISH, name, KEPT, name.encode(), self._own)

    def _orphans(self, names: Sequence[str]) -> list[str]:
        """Those whose members are not there, or have a copy of a later epoch."""
        newest: dict[tuple[str, str], int] = {}
        known: list[tuple[str, str, int, str]] = []
        for name in names:
            tag, _, rest = name.partition(".")
            epoch, _, of = rest.partition(".")
            if epoch.isdecimal() and of:
                known.append((tag, of, int(epoch), name))
                newest[tag, of] = max(int(epoch), newest.get((tag, of), 0))
        here = {self._tag, *self._members()}
        return [
            name for tag, of, epoch, name in known if tag not in here or epoch < newest[tag, of]
        ]

    def _look(self) -> None:
        self.look()

    def _keys(self, name: str) -> tuple[bytes, bytes, bytes, bytes]:
        """The keys of a copy, of the names of all, of its claim, and of what is to replace it."""
        main, reap = f"{self._index}-{name}", f"{self._reap}-{name}"
        return main.encode(), self._index.encode(), reap.encode(), f"{main}.new".encode()

    async def _do(self, script: bytes, name: str, *args: bytes) -> Any:
        return await self._ask(b"EVAL", script, b"4", *self._keys(name), *args)


def _tag(name: str) -> str:
    return name.partition(".")[0]


def _ignore() -> None:
    """Do nothing."""
