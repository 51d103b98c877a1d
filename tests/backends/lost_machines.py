"""Gateways that are one cluster on a Redis, each with a spool of its own, as machines have."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.backends.told import Told, gateway_files
from tests.daemon.gateway_of_workers import GatewayOfWorkers, run_workers, until_true
from tests.programs.redis import Redis

__all__ = ["Machine", "copied", "ends", "is_done", "machines", "reasons"]


class Machine:
    """A gateway's file, and the gateway while it runs."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.stack = AsyncExitStack()
        self.gateway: GatewayOfWorkers

    async def start(self) -> None:
        self.gateway = await self.stack.enter_async_context(run_workers(self.file))

    async def kill(self) -> None:
        """Kill all its processes at once."""
        await self.stack.aclose()

    async def facts(self) -> dict[str, Any]:
        """What it says of the sockets that it tells of."""
        found: dict[str, Any] = (await self.gateway.status())["backends"]["shop"]["sessions"]
        return found

    async def is_copied(self) -> None:
        """Wait until Redis has what others are to tell, for each process."""

        async def is_whole() -> bool:
            workers = len((await self.gateway.status()).get("workers", [1]))
            return bool((await self.facts())["copies"] == workers)

        await until_true(is_whole)

    async def sees(self, members: int) -> None:
        """Wait until it knows so many others."""

        async def does_see() -> bool:
            return bool((await self.gateway.status())["cluster"]["members"] == members)

        await until_true(does_see)


@asynccontextmanager
async def machines(
    folder: Path, redis: Redis, told: Told, count: int, workers: int = 1, **sessions: Any
) -> AsyncIterator[list[Machine]]:
    """Machines that know each other, and of which Redis has what it needs."""
    made = []
    cluster = {"cluster": {"name": "shop", "redis": {"url": redis.url}}}
    async with AsyncExitStack() as stack:
        for number in range(count):
            place = folder / str(number)
            place.mkdir()
            machine = Machine(gateway_files(place, told.url, workers, more=cluster, **sessions))
            made.append(machine)
            stack.push_async_callback(machine.kill)
            await machine.start()
        for machine in made:
            await machine.sees(count * workers - 1)
            await machine.is_copied()
        yield made


def ends(told: Told) -> Counter[str]:
    """The sockets whose ends were told, and how often."""
    return Counter(each["socket"]["id"] for each in told.of("disconnect"))


def reasons(told: Told) -> set[str]:
    return {each["reason"] for each in told.of("disconnect")}


async def copied(redis: Redis, sockets: set[str], epoch: int = 1) -> int:
    """The number of sockets in the copy of the process that has these."""
    answer = await redis.command(f"HLEN shop-sessions-{tag_of(sockets)}.{epoch}.shop")
    return int(answer[1:]) - 1


async def is_done(redis: Redis, sockets: set[str]) -> bool:
    """True if the copy of the process that had these is gone for good: nobody tells them again."""
    tag = tag_of(sockets)
    names = await redis.command(f"SISMEMBER shop-sessions {tag}.1.shop")
    claim = await redis.command(f"STRLEN shop-reap-{tag}.1.shop")  # `done`
    return (names, claim, await copied(redis, sockets)) == (b":0", b":4", -1)


def tag_of(sockets: set[str]) -> str:
    """The tag of the process that has these, in which their ids begin."""
    (tag,) = {each[:5] for each in sockets}
    return tag
