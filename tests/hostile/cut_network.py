"""A gateway and its clients on a network of their own, which is cut.

`unshare --net python -m tests.hostile.cut_network` says `whole` when everything went as it should.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gateway.daemon.daemon import Daemon, StartupInfo
from tests.deadline import deadline
from tests.gateway_files import write
from tests.raw_client import raw

CONFIG = """
server: {ping_interval: 500ms, ping_timeout: 500ms}
namespaces:
  /:
    connection_middleware: [plugin.stay]
    routes:
      hold: {use: plugin.hold, on_disconnect: cancel}
      disconnect: plugin.left
      tell: plugin.tell
"""

PLUGIN = """
import asyncio
from collections import Counter

happened = Counter()

async def stay(ctx, next):
    await next()
    happened["unwound"] += 1

async def hold(ctx):
    happened["held"] += 1
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        happened["cancelled"] += 1
        raise

async def left(ctx):
    happened[ctx.args[0]] += 1

async def tell(ctx):
    return dict(happened)
"""

CLIENTS = 5


def link(state: str) -> None:
    """Bring the only link there is up or down."""
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


@asynccontextmanager
async def running(daemon: Daemon) -> AsyncIterator[StartupInfo]:
    """Run a daemon; gives its parts."""
    started: asyncio.Future[StartupInfo] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(daemon.run(started.set_result))
    yield await started
    daemon.stop()
    await task


async def main() -> None:
    """Cut the link with calls in flight; mend it when the time-outs are over."""
    link("up")
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder), CONFIG, plugin=PLUGIN)
        daemon = Daemon(file, environ={"XDG_STATE_HOME": folder}, port=0)
        async with deadline(), running(daemon) as info, AsyncExitStack() as stack:
            for transport in ("polling", "websocket"):
                for _ in range(CLIENTS):
                    client = await stack.enter_async_context(raw(info.url, transport))
                    await client.join()
                    await client.send('421["hold"]')
            link("down")
            while (await info.api.status())["sockets"]:  # noqa: ASYNC110 - the daemon does not tell
                await asyncio.sleep(0.05)
            link("up")
            async with raw(info.url) as witness:
                await witness.join()
                await witness.send('421["tell"]')
                answer = await witness.receive()
                assert isinstance(answer, str)
                assert json.loads(answer.removeprefix("431")) == [
                    dict.fromkeys(("held", "cancelled", "ping timeout", "unwound"), 2 * CLIENTS)
                ]
    print("whole")


if __name__ == "__main__":
    asyncio.run(main())
