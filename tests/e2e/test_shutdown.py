"""How a daemon ends: a process, a signal, and what clients and plugins see of it."""

from __future__ import annotations

import os
import re
import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.cli.test_run import Run, running
from tests.deadline import deadline, until
from tests.gateway_files import write
from tests.raw_client import Raw, raw

CONFIG = """
server: {port: 0, stop_timeout: STOP}
reload: {watch: "off", drain: 1h}
admin: {socket: admin.sock}
services: {first: plugin.First, second: plugin.Second}
namespaces:
  /:
    connection_middleware: [plugin.outer, plugin.inner]
    routes:
      slow: plugin.slow
      stuck: plugin.stuck
      quick: plugin.quick
      block: plugin.block
      block_thread: plugin.block_thread
      interrupt: plugin.interrupt
      disconnect: plugin.left
"""

# What happens is a line in the file `journal`; `slow` waits for a file `go`.
PLUGIN = """
import asyncio
import contextlib
import pathlib
import time

HERE = pathlib.Path(__file__).parents[1]

def note(line):
    with (HERE / "journal").open("a") as journal:
        journal.write(line + "\\n")

def service(name):
    @contextlib.asynccontextmanager
    async def run():
        note(f"{name} opens")
        yield name
        note(f"{name} closes")
    return run

def First(): return service("first")()
def Second(): return service("second")()

async def outer(ctx, next):
    await next()
    note("outer after next")

async def inner(ctx, next):
    await next()
    note("inner after next")

async def slow(ctx):
    note("slow begins")
    while not (HERE / "go").exists():
        await asyncio.sleep(0.01)
    note("slow ends")
    return "done"

async def stuck(ctx):
    note("stuck begins")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note("stuck is cancelled")
        raise

async def quick(ctx):
    return "quick"

async def block(ctx):
    note("block begins")
    time.sleep(60)

async def interrupt(ctx, waits):
    if waits:
        await asyncio.sleep(0)
    raise KeyboardInterrupt

async def block_thread(ctx):
    await asyncio.to_thread(in_thread)

def in_thread():
    note("block_thread begins")
    time.sleep(60)

async def left(ctx, reason):
    note(f"left: {reason}")
"""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon in a process of its own, in the folder where its plugin writes the journal."""

    run: Run
    url: str
    folder: Path

    @property
    def journal(self) -> list[str]:
        file = self.folder / "journal"
        return file.read_text().splitlines() if file.exists() else []

    async def noted(self, line: str) -> None:
        """Wait until a line is in the journal, which nobody tells of."""
        await until(lambda: line in self.journal)

    async def says(self, text: str) -> str:
        """Wait for a line with this text in the log."""
        assert self.run.process.stderr is not None
        async with deadline():
            while line := (await self.run.process.stderr.readline()).decode():
                if text in line:
                    return line
        raise AssertionError(f"it ended without {text!r}")

    async def admin(self, path: str) -> tuple[int, object]:
        connector = aiohttp.UnixConnector(str(self.folder / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.get(f"http://localhost{path}") as answer,
        ):
            return answer.status, await answer.json()

    def signal(self, by: signal.Signals = signal.SIGTERM) -> None:
        self.run.process.send_signal(by)

    async def taken(self) -> None:
        """Wait until no signal is pending: the kernel makes one of two that are the same."""
        await until(lambda: not self._is_pending())

    def switches(self) -> int:
        """How often threads other than the main one have gone to sleep.

        The one that listens for signals does so again once it has seen to one.
        """
        pid = self.run.process.pid
        found = [
            re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read_text(), re.MULTILINE)
            for file in Path(f"/proc/{pid}/task").glob("*/status")
            if file.parent.name != str(pid)
        ]
        return sum(int(each[1]) for each in found if each)

    def _is_pending(self) -> bool:
        status = Path(f"/proc/{self.run.process.pid}/status").read_text()
        return bool(re.search(r"^ShdPnd:\s*0*[1-9a-f]", status, re.MULTILINE))

    async def ended(self) -> tuple[int, list[str]]:
        """Wait for its end; the exit code, and the log without its times."""
        errors = await self.run.errors()
        lines = [re.sub(r"^[0-9:]+ +", "", line) for line in errors.splitlines()]
        return await self.run.process.wait(), lines


@asynccontextmanager
async def daemon(folder: Path, timeout: str = "20s", config: str = CONFIG) -> AsyncIterator[Daemon]:
    file = write(folder, config.replace("STOP", timeout), plugin=PLUGIN)
    async with running(file) as run:
        url = f"http://{urlsplit(await run.url()).netloc}"
        yield Daemon(run, url, folder)


async def joined(stack: AsyncExitStack, url: str, transport: str = "websocket") -> Raw:
    client = await stack.enter_async_context(raw(url, transport))  # type: ignore[arg-type]
    answer = await client.join()
    assert isinstance(answer, str)
    assert answer.startswith("40{")
    return client


async def test_each_step_is_a_line_with_counts(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, daemon(tmp_path) as one:
        client = await joined(stack, one.url)
        await client.send('421["slow"]')
        await one.noted("slow begins")
        one.signal()
        assert "INFO    stopping: SIGTERM\n" in await one.says("stopping")
        waiting = "INFO    packets: waiting up to 20 s for 1; a second signal ends it at once\n"
        assert waiting in await one.says("packets")
        (tmp_path / "go").touch()
        status, lines = await one.ended()
    told = [re.sub(r"stopped after [0-9.]+ s", "stopped after N s", line) for line in lines]
    assert status == 0
    assert told == [
        "INFO    packets: 1 finished",
        "INFO    clients: 1 disconnected",
        "INFO    connection chains: 1 unwound",
        "INFO    services: 2 closed",
        "INFO    stopped after N s",
    ]


async def test_where_nothing_is_under_way_there_is_little_to_say(tmp_path: Path) -> None:
    config = CONFIG.replace(
        "services: {first: plugin.First, second: plugin.Second}\n", "limits: {connections: 10}\n"
    )
    async with daemon(tmp_path, config=config) as one:
        one.signal()
        status, lines = await one.ended()
    assert status == 0
    assert [line.partition(" after ")[0] for line in lines] == [
        "INFO    stopping: SIGTERM",
        "INFO    stopped",
    ]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_handlers_finish_chains_unwind_and_services_close_in_reverse(
    tmp_path: Path, transport: str
) -> None:
    async with AsyncExitStack() as stack, daemon(tmp_path) as one:
        client = await joined(stack, one.url, transport)
        await client.send('421["slow"]')
        await one.noted("slow begins")
        one.signal()
        await one.says("stopping")
        (tmp_path / "go").touch()
        assert await client.receive() == '431["done"]'
        assert await client.receive() is None
        status, _ = await one.ended()
        assert status == 0
        assert one.journal == [
            "first opens",
            "second opens",
            "slow begins",
            "slow ends",
            "left: server shutting down",
            "inner after next",
            "outer after next",
            "second closes",
            "first closes",
        ]


async def test_no_ack_is_lost_to_a_client_that_asks_for_it_late(tmp_path: Path) -> None:
    """A client on polling is between two polls when the answer is given."""
    async with AsyncExitStack() as stack, daemon(tmp_path) as one:
        client = await joined(stack, one.url, "polling")
        await client.send('421["slow"]')
        await one.noted("slow begins")
        one.signal()
        await one.says("stopping")
        (tmp_path / "go").touch()
        await one.noted("outer after next")
        assert await client.receive() == '431["done"]'
        assert await client.receive() is None
        status, lines = await one.ended()
    assert status == 0
    assert "INFO    clients: 1 disconnected" in lines


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_while_it_drains_it_is_not_ready_and_takes_nobody_new(
    tmp_path: Path, transport: str
) -> None:
    async with AsyncExitStack() as stack, daemon(tmp_path) as one:
        client = await joined(stack, one.url, transport)
        await client.send('421["slow"]')
        await one.noted("slow begins")
        assert await one.admin("/readyz") == (200, {"ready": True})
        one.signal()
        await one.says("stopping")
        assert await one.admin("/readyz") == (503, {"ready": False})
        assert await one.admin("/healthz") == (200, {"healthy": True})
        with pytest.raises(aiohttp.ClientError):
            await stack.enter_async_context(raw(one.url))
        await client.send('422["quick"]')
        assert await client.receive() == '432["quick"]'
        (tmp_path / "go").touch()
        assert await client.receive() == '431["done"]'
        assert (await one.ended())[0] == 0


async def test_clients_on_polling_may_still_open_connections_others_are_refused(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack, daemon(tmp_path) as one:
        client = await joined(stack, one.url, "polling")
        await client.send('421["slow"]')
        await one.noted("slow begins")
        one.signal()
        await one.says("packets: waiting")
        path = f"{one.url}/socket.io/?EIO=4&transport=polling"
        async with aiohttp.ClientSession() as http:
            async with http.get(path) as answer:
                assert answer.status == 503
            async with http.post(f"{path}&sid={client.handshake['sid']}", data="431[]") as answer:
                assert answer.status == 200
        (tmp_path / "go").touch()
        assert await client.receive() == '431["done"]'
        assert (await one.ended())[0] == 0


async def test_a_handler_that_outstays_the_stop_is_told_and_its_ack_given(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, daemon(tmp_path, timeout="50ms") as one:
        client = await joined(stack, one.url)
        await client.send('421["stuck"]')
        await one.noted("stuck begins")
        one.signal()
        assert await client.receive() == (
            '431[{"error":{"code":"cancelled",'
            """"message":"event 'stuck' was cancelled by a stop"}}]"""
        )
        status, lines = await one.ended()
        assert status == 0
        assert "stuck is cancelled" in one.journal
        assert one.journal[-1] == "first closes"
    assert "INFO    packets: 1 cancelled after 0.05 s" in lines


async def test_clients_go_one_after_the_other(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, daemon(tmp_path) as one:
        clients = [await joined(stack, one.url) for _ in range(20)]
        one.signal()
        for client in clients:
            assert await client.receive() is None
        status, lines = await one.ended()
        assert one.journal.count("outer after next") == 20
    assert status == 0
    assert "INFO    clients: 20 disconnected" in lines


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT], ids=lambda by: by.name)
async def test_a_second_signal_ends_it_at_once(tmp_path: Path, by: signal.Signals) -> None:
    async with AsyncExitStack() as stack, daemon(tmp_path) as one:
        client = await joined(stack, one.url)
        await client.send('42["slow"]')
        await one.noted("slow begins")
        one.signal()
        await one.says("packets: waiting")
        one.signal(by)
        status, lines = await one.ended()
        assert "slow ends" not in one.journal
    assert status == 128 + by
    assert lines == [f"WARNING {by.name} again: ending at once"]


@pytest.mark.parametrize("apart", [False, True], ids=["at-once", "once-the-first-was-seen"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGINT),
    ],
    ids=lambda by: by.name,
)
@pytest.mark.parametrize("events", [["block"], ["block_thread"], ["block_thread", "block"]])
async def test_a_second_signal_ends_it_while_a_handler_blocks(
    tmp_path: Path,
    events: list[str],
    first: signal.Signals,
    second: signal.Signals,
    apart: bool,
) -> None:
    async with AsyncExitStack() as stack, daemon(tmp_path) as one:
        client = await joined(stack, one.url)
        for event in events:
            await client.send(f'42["{event}"]')
            await one.noted(f"{event} begins")
        before = one.switches()
        one.signal(first)
        await one.taken()
        if apart:
            counts: deque[int] = deque(maxlen=20)

            def is_asleep() -> bool:
                """While it waits for the interpreter's lock, the count grows all the time."""
                counts.append(one.switches())
                return len(counts) == 20 and before < counts[0] == counts[-1]

            await until(is_asleep)
        one.signal(second)
        status, lines = await one.ended()
    # Of two that come at once either may be seen as the second: the process is told of them so.
    last = {second} if apart else {first, second}
    assert (status, lines[-1]) in [
        (128 + by, f"WARNING {by.name} again: ending at once") for by in last
    ]


@pytest.mark.parametrize("waits", ["true", "false"])
async def test_an_interrupt_that_a_handler_raises_ends_it_in_order(
    tmp_path: Path, waits: str
) -> None:
    async with AsyncExitStack() as stack, daemon(tmp_path) as one:
        client = await joined(stack, one.url)
        await client.send(f'42["interrupt",{waits}]')
        status, lines = await one.ended()
        assert one.journal[-1] == "left: server shutting down"
    assert status == 1
    assert "INFO    services: 2 closed" in lines


async def test_a_thread_that_blocks_does_not_hold_up_the_process(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, daemon(tmp_path, timeout="50ms") as one:
        client = await joined(stack, one.url)
        await client.send('42["block_thread"]')
        await one.noted("block_thread begins")
        one.signal()
        status, lines = await one.ended()
        assert one.journal[-1] == "first closes"
    assert status == os.EX_SOFTWARE
    assert lines[-1].startswith("ERROR   threads of plugins did not end: asyncio_")


async def test_sighup_does_not_cut_the_end_short(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, daemon(tmp_path) as one:
        client = await joined(stack, one.url)
        await client.send('421["slow"]')
        await one.noted("slow begins")
        one.signal()
        await one.says("stopping")
        one.signal(signal.SIGHUP)
        (tmp_path / "go").touch()
        assert await client.receive() == '431["done"]'
        assert (await one.ended())[0] == 0


async def test_a_signal_while_it_starts_closes_what_was_opened(tmp_path: Path) -> None:
    config = CONFIG.replace("second: plugin.Second", "second: starting.Starting")
    file = write(tmp_path, config.replace("STOP", "1s"), plugin=PLUGIN, starting=STARTING)
    async with running(file) as run:
        one = Daemon(run, "", tmp_path)
        await one.noted("starting")
        one.signal()
        status, lines = await one.ended()
        assert one.journal == ["first opens", "starting", "told to stop", "first closes"]
    assert (status, lines[0]) == (0, "INFO    stopping: SIGTERM")


STARTING = """
import asyncio
import contextlib
from .plugin import note

@contextlib.asynccontextmanager
async def starting():
    note("starting")
    try:
        await asyncio.Event().wait()
    finally:
        note("told to stop")
    yield

def Starting(): return starting()
"""


async def test_what_ignores_its_end_does_not_hold_up_the_process(tmp_path: Path) -> None:
    plugin = """
    import asyncio
    from .plugin import note
    tasks = []
    class Deaf:
        def __init__(self):
            tasks.append(asyncio.create_task(self.run()))
        async def run(self):
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    note("deaf")
    """
    config = CONFIG.replace("second: plugin.Second", "second: deaf.Deaf")
    file = write(tmp_path, config.replace("STOP", "1s"), plugin=PLUGIN, deaf=plugin)
    async with running(file) as run:
        await run.url()
        one = Daemon(run, "", tmp_path)
        one.signal()
        status, lines = await one.ended()
    assert status == os.EX_SOFTWARE
    assert lines[-1] == "ERROR   tasks of plugins did not end when cancelled: Deaf.run"
