"""`builtin.rate_limit`: limits the rate of packets or connections."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from hashlib import blake2b
from ipaddress import IPv6Address
from time import monotonic_ns
from typing import Literal

from gateway import Context, Middleware, Next, Reject, Socket, Tally
from gateway.builtin._address import client_address, networks

__all__ = ["Buckets", "rate_limit"]

By = Literal["socket", "user", "address", "event"]
Scope = Literal["member", "node"]

MOST_KEYS = 100_000
"""Buckets of one limit: about 13 MB."""

MOST_EVENTS = 1_000
"""Events with buckets of their own: clients make up names."""

_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000


class Buckets:
    """Token buckets by key: each gets one token every `each` nanoseconds and holds `burst`.

    A bucket is one number, the time at which it is full (the generic cell rate algorithm). It is in
    whole nanoseconds, because with floats a burst would sometimes lack its last token. A bucket
    that nobody has used for as long as filling takes is full, and is forgotten.

    There are `most` buckets. For more, those that were not used for longest are forgotten, or if
    `shared`, the keys that have none yet share one.
    """

    def __init__(
        self, each: int, burst: int, most: int = MOST_KEYS, *, shared: bool = False
    ) -> None:
        self._each = each
        self._filling = each * burst
        self._most = most
        self._shared = shared
        self._recent: dict[Hashable, int] = {}
        self._former: dict[Hashable, int] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._recent) + len(self._former)

    def take(self, key: Hashable, now: int) -> int:
        """Take a token: 0, or the nanoseconds until one is available."""
        if now >= self._turn:
            self._turn = now + self._filling
            self._forget()
        if key not in self._recent:
            key = self._admitted(key)
        full = self._recent.get(key) or self._former.get(key, 0)
        full = max(full, now) + self._each
        if (wait := full - self._filling - now) > 0:
            return wait
        self._recent[key] = full
        return 0

    def take_elsewhere(self, key: Hashable, count: int, now: int) -> None:
        """Note that other workers took tokens; they may have taken more than there were."""
        if key not in self._recent:
            key = self._admitted(key)
        full = self._recent.get(key) or self._former.get(key, 0)
        full = self._recent[key] = max(full, now) + self._each * count
        self._turn = max(self._turn, full)  # or it would be forgotten before it is full

    def _admitted(self, key: Hashable) -> Hashable:
        """Make room for a key; `None`, the key of the shared bucket, if there is none."""
        if self._shared:
            return key if key in self._former or len(self) < self._most else None
        if len(self._recent) >= self._most // 2:
            self._forget()
        return key

    def _forget(self) -> None:
        """Forget the buckets that were not used since this was called last."""
        self._former, self._recent = self._recent, {}


def rate_limit(
    rate: float,
    per: float = 1.0,
    burst: int | None = None,
    by: By = "socket",
    events: tuple[str, ...] = (),
    trusted_proxies: tuple[str, ...] = (),
    scope: Scope = "member",
    tally: Tally | None = None,
) -> Middleware:
    """Packet middleware, and with `by: address` connection middleware, using token buckets.

        The limit is `rate` in `per` seconds, with up to `burst` at once (`None`: `rate`). `by` says
    what has a bucket: a socket; a `user`, which is `socket.user`, else `socket.data["user"]`, else
    the address; an `address`, in IPv6 its /64; an `event`, from all senders, where all have one
    together after the first 1,000. Only `events` count; empty means all. `trusted_proxies` is as
    in `builtin.ip_allow`. With a `scope` of `node`, all workers have their buckets in common: each
    tells the others what it let in, so a limit may be exceeded by what comes in at that moment.

    Over the limit, the error is `rate_limited`; its `data` has the seconds to wait as
        `retry_after`.
    """
    for option, value in (("rate", rate), ("per", per), ("burst", burst)):
        if value is not None and value <= 0:
            raise ValueError(f"option {option!r} must be more than 0")
    is_made_up = by == "event"
    most = MOST_EVENTS if is_made_up else MOST_KEYS
    each = max(1, round(per * _SECOND / rate))
    buckets = Buckets(each, burst or max(1, int(rate)), most, shared=is_made_up)
    key_of = _key(by, trusted_proxies)
    take: Callable[[Hashable, int], int] = buckets.take
    if tally is not None and scope == "node" and by != "socket":  # each is on one worker
        key_of, take = _common_key(by, trusted_proxies), _common(buckets, tally)
    counted = frozenset(events)

    async def limit(ctx: Context, next: Next) -> None:
        if not counted or ctx.event in counted:
            wait = take(key_of(ctx), monotonic_ns())
            if wait:
                seconds = (
                    -(-wait // _MILLISECOND) / 1000
                )  # rounded up, or a retry would come too early
                raise Reject("rate_limited", "too many, try again later", {"retry_after": seconds})
        await next()

    return limit


def _key(by: By, trusted_proxies: Sequence[str]) -> Callable[[Context], Hashable]:
    address = _address(trusted_proxies)
    if by == "user":
        return lambda ctx: ctx.socket.user or ctx.socket.data.get("user") or address(ctx.socket)
    if by == "address":
        return lambda ctx: address(ctx.socket)
    if by == "event":
        return lambda ctx: hash(ctx.event)  # clients choose names, of any length
    return lambda ctx: ctx.socket.id


def _common_key(by: By, trusted_proxies: Sequence[str]) -> Callable[[Context], str]:
    """Make keys that are of the same length, and the same in all processes."""
    key_of = _event if by == "event" else _key(by, trusted_proxies)
    return lambda ctx: blake2b(repr(key_of(ctx)).encode(), digest_size=16).hexdigest()


def _event(ctx: Context) -> Hashable:
    return ctx.event


def _common(buckets: Buckets, tally: Tally) -> Callable[[Hashable, int], int]:
    """Return a `take` that tells the other workers, and let them tell these buckets."""

    def take(key: Hashable, now: int) -> int:
        wait = buckets.take(key, now)
        if not wait:
            tally.add(str(key))
        return wait

    tally.heard = lambda key, count: buckets.take_elsewhere(key, count, monotonic_ns())
    return take


def _address(trusted_proxies: Sequence[str]) -> Callable[[Socket], Hashable]:
    address_of = client_address(networks("trusted_proxies", trusted_proxies))

    def read(socket: Socket) -> Hashable:
        address = address_of(socket.handshake)
        if address is None:
            return None
        return int(address) >> 64 if isinstance(address, IPv6Address) else int(address)

    return read
