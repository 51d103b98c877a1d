"""Runs a command for a client, and streams what it prints."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from gateway import Context, Reject

FOLDER = Path(__file__).parents[1]


class Build:
    """One instance serves every client, and runs one build at a time.

    `command` is the option under `with:`. Saving this file makes a new instance: a build that the
    old one runs goes on, and does not keep the new one from starting another.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._is_running = False

    async def run(self, ctx: Context) -> dict[str, object]:
        """The return value is the ack. A client that goes away cancels this."""
        if self._is_running:
            raise Reject("busy", "another build is running")
        self._is_running = True
        start = time.monotonic()
        try:
            status = await self._stream(ctx)
        finally:
            self._is_running = False
        return {"status": status, "seconds": round(time.monotonic() - start, 1)}

    async def _stream(self, ctx: Context) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=FOLDER,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # so that what it starts ends with it
            limit=1_000_000,  # bytes of a line
        )
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                await ctx.socket.emit("line", line.decode(errors="replace").rstrip("\n"))
                await ctx.socket.drained()  # no faster than the client reads
            return await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
