"""A backend: lets calls pass, sends them, and judges what becomes of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, inf
from random import uniform
from time import monotonic
from types import MappingProxyType
from typing import Any, NoReturn

from gateway.backends.answer import Refusal, reply_of, taken
from gateway.backends.breaker import Breaker, State
from gateway.backends.figures import Figures, Outcome
from gateway.backends.request import Outgoing, Requests
from gateway.backends.transport import InvalidAnswer, Lost, RawAnswer, Transport, Unsent
from gateway.config import BackendConfig, SessionsConfig
from gateway.context import Backend, Context, Reply
from gateway.errors import Reject

__all__ = ["HttpBackend", "Probed", "make_backends"]

log = logging.getLogger("sockgw.backend")

RETRY = (0.05, 0.15)
"""Seconds until a request is repeated, drawn from between these."""

TRANSIENT = (502, 503, 504)
"""Statuses after which a request is repeated that may be."""

FAILURES: frozenset[Outcome] = frozenset({"failed", "timeout", "unreachable"})
"""Outcomes that the breaker counts as failures."""

PAUSE = 1.0
"""Seconds between two log lines about the same outcome."""

QUIET: frozenset[Outcome] = frozenset({"gone", "paused", "refused"})
"""Outcomes that are told otherwise, or only to the client."""

MOST_GONE = 100
"""Paths that have answered 410 and are remembered."""

UNAVAILABLE = "not available now, try again later"
LATE = partial(Reject, "timeout", "it took too long")
BUSY = partial(Reject, "busy", "too much to do", {"retry_after": 1})
GONE = partial(Reject, "gone", "this is not there any more")
UNREACHABLE = partial(Reject, "unavailable", UNAVAILABLE)
INVALID = partial(Reject, "bad_answer", "the answer cannot be used")


TROUBLE = (TimeoutError, Unsent, Lost, InvalidAnswer, Refusal)


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe came to: the outcome, the status of HTTP if there is one, and what is wrong."""

    outcome: Outcome
    status: int | None
    seconds: float
    fault: str = ""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What becomes of a call that got no reply; `hold` is a pause in seconds, 0 for none."""

    outcome: Outcome
    reject: Reject
    why: str
    hold: float = 0.0


class HttpBackend(Backend):
    """One of the `backends:` of a gateway.yaml.

    `figures` are those of the name, whatever its block was before.
    """

    __slots__ = (
        "_free",
        "_gone",
        "_is_closed",
        "_requests",
        "_told",
        "_transport",
        "breaker",
        "config",
        "figures",
        "name",
    )

    def __init__(self, name: str, config: BackendConfig, figures: Figures | None = None) -> None:
        self.name = name
        self.config = config
        self.figures = figures or Figures()
        self.breaker = Breaker(self._tell_state, is_off=not config.breaker)
        self._requests = Requests(config, self.figures.numbers)
        self._transport = Transport(config.socket, config.max_answer)
        self._free = asyncio.Semaphore(config.concurrency)
        self._gone: dict[str, None] = {}
        self._told: dict[Outcome, tuple[float, int]] = {}
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<HttpBackend {self.name}>"  # the same on all members, for the names of tallies

    @property
    def gone(self) -> tuple[str, ...]:
        """The paths that have answered 410, and are not called any more."""
        return tuple(self._gone)

    async def call(
        self, ctx: Context[Any, Any], path: str, *, type: str = "event", idempotent: bool = False
    ) -> Reply:
        make = partial(self._requests.about, ctx, type)
        return await self._exchange(path, make, reply_of, idempotent)

    async def tell(self, path: str, facts: Mapping[str, object]) -> None:
        """Tell what is about no single packet; `facts` have at least `type`, `id` and `time`.

        Any 2xx will do. It may be told twice. Raises `Reject` if it was not told, or may not have
        been. This takes no slot, and calls do not pause when it fails: they go on as if there was
        no such thing. While they pause, it does too.
        """
        make = partial(self._requests.telling, facts)
        await self._exchange(path, make, taken, idempotent=True, is_call=False)

    async def _exchange(
        self,
        path: str,
        make: Callable[[float], Outgoing],
        read: Callable[[RawAnswer], Reply],
        idempotent: bool,
        *,
        is_call: bool = True,
    ) -> Reply:
        """Send what `make` returns for the seconds that are left, and `read` the answer."""
        self._admit(path, is_call)
        turn: int | None = None
        began = 0.0
        limit = asyncio.timeout(self.config.timeout)
        try:
            async with limit:
                if is_call:
                    await self._take_slot()
                try:
                    turn, began = self._entered(path), monotonic()
                    left = (limit.when() or 0.0) - asyncio.get_running_loop().time()
                    answer = await self._send(path, make(left), idempotent)
                finally:
                    if is_call:
                        self._give_slot()
            reply = read(answer)
        except TROUBLE as error:
            if turn is None:
                self._refuse("busy", BUSY(), path, self._crowded)
            verdict = _verdict(error, self.config.timeout)
            self._end(verdict.outcome, turn, began, verdict.hold, is_call=is_call)
            self._tell(verdict.outcome, path, verdict.why)
            raise verdict.reject from None
        except BaseException:
            if turn is not None:
                self._forget(turn)
            raise
        self._end("refused" if reply.error else "ok", turn, began)
        return reply

    async def probe(self, path: str) -> Probed:
        """Send a request that is about nothing, whatever the breaker says, and tell what came."""
        began, status = monotonic(), None
        try:
            async with asyncio.timeout(self.config.timeout):
                outgoing = self._requests.probe(self.config.timeout)
                fields = self._requests.fields(outgoing)
                answer = await self._transport.post(self.config.url + path, fields, outgoing.body)
                status = answer.status
            reply_of(answer)
        except TROUBLE as error:
            verdict = _verdict(error, self.config.timeout)
            return Probed(verdict.outcome, status, monotonic() - began, verdict.why)
        return Probed("ok", status, monotonic() - began)

    async def close(self) -> None:
        """Close the connections, for good."""
        self._is_closed = True
        await self._transport.close()

    # One call

    def _admit(self, path: str, is_call: bool) -> None:
        """Refuse a call that need not even wait for its turn."""
        if path in self._gone:
            self._refuse("gone", GONE(), path, "it has answered 410 before")
        if self._is_closed:
            self._refuse("paused", UNREACHABLE(), path, "it is in no configuration any more")
        if left := self.breaker.left():
            self._refuse_for(left, path)
        if is_call and self._free.locked() and self.figures.waiting >= self.config.queue:
            self._refuse("busy", BUSY(), path, self._crowded)

    async def _take_slot(self) -> None:
        """Wait for one of `concurrency` slots."""
        figures = self.figures
        figures.waiting += 1
        try:
            await self._free.acquire()
        finally:
            figures.waiting -= 1
        figures.in_flight += 1

    def _give_slot(self) -> None:
        self.figures.in_flight -= 1
        self._free.release()

    def _entered(self, path: str) -> int:
        """Pass the breaker, which may have opened meanwhile; return its turn."""
        if left := self.breaker.enter():
            self._refuse_for(left, path)
        return self.breaker.turn

    async def _send(self, path: str, outgoing: Outgoing, idempotent: bool) -> RawAnswer:
        """Send a request, and once more if no byte of it went out, or if it may be repeated."""
        url = self.config.url + path
        try:
            answer = await self._transport.post(url, self._requests.fields(outgoing), outgoing.body)
        except Unsent:
            pass
        except Lost:
            if not idempotent:
                raise
        else:
            if not idempotent or answer.status not in TRANSIENT or answer.retry_after:
                return answer
        self.figures.retries += 1
        await asyncio.sleep(uniform(*RETRY))
        return await self._transport.post(url, self._requests.fields(outgoing), outgoing.body)

    def _end(
        self, outcome: Outcome, turn: int, began: float, hold: float = 0.0, *, is_call: bool = True
    ) -> None:
        """Count a call that was sent; `hold` is the pause in seconds that the backend asks for."""
        now = monotonic()
        self.figures.outcomes[outcome] += 1
        self.figures.add_time(now - began, now)
        if not is_call and outcome in FAILURES:
            self.breaker.forget(turn)
        elif hold and self.config.breaker:
            self.breaker.hold(hold)
        else:
            self.breaker.record(turn, failed=outcome in FAILURES)

    def _forget(self, turn: int) -> None:
        """End a call that was cancelled, or that could not be made."""
        self.figures.outcomes["cancelled"] += 1
        self.breaker.forget(turn)

    def _refuse_for(self, left: float, path: str) -> NoReturn:
        data = {"retry_after": ceil(left)}
        why = f"calls pause for {left:.1f} s"
        self._refuse("paused", Reject("unavailable", UNAVAILABLE, data), path, why)

    def _refuse(self, outcome: Outcome, reject: Reject, path: str, why: str) -> NoReturn:
        """Refuse a call that was not sent."""
        self.figures.outcomes[outcome] += 1
        self._tell(outcome, path, why)
        raise reject from None

    @property
    def _crowded(self) -> str:
        return (
            f"its turn did not come: to allow more, raise backends.{self.name}.concurrency "
            f"or backends.{self.name}.queue"
        )

    # What the operator is told

    def _tell(self, outcome: Outcome, path: str, why: str) -> None:
        """Log what became of a call, once in a while for each outcome."""
        if outcome == "gone" and path not in self._gone and len(self._gone) < MOST_GONE:
            self._gone[path] = None
            text = "backend %s: %s has answered 410 and is not called any more: to call it again, "
            log.error(text + "change the block, or restart", self.name, path)
        if outcome in QUIET:
            return
        now = monotonic()
        at, more = self._told.get(outcome, (-inf, 0))
        if now - at < PAUSE:
            self._told[outcome] = at, more + 1
            return
        self._told[outcome] = now, 0
        others = f" ({more} more)" if more else ""
        log.warning("backend %s: %s: %s, %s%s", self.name, path, outcome, why, others)

    def _tell_state(self, state: State, pause: float) -> None:
        if state == "open" and pause:
            log.error("backend %s fails: calls pause for %.1f s", self.name, pause)
        elif state == "closed":
            log.info("backend %s answers again", self.name)


def _verdict(error: BaseException, timeout: float) -> _Verdict:
    """Judge one of the exceptions in `TROUBLE`."""
    if isinstance(error, Refusal):
        return _Verdict(error.outcome, error.reject, str(error), error.hold)
    if isinstance(error, InvalidAnswer):
        return _Verdict("invalid", INVALID(), str(error))
    if isinstance(error, TimeoutError):
        return _Verdict("timeout", LATE(), f"no answer within {timeout:g} s")
    return _Verdict("unreachable", UNREACHABLE(), str(error))


def _shared(sessions: SessionsConfig, workers: int) -> SessionsConfig:
    spool = sessions.spool
    entries, size = ceil(spool.entries / workers), ceil(spool.bytes / workers)
    return replace(sessions, spool=replace(spool, entries=entries, bytes=size))


def make_backends(
    configs: Mapping[str, BackendConfig], workers: int, former: Mapping[str, HttpBackend]
) -> Mapping[str, HttpBackend]:
    """Make the backends of a config, and keep those whose block is unchanged.

    What is bounded for the gateway is shared out equally among its `workers`.
    """
    backends: dict[str, HttpBackend] = {}
    for name, config in configs.items():
        own = replace(
            config,
            concurrency=ceil(config.concurrency / workers),
            queue=ceil(config.queue / workers),
            sessions=config.sessions and _shared(config.sessions, workers),
        )
        known = former.get(name)
        if known is not None and known.config == own:
            backends[name] = known
        else:
            backends[name] = HttpBackend(name, own, known.figures if known else None)
    return MappingProxyType(backends)
