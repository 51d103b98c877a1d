"""Compare a call that a backend answers with one that a plugin answers: `python -m bench.backends`.

Clients call 50 at a time over WebSockets, first a handler in Python that returns what it is given,
then a backend in Node that does. What is measured is the CPU time of the gateway for each call; the
same calls by aiohttp alone, without a gateway, are the floor.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from bench.overload import joined
from bench.peers import NODE
from bench.processes import cpu
from bench.results import write_json
from bench.soaking.daemon import Daemon, running

AT_ONCE = 50
BAR = 120.0
"""Microseconds that a call may cost beyond one that a plugin answers."""

CONFIG = """\
server: {{port: 0}}
admin: {{socket: admin.sock}}
limits: {{overload_after: unlimited, connections_per_second: unlimited}}
backends:
  shop: {{url: "http://127.0.0.1:{port}", sign: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}
namespaces:
  /:
    routes:
      plugin: plugin.echo
      backend: {{use: builtin.http, with: {{backend: shop, path: "/{{event}}"}}}}
"""

PLUGIN = """\
async def echo(ctx, value):
    return value
"""

SHOP = """\
require("node:http").createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const told = JSON.parse(Buffer.concat(parts));
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(told.args[0]));
  });
}).listen(0, "127.0.0.1", function () { console.log(this.address().port); });
"""

CALL = '{"sku":"tea","count":2}'


def main() -> None:
    """Measure both, and print what a call costs."""
    parser = argparse.ArgumentParser(prog="python -m bench.backends", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="calls of each kind and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="for everything measured")
    options = parser.parse_args()
    found = asyncio.run(_measured(max(options.calls, AT_ONCE), options.rounds))
    if options.json:
        write_json(options.json, found)
    for name, rounds in found.items():
        shown = ", ".join(f"{each:.0f}" for each in rounds)
        print(f"{name:8} {min(rounds):6.1f} us of CPU for each call  ({shown})")
    beyond = min(found["backend"]) - min(found["plugin"])
    verdict = "within" if beyond <= BAR else "beyond"
    print(f"a backend costs {beyond:.0f} us more than a plugin: {verdict} the bar of {BAR:.0f} us")


async def _measured(calls: int, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"plugin": [], "backend": [], "aiohttp": []}
    with tempfile.TemporaryDirectory() as folder:
        async with _shop() as port:
            config = CONFIG.format(port=port)
            async with running(Path(folder, "gateway"), config, PLUGIN) as daemon:
                for _ in range(rounds):
                    for event in ("plugin", "backend"):
                        found[event].append(await _called(daemon, event, calls))
                    found["aiohttp"].append(await _floor(port, calls))
    return found


@asynccontextmanager
async def _shop() -> AsyncIterator[int]:
    """Run the backend; gives its port."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(NODE, "-e", SHOP, stdout=pipe)
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def _called(daemon: Daemon, event: str, calls: int) -> float:
    """Call so often; gives the microseconds of CPU that each has cost the gateway."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        port = await daemon.port()
        enter = stack.enter_async_context
        sockets = [await enter(joined(http, port)) for _ in range(AT_ONCE)]
        await asyncio.gather(*(_ask(each, event, 20) for each in sockets))
        before = cpu([daemon.process.pid])
        await asyncio.gather(*(_ask(each, event, calls // AT_ONCE) for each in sockets))
        return (cpu([daemon.process.pid]) - before) / (calls // AT_ONCE * AT_ONCE) * 1e6


async def _ask(websocket: aiohttp.ClientWebSocketResponse, event: str, calls: int) -> None:
    for number in range(calls):
        await websocket.send_str(f'42{number}["{event}",{CALL}]')
        while (text := await websocket.receive_str()) != f"43{number}[{CALL}]":
            assert text == "2", text
            await websocket.send_str("3")


async def _floor(port: int, calls: int) -> float:
    """Call so often by aiohttp alone, in this process; gives the CPU of each."""
    url = f"http://127.0.0.1:{port}/floor"
    body = f'{{"args":[{CALL}]}}'.encode()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def ask(count: int) -> None:
            for _ in range(count):
                async with http.post(url, data=body) as answer:
                    await answer.read()

        await asyncio.gather(*(ask(20) for _ in range(AT_ONCE)))
        before = cpu([os.getpid()])
        await asyncio.gather(*(ask(calls // AT_ONCE) for _ in range(AT_ONCE)))
        return (cpu([os.getpid()]) - before) / (calls // AT_ONCE * AT_ONCE) * 1e6


if __name__ == "__main__":
    main()
