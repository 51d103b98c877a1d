"""The service pool: starts services, shares equal ones between generations, closes unused ones.

A service that is an async context manager is entered and left in its own task: task groups and
cancel scopes must be left in the task that entered them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Mapping
from contextlib import AbstractAsyncContextManager

from gateway.api import Gateway
from gateway.context import Services
from gateway.errors import ConfigError, Place, Problem
from gateway.runtime.blueprint import Recipe
from gateway.runtime.outcome import FAULTS

__all__ = ["ServicePool"]

log = logging.getLogger("sockgw.service")

SLOW = 5.0
"""Time after which a service that is still starting is logged, in seconds."""

CLEAN_UP = 5.0
"""Time for a service to clean up when it is cancelled while it starts, in seconds."""


class ServicePool:
    """The running services, counted by the generations that use them."""

    def __init__(self, start_timeout: float = 30.0, stop_timeout: float = 10.0) -> None:
        """Both limits are in seconds, for a single service."""
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._running: dict[Hashable, _Running] = {}

    def __len__(self) -> int:
        """The number of running services."""
        return len(self._running)

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
        return Services({n: self._running[r.key].instance for n, r in acquired.items()})

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
            running = _Running(name)
            text = "services.%s has not started after %g s, and may take %g s%s"
            told = (name, SLOW, self._start_timeout, _at(recipe.place(None)))
            slow = asyncio.get_running_loop().call_later(SLOW, log.warning, text, *told)
            try:
                async with asyncio.timeout(self._start_timeout):
                    await running.begin(recipe.make(gateway))
            finally:
                slow.cancel()
            self._running[recipe.key] = running
        running.users += 1


class _Running:
    """One running service; if it is a context manager, a task enters it, waits and leaves it."""

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


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(f"it called exit: {error}")


def _reason(error: BaseException, recipe: Recipe, limit: float) -> str:
    if isinstance(error, TimeoutError):
        return f"the service did not start within {limit:g} s{_at(recipe.place(None))}"
    where = _at(recipe.place(error))
    return f"the service did not start: {type(error).__name__}: {error}{where}"


def _at(place: Place | None) -> str:
    return f" ({place})" if place else ""
