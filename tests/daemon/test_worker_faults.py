"""Faults at each message of a reload of workers: all of them end up on one generation.

A module that every process of the gateway imports first, the supervisor and the zygote included,
kills or stops a process at a moment that the test has chosen.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon.gateway_of_workers import (
    GatewayOfWorkers,
    alive,
    edit,
    files,
    one_on_each,
    run_workers,
)
from tests.deadline import until

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="workers need Linux")

HOOK = """
import json, os
from pathlib import Path
from gateway.daemon import control

FAULT = Path(__file__).with_name("fault")
former_framed, former_send, former_feed = control.framed, control.Channel.send, control.Frames.feed

def meet(moment, message):
    try:
        fault = json.loads(FAULT.read_text())
    except FileNotFoundError:
        return
    here = [moment, type(message).__name__]
    name = Path("/proc/self/comm").read_text().strip()
    if here == fault["at"] and fault["worker"] in (None, name.removeprefix("sockgw worker ")):
        FAULT.unlink()
        os.kill(fault["victim"] or os.getpid(), fault["signal"])

def framed(number, message, descriptors=0):
    meet("sends", message)
    return former_framed(number, message, descriptors)

def send(self, number, message, *descriptors):
    former_send(self, number, message, *descriptors)
    meet("has sent", message)

def feed(self, data, descriptors):
    for number, message, own in former_feed(self, data, descriptors):
        meet("gets", message)
        yield number, message, own

control.framed, control.Channel.send, control.Frames.feed = framed, send, feed
"""

KILL, STOP = signal.SIGKILL, signal.SIGSTOP


class FaultyGateway:
    """A gateway of two workers; `own` is its plugin, whose event `version` answers `one`."""

    def __init__(self, gateway: GatewayOfWorkers, folder: Path) -> None:
        self.gateway = gateway
        self.own = folder / "plugins" / "own.py"
        self._fault = folder / "hooks" / "fault"

    def arm(
        self,
        moment: str,
        message: str,
        how: signal.Signals = KILL,
        worker: int | None = 2,
        victim: int | None = None,
    ) -> None:
        """Let `how` happen once to the process at this moment, or to `victim`."""
        number = None if worker is None else str(worker)
        fault = {"at": [moment, message], "worker": number, "victim": victim, "signal": how}
        self._fault.write_text(json.dumps(fault))

    def is_met(self) -> bool:
        return not self._fault.exists()

    async def reload(self, text: str = "two") -> dict[str, Any]:
        """Save another version, and reload."""
        edit(self.own, 'return "one"', f'return "{text}"')
        verdict = await self.gateway.reload()
        assert len(verdict["problems"]) == len({each["message"] for each in verdict["problems"]})
        return verdict

    async def all_are_on(self, generation: int, version: str, *but: int) -> None:
        """All workers serve this, none in a process of `but`; the verdict was told once."""
        workers = await self.gateway.all_serve(*but)
        assert [each["generation"] for each in workers] == [generation] * 2
        assert (await self.gateway.status())["generation"] == generation
        async with AsyncExitStack() as stack:
            for client in (await one_on_each(stack, self.gateway)).values():
                assert await client.call("version") == [version]
        told = [
            line
            for line in self.gateway.lines
            if "reload failed" in line or ("generation" in line and "serves after" in line)
        ]
        assert len(told) == 1
        assert not [line for line in self.gateway.lines if "a fault in the gateway" in line]

    async def pids(self) -> list[int]:
        return [each["pid"] for each in await self.gateway.workers()]


@asynccontextmanager
async def faulty(
    folder: Path, load_timeout: str = "60s", overload_after: str = "unlimited"
) -> AsyncIterator[FaultyGateway]:
    """Run a gateway whose processes import the hook."""
    file = files(folder, overload_after=overload_after)
    edit(file, "reload: {", f"reload: {{load_timeout: {load_timeout}, ")
    hooks = folder / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(HOOK)
    async with run_workers(file, path=hooks) as gateway:
        yield FaultyGateway(gateway, folder)


@pytest.mark.parametrize(("moment", "message"), [("gets", "Prepare"), ("sends", "Ready")])
async def test_a_worker_that_dies_before_it_is_ready(
    tmp_path: Path, moment: str, message: str
) -> None:
    """No worker serves the file, and the one that is started again does not read it."""
    async with faulty(tmp_path) as one:
        _, killed = await one.pids()
        one.arm(moment, message)
        verdict = await one.reload()
        assert one.is_met()
        assert verdict["result"] == "failed"
        assert [each["message"] for each in verdict["problems"]] == [
            "worker 2 ended while it got ready"
        ]
        await one.all_are_on(1, "one", killed)
        assert (await one.gateway.reload())["generation"] == 2


async def test_a_worker_that_dies_ready_while_others_are_not(tmp_path: Path) -> None:
    async with faulty(tmp_path) as one:
        _, killed = await one.pids()
        gate = tmp_path / "gate"
        waits = f"""
import pathlib, time
while "worker 1" in pathlib.Path("/proc/self/comm").read_text():
    if pathlib.Path({str(gate)!r}).exists():
        break
    time.sleep(0.01)
"""
        edit(one.own, "\n\n", waits)
        one.arm("has sent", "Ready")
        reloading = asyncio.create_task(one.reload())
        await one.gateway.logs(f"worker 2, process {killed}, was ended by SIGKILL")
        gate.touch()
        verdict = await reloading
        assert [each["message"] for each in verdict["problems"]] == [
            "worker 2 ended while it got ready"
        ]
        await one.all_are_on(1, "one", killed)


@pytest.mark.parametrize(
    ("moment", "message"), [("gets", "Commit"), ("sends", "Committed"), ("has sent", "Committed")]
)
async def test_a_worker_that_dies_when_it_is_to_serve(
    tmp_path: Path, moment: str, message: str
) -> None:
    """The others serve the file by then, so it is started again with it."""
    async with faulty(tmp_path) as one:
        _, killed = await one.pids()
        one.arm(moment, message)
        verdict = await one.reload()
        assert one.is_met()
        assert (verdict["result"], verdict["generation"]) == ("applied", 2)
        await one.all_are_on(2, "two", killed)


async def test_a_worker_that_does_not_get_ready_is_killed(tmp_path: Path) -> None:
    async with faulty(tmp_path, overload_after="1s") as one:
        _, stopped = await one.pids()
        one.arm("gets", "Prepare", STOP)
        verdict = await one.reload()
        assert verdict["result"] == "failed"
        assert "worker 2 does not answer for" in await one.gateway.logs("killing it")
        await one.all_are_on(1, "one", stopped)


async def test_a_worker_that_does_not_serve_what_is_ready_is_killed(tmp_path: Path) -> None:
    async with faulty(tmp_path) as one:
        _, stopped = await one.pids()
        one.arm("gets", "Commit", STOP)
        verdict = await one.reload()
        assert (verdict["result"], verdict["generation"]) == ("applied", 2)
        await one.all_are_on(2, "two", stopped)
        assert alive({stopped}) == set()
        assert any("killing it" in line for line in one.gateway.lines)


async def test_a_worker_that_loads_for_ever(tmp_path: Path) -> None:
    async with faulty(tmp_path, load_timeout="2s") as one:
        pids = await one.pids()
        edit(
            one.own,
            "\n\n",
            """
import pathlib
while "worker 2" in pathlib.Path("/proc/self/comm").read_text():
    pass
""",
        )
        verdict = await one.reload()
        [problem] = verdict["problems"]
        assert "took longer than reload.load_timeout" in problem["message"]
        assert problem["message"].endswith("(in worker 2)")
        await one.all_are_on(1, "one")
        assert await one.pids() == pids


async def test_a_worker_that_dies_when_it_is_to_give_up(tmp_path: Path) -> None:
    """Another one has refused the file."""
    async with faulty(tmp_path) as one:
        _, killed = await one.pids()
        edit(
            one.own,
            "\n\n",
            """
import pathlib
assert "worker 1" not in pathlib.Path("/proc/self/comm").read_text()
""",
        )
        one.arm("gets", "Abort")
        verdict = await one.reload()
        [problem] = verdict["problems"]
        assert problem["message"].endswith("(in worker 1)")
        await until(one.is_met)
        await one.all_are_on(1, "one", killed)


@pytest.mark.parametrize(
    ("moment", "message"),
    [("has sent", "Prepare"), ("gets", "Ready"), ("sends", "Commit"), ("has sent", "Commit")],
)
async def test_a_supervisor_that_dies_leaves_no_process(
    tmp_path: Path, moment: str, message: str
) -> None:
    async with faulty(tmp_path) as one:
        processes = one.gateway.processes()
        assert len(processes) == 3
        one.arm(moment, message, worker=None)
        with pytest.raises((aiohttp.ClientError, OSError)):
            await one.reload()
        await one.gateway.process.wait()
        await until(lambda: not alive(processes))


@pytest.mark.parametrize(("moment", "message"), [("gets", "Ready"), ("sends", "Commit")])
async def test_a_zygote_that_dies_between_the_phases(
    tmp_path: Path, moment: str, message: str
) -> None:
    """Nobody notices, and the next fork takes another one."""
    async with faulty(tmp_path) as one:
        zygote, (killed, _) = one.gateway.zygote(), await one.pids()
        one.arm(moment, message, worker=None, victim=zygote)
        assert (await one.reload())["generation"] == 2
        await until(lambda: not alive({zygote}))
        os.kill(killed, KILL)
        await one.all_are_on(2, "two", killed)


@pytest.mark.parametrize(("moment", "message"), [("gets", "Fork"), ("sends", "Forked")])
async def test_a_zygote_that_dies_while_it_forks(tmp_path: Path, moment: str, message: str) -> None:
    """A process that it has forked and not told of does not stay."""
    async with faulty(tmp_path) as one:
        zygote, (killed, _) = one.gateway.zygote(), await one.pids()
        one.arm(moment, message, worker=None)
        os.kill(killed, KILL)
        await one.gateway.all_serve(killed)
        assert one.is_met()
        assert alive({zygote}) == set()
        await until(lambda: len(one.gateway.session()) == 4)
        assert (await one.reload())["generation"] == 2
        await one.all_are_on(2, "two")


@pytest.mark.parametrize("message", ["Start", "Prepare", "Commit"])
async def test_a_worker_that_dies_while_it_is_started_again(tmp_path: Path, message: str) -> None:
    async with faulty(tmp_path) as one:
        assert (await one.reload())["generation"] == 2
        _, killed = await one.pids()
        one.arm("gets", message, worker=None if message == "Start" else 2)
        os.kill(killed, KILL)
        await one.gateway.logs("worker 2 could not be started again: worker 2 ended")
        await one.all_are_on(2, "two", killed)
        assert [each["restarts"] for each in await one.gateway.workers()] == [0, 2]


async def test_another_worker_compares_when_one_dies(tmp_path: Path) -> None:
    async with faulty(tmp_path) as one:
        killed, _ = await one.pids()
        one.arm("gets", "Compare", worker=1)
        edit(one.own, "one", "two")
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{one.gateway.admin}/-/plan") as answer,
        ):
            assert (await answer.json())["changes"] == ["~ plugins/own.py"]
        assert one.is_met()
        await one.gateway.all_serve(killed)
