"""One side in a process of its own: `python -m bench.buses.side NAME TAG WHERE`.

Reads orders, one a line, and answers each with the seconds of CPU time that it took:
`send COUNT BATCH PAUSE`, with `BATCH` messages in each turn of the loop and `PAUSE` seconds after
it; `receive COUNT`, which says `ready` first; `parts COUNT`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time

import uvloop

from bench.buses.parts import parts
from bench.buses.sides import SIDES, Side

__all__: list[str] = []

SETTLE = 0.1
"""Seconds in which replies come after the last message."""


async def main(name: str, tag: str, where: str) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with SIDES[name](tag, where) as side:
        print(flush=True)
        gc.freeze()
        while line := await reader.readline():
            verb, *words = line.decode().split()
            if verb == "send":
                answer: object = await _send(side, int(words[0]), int(words[1]), float(words[2]))
            elif verb == "parts":
                answer = await parts(int(words[0]))
            else:
                answer = await _receive(side, int(words[0]))
            print(json.dumps(answer), flush=True)


async def _send(side: Side, count: int, batch: int, pause: float) -> float:
    """Send messages; what the pauses themselves take is left out."""
    used = []
    for sends in (True, False):
        before = time.process_time()
        for _ in range(count // batch):
            if sends:
                await side.send(batch)
            await asyncio.sleep(pause)
        await asyncio.sleep(SETTLE)
        used.append(time.process_time() - before)
    return used[0] - used[1]


async def _receive(side: Side, count: int) -> float:
    due = asyncio.ensure_future(side.receives(count))
    await asyncio.sleep(0)
    print("ready", flush=True)
    before = time.process_time()
    await due
    return time.process_time() - before


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
