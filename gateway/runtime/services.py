"""The service pool: starts services, shares equal ones between generations, closes unused ones.

A service that is an async context manager is entered and left in its own task: task groups and
cancel scopes must be left in the task that entered them.

Beside other members, a service with a scope is *placed*: it runs where the lead says. It starts
with the first generation that needs it if that is here, and whenever the lead comes here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakSet

from gateway.api import Gateway
from gateway.context import Services
from gateway.errors import ConfigError, Place, Problem
from gateway.runtime.blueprint import Recipe, Scope
from gateway.runtime.outcome import FAULTS

__all__ = ["START_TIMEOUT", "Lead", "Placement", "ServicePool"]

log = logging.getLogger("sockgw.service")

SLOW = 5.0
"""Time after which a service that is still starting is logged, in seconds."""

START_TIMEOUT, STOP_TIMEOUT = 30.0, 10.0
"""Time for a service to start, and to end, in seconds."""

CLEAN_UP = 5.0
"""Time for a service to clean up when it is cancelled while it starts, in seconds."""


RETRY = 5.0
"""Time until a service that was to be moved here and did not start is tried again, in seconds."""


class Lead(Protocol):
    """Tells if this member runs the services that one of several members runs."""

    @property
    def is_here(self) -> bool: ...

    @property
    def stop_within(self) -> float:
        """Seconds that a service may take to end once the lead is elsewhere."""

    @property
    def holder(self) -> str | None:
        """The tag of the member that it is at; `None` if that is not known."""

    async def decide(self) -> None:
        """Wait until it is decided which member has the lead, for a bounded time."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A service with a scope: if it runs here, and the member that should run it.

    `member` is a tag, `None` if it is not known.
    """

    scope: Scope
    is_here: bool
    member: str | None


class ServicePool:
    """The running services, counted by the generations that use them.

    `leads` has one for each scope but `member`; a gateway of one process has none, and runs all.
    """

    def __init__(
        self, start_timeout: float = START_TIMEOUT, stop_timeout: float = STOP_TIMEOUT
    ) -> None:
        """Both limits are in seconds, for a single service."""
        self.leads: Mapping[str, Lead] = {}
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._running: dict[Hashable, _Running | _Placed] = {}
        self._placed: WeakSet[_Placed] = WeakSet()
        self._settling: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """The number of running services."""
        return sum(each.is_running for each in self._running.values())

    async def start(self, recipes: Mapping[str, Recipe], gateway: Gateway) -> Services:
        """Return the services of `recipes`, and start those that do not run yet.

        `gateway` is the emitter that services may ask for. Raises `ConfigError` with a problem for
        each service that fails; the others are then released.
        """
        problems: list[Problem] = []
        acquired: dict[str, Recipe] = {}
        try:
            for name, recipe in recipes.items():
                try:
                    await self._acquire(name, recipe, gateway)
                except FAULTS as error:
                    log.debug("service %s did not start", name, exc_info=error)
                    problems.append(recipe.problem(_reason(error, recipe, self._start_timeout)))
                else:
                    acquired[name] = recipe
            if problems:
                raise ConfigError(problems)
        except BaseException:  # the daemon may stop meanwhile, too
            await self.release(acquired)
            raise
        return self._services(acquired)

    def placements(self, recipes: Mapping[str, Recipe]) -> dict[str, Placement]:
        """Where those services of `recipes` run that are placed, by name."""
        found = {name: self._running.get(recipe.key) for name, recipe in recipes.items()}
        return {name: each.placement for name, each in found.items() if isinstance(each, _Placed)}

    def settle(self) -> None:
        """Start or stop the placed services here, because a lead has changed."""
        for placed in tuple(self._placed):
            placed.give_up()
            self._settle(placed)

    async def release(self, recipes: Mapping[str, Recipe]) -> None:
        """Release services, the last started first; those without a user are closed."""
        for recipe in reversed(list(recipes.values())):
            running = self._running[recipe.key]
            running.users -= 1
            if not running.users:
                del self._running[recipe.key]
                await running.end(self._stop_timeout)

    async def _acquire(self, name: str, recipe: Recipe, gateway: Gateway) -> None:
        running = self._running.get(recipe.key)
        if running is None:
            running = await self._begin(name, recipe, gateway)
            self._running[recipe.key] = running
        running.users += 1

    async def _begin(self, name: str, recipe: Recipe, gateway: Gateway) -> _Running | _Placed:
        async def begin() -> _Running:
            return await _begun(name, recipe, gateway, self._start_timeout)

        lead = self.leads.get(recipe.scope)
        if lead is None:
            return await begin()
        placed = _Placed(name, recipe.scope, lead, begin)
        await lead.decide()
        self._placed.add(placed)
        try:
            await placed.settle(self._stop_timeout)
        except BaseException:
            await placed.end(self._stop_timeout)
            raise
        return placed

    def _services(self, acquired: Mapping[str, Recipe]) -> Services:
        entries = {name: self._running[recipe.key] for name, recipe in acquired.items()}
        instances = {name: each.instance for name, each in entries.items() if each.is_running}
        placed = {name: each for name, each in entries.items() if isinstance(each, _Placed)}
        services = Services(instances, placed.keys())
        for each in placed.values():
            each.seen_in.add(services)
        return services

    def _settle(self, placed: _Placed) -> None:
        """Start or stop a service if that is due."""
        if placed.is_settled:
            return
        task = asyncio.get_running_loop().create_task(self._move(placed))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _move(self, placed: _Placed) -> None:
        try:
            has_changed = await placed.settle(self._stop_timeout)
        except FAULTS as error:
            log.error("service %s did not move here", placed.name, exc_info=error)
            asyncio.get_running_loop().call_later(RETRY, self._settle, placed)
            return
        if has_changed:
            what = "runs here now" if placed.is_running else "no longer runs here"
            log.info("service %s %s", placed.name, what)


async def _begun(name: str, recipe: Recipe, gateway: Gateway, limit: float) -> _Running:
    """Start a service, within `limit` seconds. Raises whatever that raises."""
    running = _Running(name)
    text = "services.%s has not started after %g s, and may take %g s%s"
    told = (name, SLOW, limit, _at(recipe.place(None)))
    slow = asyncio.get_running_loop().call_later(SLOW, log.warning, text, *told)
    try:
        async with asyncio.timeout(limit):
            await running.begin(recipe.make(gateway))
    finally:
        slow.cancel()
    return running


class _Running:
    """One running service; if it is a context manager, a task enters it, waits and leaves it."""

    is_running = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.instance: object = None
        self.users = 0
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self, made: object) -> None:
        """Enter the service. Raises whatever entering it raises."""
        if not isinstance(made, AbstractAsyncContextManager):
            self.instance = made
            return
        ready: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._stay(made, ready), name=f"service {self.name}")
        try:
            self.instance = await ready
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLEAN_UP)
            raise

    async def end(self, limit: float) -> None:
        """Leave the service, by force after `limit` seconds. Errors are logged, never raised."""
        if self._task is None:
            return
        self._stop.set()
        _, late = await asyncio.wait({self._task}, timeout=limit)
        if late:
            log.error("service %s did not close within %g s", self.name, limit)
            self._task.cancel()

    async def _stay(
        self, made: AbstractAsyncContextManager[object], ready: asyncio.Future[object]
    ) -> None:
        try:
            async with made as instance:
                if not ready.done():  # done if the start was cancelled
                    ready.set_result(instance)
                    await self._stop.wait()
        except FAULTS as error:
            if ready.done():
                log.error("service %s failed while it closed", self.name, exc_info=error)
            else:
                ready.set_exception(_as_exception(error))


class _Placed:
    """One service that runs where its lead is, `seen_in` by generations that know it."""

    def __init__(
        self,
        name: str,
        scope: Scope,
        lead: Lead,
        begin: Callable[[], Coroutine[None, None, _Running]],
    ) -> None:
        self.name = name
        self._scope = scope
        self.users = 0
        self._lead = lead
        self._beginning: asyncio.Task[_Running] | None = None
        self.seen_in: WeakSet[Services] = WeakSet()
        self._begin = begin
        self._running: _Running | None = None
        self._is_over = False
        self._lock = asyncio.Lock()

    @property
    def is_running(self) -> bool:
        return self._running is not None

    @property
    def placement(self) -> Placement:
        return Placement(self._scope, self.is_running, self._lead.holder)

    @property
    def is_settled(self) -> bool:
        """True if it runs, or does not, as its lead says."""
        return self._is_over or self._lead.is_here is self.is_running

    @property
    def instance(self) -> object:
        assert self._running is not None
        return self._running.instance

    def give_up(self) -> None:
        """Do not start it, if that is under way and it is not to run here by now."""
        if self._beginning is not None and (self._is_over or not self._lead.is_here):
            self._beginning.cancel()

    async def settle(self, limit: float) -> bool:
        """Start it if its lead is here, and stop it, within `limit` seconds, if it is not.

        Returns true if that has changed something. Raises whatever the start raises.
        """
        async with self._lock:
            was_running = self.is_running
            if self._lead.is_here and not was_running and not self._is_over:
                await self._start()
            if not self._lead.is_here and self._running is not None:
                await self._stop(min(limit, self._lead.stop_within))
            return self.is_running is not was_running

    async def end(self, limit: float) -> None:
        """Stop it for good."""
        self._is_over = True
        self.give_up()
        async with self._lock:
            await self._stop(limit)

    async def _start(self) -> None:
        self._beginning = asyncio.create_task(self._begin())
        try:
            self._running = await self._beginning
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return  # it was given up
        finally:
            self._beginning = None
        for services in self.seen_in:
            services._instances[self.name] = self._running.instance

    async def _stop(self, limit: float) -> None:
        running, self._running = self._running, None
        for services in self.seen_in:
            services._instances.pop(self.name, None)
        if running is not None:
            await running.end(limit)


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(f"it called exit: {error}")


def _reason(error: BaseException, recipe: Recipe, limit: float) -> str:
    if isinstance(error, TimeoutError):
        return f"the service did not start within {limit:g} s{_at(recipe.place(None))}"
    where = _at(recipe.place(error))
    return f"the service did not start: {type(error).__name__}: {error}{where}"


def _at(place: Place | None) -> str:
    return f" ({place})" if place else ""
