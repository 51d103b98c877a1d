"""A Node server with the official Redis adapter: see `tests/js/redis_server.js`."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.deadline import deadline
from tests.js.install import HERE, NODE
from tests.programs.redis import Redis

__all__ = ["NodeServer", "node_server"]


class NodeServer:
    """The server; `run` runs code in it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    async def run(self, code: str) -> Any:
        """Run the body of an async function, and return what it returns."""
        future = self.expect(number := next(self._ids))
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "code": code}).encode() + b"\n")
        async with deadline():
            return await future

    async def until(self, code: str) -> None:
        """Wait until an expression is true."""
        async with deadline():
            await self.run(f"while (!({code})) await new Promise((done) => setTimeout(done, 10))")

    def expect(self, number: int) -> asyncio.Future[Any]:
        """What a command will return."""
        return self._answers.setdefault(number, asyncio.get_running_loop().create_future())

    async def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with deadline():
            await self._process.wait()
            await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            fact = json.loads(line)
            future = self.expect(fact["id"])
            if "error" in fact:
                future.set_exception(AssertionError(fact["error"]))
            else:
                future.set_result(fact["value"])


@asynccontextmanager
async def node_server(redis: Redis) -> AsyncIterator[NodeServer]:
    """Run a Node server on a Redis, for as long as the block lasts."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        NODE, HERE / "redis_server.js", str(redis.port), stdin=pipe, stdout=pipe
    )
    server = NodeServer(process)
    try:
        async with deadline():
            await server.expect(0)
        yield server
    finally:
        await server.close()
