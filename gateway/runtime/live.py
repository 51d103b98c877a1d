"""The live cell: the generation that serves, and the tasks that still run in each.

Everything before `swap` may fail. `swap` itself is one assignment and cannot. A generation is
released when it no longer serves and no task runs in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf

from gateway.api import Gateway
from gateway.runtime.blueprint import Blueprint, Generation
from gateway.runtime.cancellation import Cancellations
from gateway.runtime.services import ServicePool
from gateway.runtime.tasks import Work, start

__all__ = ["FAULT", "Live", "OldGeneration"]

log = logging.getLogger("sockgw.reload")

FAULT = "a fault in the gateway itself"

UNWIND = 5.0
"""Time for cancelled tasks to clean up, in seconds."""


@dataclass(frozen=True, slots=True)
class OldGeneration:
    """A generation that no longer serves, and how many packets and chains run in it.

    `cancelled` of its packets go on although they were cancelled. `seconds` is the time until the
    last of the others is cancelled; `None` if there are no others, or it is not known.
    """

    number: int
    packets: int
    chains: int
    cancelled: int
    seconds: float | None


class Live:
    """The only mutable cell that a packet reads, once, when it enters.

    `current` is the generation that serves; `None` before the first and after the last.
    `cancellations` cancels packets, and counts them. `pool` has the running services.
    `connect_tallies` connects those of a blueprint with other members, `None` if there are none.
    `on_swap` is called after each swap.
    """

    def __init__(self) -> None:
        self.current: Generation | None = None
        self.cancellations = Cancellations()
        self.pool = ServicePool()
        self.connect_tallies: Callable[[Blueprint], None] | None = None
        self.on_swap: Callable[[], None] | None = None
        self._count = 0
        self._uninstalls: dict[Generation, Callable[[], None]] = {}  # of those yet to serve
        self._inside: dict[Generation, set[asyncio.Task[None]]] = {}
        self._drains: dict[Generation, asyncio.TimerHandle] = {}
        self._pinned: set[asyncio.Task[None]] = set()
        self._releases: set[asyncio.Task[None]] = set()

    async def start(
        self, blueprint: Blueprint, gateway: Gateway, number: int | None = None
    ) -> Generation:
        """Start a blueprint's services; they and packets get `gateway` as the emitter.

        `number` is the generation's; `None` is the next. Raises `ConfigError` if one fails.
        """
        if self.connect_tallies is not None:
            self.connect_tallies(blueprint)
        uninstall = blueprint.install()
        try:
            service = await self.pool.start(blueprint.services, gateway)
        except BaseException:
            uninstall()
            raise
        self._count = number or self._count + 1
        loop = asyncio.get_running_loop()
        generation = Generation(self._count, blueprint, service, gateway, loop)
        self._uninstalls[generation] = uninstall
        return generation

    async def discard(self, generation: Generation) -> None:
        """Release the services of a generation that will not serve."""
        self._count = generation.number - 1
        self._uninstalls.pop(generation)()
        await _release(self, generation)

    @property
    def alive(self) -> Mapping[int, int]:
        """The number of tasks in each generation, by number; the current one is last."""
        return {generation.number: len(inside) for generation, inside in self._inside.items()}

    @property
    def old(self) -> list[OldGeneration]:
        """The generations that are still in use although a newer one serves."""
        return [_old(self, each) for each in self._inside if each is not self.current]

    @property
    def packets(self) -> int:
        """The number of packets in flight."""
        return sum(self.alive.values()) - self.chains

    @property
    def chains(self) -> int:
        """The number of running connection chains."""
        return len(self._pinned)

    @property
    def services(self) -> int:
        """The number of running services."""
        return len(self.pool)

    def last_with(self, namespace: str) -> Generation:
        """The newest generation still in use that has the namespace.

        Raises `LookupError` if there is none.
        """
        for generation in reversed(self._inside):
            if namespace in generation.blueprint.namespaces:
                return generation
        raise LookupError(namespace)

    def swap(self, generation: Generation | None, drain: float | None = None) -> None:
        """Make `generation` the one that new packets enter; with `None`, none serves.

        Packets in the former one are cancelled after `drain` seconds, unless their route declares
        a time-out; `None` means never.
        """
        former, self.current = self.current, generation
        if generation is not None:
            self._uninstalls.pop(generation)
            self._inside[generation] = set()
        if self.on_swap is not None:
            self.on_swap()
        if former is None:
            return
        if drain is not None:
            self._drains[former] = former.loop.call_later(drain, self._cancel_late, former)
        self._release_if_idle(former)

    def spawn(self, generation: Generation, work: Work) -> asyncio.Task[None] | None:
        """Run `work` inside `generation`, which is not released until it is done.

        It starts at once. Returns `None` if it is already done, having waited for nothing.
        """
        try:
            task = start(generation.loop, work)
        except (KeyboardInterrupt, SystemExit) as end:
            # From here it would reach whoever read the packet; from the loop it ends the daemon.
            generation.loop.call_soon(_raise, end)
            return None
        if task.done():
            if not task.cancelled() and (error := task.exception()):
                log.error(FAULT, exc_info=error)
            return None
        self._enter(generation, task)
        return task

    def pin(self, generation: Generation, work: Work) -> asyncio.Task[None]:
        """Run a socket's connection chain inside `generation`, which is not released meanwhile.

        It starts on the next turn of the loop, lasts as long as the socket, and is not drained.
        """
        task = generation.loop.create_task(work)
        self._pinned.add(task)
        self._enter(generation, task)
        return task

    def _enter(self, generation: Generation, task: asyncio.Task[None]) -> None:
        self._inside[generation].add(task)
        task.add_done_callback(partial(self._left, generation))

    def _cancel_late(self, generation: Generation) -> None:
        del self._drains[generation]
        late = self.cancellations.cancel_late(self._inside[generation] - self._pinned)
        if late:
            log.warning("generation %d: cancelled %d late packets", generation.number, late)

    def _left(self, generation: Generation, task: asyncio.Task[None]) -> None:
        self._inside[generation].discard(task)
        self._pinned.discard(task)
        self.cancellations.forget(task)
        if not task.cancelled() and (error := task.exception()):
            log.error(FAULT, exc_info=error)
        self._release_if_idle(generation)

    def _release_if_idle(self, generation: Generation) -> None:
        if generation is self.current or self._inside[generation]:
            return
        del self._inside[generation]
        if drain := self._drains.pop(generation, None):
            drain.cancel()  # or it would keep the generation in memory
        # The last packet's ack must not wait until a slow service has closed.
        release = generation.loop.create_task(_release(self, generation))
        self._releases.add(release)
        release.add_done_callback(self._releases.discard)

    async def drain(self, seconds: float) -> int:
        """Wait for all packets in flight; cancel those that take longer than `seconds`.

        Returns the number of cancelled packets.
        """
        tasks = {task for inside in self._inside.values() for task in inside}
        return await self._finish(tasks - self._pinned, seconds)

    async def unwind(self, seconds: float) -> int:
        """Stop serving and wait for all tasks; cancel those that take longer than `seconds`.

        Returns the number of cancelled tasks.
        """
        self.swap(None)
        tasks = {task for inside in self._inside.values() for task in inside}
        return await self._finish(tasks, seconds)

    async def _finish(self, tasks: set[asyncio.Task[None]], seconds: float) -> int:
        if not tasks:
            return 0
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            if task in self._pinned:
                task.cancel()
            else:
                self.cancellations.cancel(task, "stop")
        if late:
            await asyncio.wait(late, timeout=UNWIND)
        return len(late)

    async def close(self, seconds: float) -> None:
        """Call `unwind`, then wait until every generation is released."""
        await self.unwind(seconds)
        if self._releases:  # needs no limit: each service has its own for closing
            await asyncio.wait(self._releases)


async def _release(live: Live, generation: Generation) -> None:
    """Close the services and resources of a generation that no other one uses."""
    await live.pool.release(generation.blueprint.services)
    others = [*live._inside, *live._uninstalls]
    for resource in generation.blueprint.resources:
        if not any(resource in each.blueprint.resources for each in others):
            await resource.close()


def _old(live: Live, generation: Generation) -> OldGeneration:
    inside, drain = live._inside[generation], live._drains.get(generation)
    packets = inside - live._pinned
    cancelled = {task for task in packets if live.cancellations.has_cancelled(task)}
    at = drain.when() if drain else inf
    due = max((live.cancellations.due(each, at) for each in packets - cancelled), default=inf)
    return OldGeneration(
        generation.number,
        packets=len(packets),
        chains=len(inside) - len(packets),
        cancelled=len(cancelled),
        seconds=due - generation.loop.time() if due < inf else None,
    )


def _raise(error: BaseException) -> None:
    raise error
