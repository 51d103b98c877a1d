"""Workers: several processes that serve the clients of one gateway."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.certificates import TLS, der, presented
from tests.daemon.gateway_of_workers import alive, edit, files, one_on_each, run_workers, until_true
from tests.deadline import deadline, until
from tests.reload.calling_client import caller

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="workers need Linux")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return files(tmp_path)


async def test_two_workers_serve_clients(file: Path) -> None:
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        workers = await gateway.workers()
        assert set(clients) == {each["pid"] for each in workers}
        assert [each["number"] for each in workers] == [1, 2]
        assert [each["generation"] for each in workers] == [1, 1]
        assert len({each["tag"] for each in workers}) == 2
        status = await gateway.status()
        assert status["sockets"]["/"] == sum(each["sockets"] for each in workers) >= 2


async def test_the_start_tells_of_the_workers(file: Path) -> None:
    async with run_workers(file) as gateway:
        assert await gateway.logs("2 workers") == "  2 workers"


async def test_workers_import_nothing_that_the_zygote_has_not(file: Path) -> None:
    async with run_workers(file) as gateway:
        shared = libraries(gateway.zygote())
        for worker in await gateway.workers():
            assert libraries(worker["pid"]) - shared == set()


def libraries(pid: int) -> set[str]:
    """The compiled modules that a process has imported."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[-1] for line in maps if ".cpython-" in line}


async def test_a_killed_worker_costs_its_own_clients_alone(file: Path) -> None:
    """It is back on the generation of the others, though the file on disk is broken."""
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        edit(file, "namespaces", "nothing: [")
        assert (await gateway.reload())["result"] == "failed"
        killed, other = clients
        os.kill(killed, signal.SIGKILL)
        async with deadline():
            await clients[killed].lost.wait()
        workers = await gateway.all_serve(killed)
        assert await clients[other].call("pid") == [other]
        assert sorted(each["restarts"] for each in workers) == [0, 1]
        assert [each["generation"] for each in workers] == [1, 1]
        line = await gateway.logs("was ended by SIGKILL")
        assert f"process {killed}" in line
        fresh = await one_on_each(stack, gateway)
        assert {await each.call("version") == ["one"] for each in fresh.values()} == {True}


async def test_a_worker_that_hangs_is_killed_and_told(tmp_path: Path) -> None:
    async with run_workers(files(tmp_path, overload_after="1s")) as gateway, AsyncExitStack() as st:
        clients = await one_on_each(st, gateway)
        stopped, other = clients
        os.kill(stopped, signal.SIGSTOP)
        assert await clients[other].call("pid") == [other]
        async with caller(gateway.url) as fresh:
            assert await fresh.call("pid") == [other]
        await gateway.logs("does not answer for")
        await gateway.all_serve(stopped)
        assert alive({stopped}) == set()


async def test_no_process_outlives_a_killed_supervisor(file: Path) -> None:
    async with run_workers(file) as gateway:
        processes = gateway.processes()
        assert len(processes) == 3
        await gateway.stop(signal.SIGKILL)
        await until(lambda: not alive(processes))


async def test_a_worker_that_hangs_does_not_outlive_a_killed_supervisor(file: Path) -> None:
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        processes = gateway.processes()
        await next(iter(clients.values())).emit("stuck")
        await gateway.stop(signal.SIGKILL)
        await until(lambda: not alive(processes))


async def test_nobody_notices_the_death_of_the_zygote(file: Path) -> None:
    """The next worker that ends is started again by another one."""
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        zygote = gateway.zygote()
        os.kill(zygote, signal.SIGKILL)
        await until(lambda: not alive({zygote}))
        for pid, client in clients.items():
            assert await client.call("pid") == [pid]
        killed = next(iter(clients))
        os.kill(killed, signal.SIGKILL)
        workers = await gateway.all_serve(killed)
        assert [each["generation"] for each in workers] == [1, 1]
        assert await gateway.stop() == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_ends_all_in_order(file: Path, how: signal.Signals) -> None:
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        processes = gateway.processes()
        assert await gateway.stop(how) == 0
        for client in clients.values():
            async with deadline():
                await client.lost.wait()
        assert alive(processes) == set()
        await gateway.logs("[1] stopped after")
        await gateway.logs("[2] stopped after")
    assert not [line for line in gateway.lines if " ERROR " in line]


async def test_a_worker_that_stops_sooner_than_another_is_not_started_again(file: Path) -> None:
    plugin = file.parent / "plugins/own.py"
    edit(plugin, "import os", "import asyncio, os")
    edit(plugin, 'return "one"', 'await asyncio.sleep(2); return "one"')
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        [(pid, busy), _] = clients.items()
        answer = asyncio.create_task(busy.call("version"))
        assert await busy.call("pid") == [pid], "the packet before it is in flight"
        before = [line for line in gateway.lines if "leads" in line]
        assert await gateway.stop() == 0
        assert await answer == ["one"]
        for words in ("serves again", "does not stop"):
            assert not any(words in line for line in gateway.lines)
        assert [line for line in gateway.lines if "leads" in line] == before


async def test_a_worker_that_is_told_to_stop_stops_and_is_started_again(file: Path) -> None:
    async with run_workers(file) as gateway:
        (first, _) = await gateway.workers()
        os.kill(first["pid"], signal.SIGTERM)
        await gateway.logs("[1] stopped after")
        await gateway.logs("ended with exit code 0")
        await gateway.all_serve(first["pid"])
    assert not [line for line in gateway.lines if " ERROR " in line]


async def test_a_reload_is_committed_on_all_workers(file: Path) -> None:
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        own = file.parent / "plugins" / "own.py"
        edit(own, "one", "two")
        verdict = await gateway.reload()
        assert (verdict["result"], verdict["generation"]) == ("applied", 2)
        assert verdict["changes"] == ["~ plugins/own.py"]
        for client in clients.values():
            assert await client.call("version") == ["two"]
        assert [each["generation"] for each in await gateway.workers()] == [2, 2]
        assert (await gateway.reload())["result"] == "unchanged"
        assert "sockgw_reload_skew_seconds" in await gateway.metrics()


async def test_a_refused_file_changes_no_worker(file: Path) -> None:
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        own = file.parent / "plugins" / "own.py"
        own.write_text("import nothing_of_the_kind\n")
        verdict = await gateway.reload()
        assert verdict["result"] == "failed"
        assert len({each["message"] for each in verdict["problems"]}) == len(verdict["problems"])
        assert "(in worker" not in str(verdict["problems"])
        for client in clients.values():
            assert await client.call("version") == ["one"]
        assert [each["generation"] for each in await gateway.workers()] == [1, 1]


async def test_what_one_worker_refuses_none_serves(file: Path) -> None:
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        workers = await gateway.workers()
        own = file.parent / "plugins" / "own.py"
        fails = (
            f"import os\nif os.getpid() == {workers[1]['pid']}:\n    raise ValueError('not here')\n"
        )
        own.write_text(fails + own.read_text().replace("one", "two"))
        verdict = await gateway.reload()
        assert verdict["result"] == "failed"
        assert "not here" in str(verdict["problems"])
        assert "(in worker 2)" in str(verdict["problems"])
        for client in clients.values():
            assert await client.call("version") == ["one"]
        edit(own, fails, "")
        assert (await gateway.reload())["generation"] == 2


async def test_a_worker_that_ends_while_it_gets_ready_leaves_all_as_they_were(file: Path) -> None:
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        workers = await gateway.workers()
        own = file.parent / "plugins" / "own.py"
        edit(own, "\n\n", f"\nif os.getpid() == {workers[1]['pid']}: os._exit(3)\n")
        edit(own, "one", "two")
        verdict = await gateway.reload()
        assert verdict["result"] == "failed"
        assert "worker 2 ended while it got ready" in str(verdict["problems"])
        await gateway.logs("ended with exit code 3")
        assert await clients[workers[0]["pid"]].call("version") == ["one"]
        fresh = await gateway.all_serve(workers[1]["pid"])
        assert [each["generation"] for each in fresh] == [1, 1]


async def test_a_new_address_is_bound_once_for_all(file: Path) -> None:
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        former = gateway.url
        edit(file, "port:", "host: 127.0.0.2, port:")
        assert (await gateway.reload())["result"] == "applied"
        gateway.url = (await gateway.status())["url"]
        assert gateway.url.startswith("http://127.0.0.2:")
        assert set(await one_on_each(stack, gateway)) == set(clients)
        for pid, client in clients.items():
            assert await client.call("pid") == [pid]
        with pytest.raises(OSError, match=r"Connect|refused"):
            await asyncio.open_connection("127.0.0.1", int(former.rpartition(":")[2]))


async def start_fails(file: Path, path: Path | None = None) -> tuple[int | None, str]:
    """Run a gateway that does not start; gives its exit code and what it says."""
    first = {"PYTHONPATH": str(path)} if path else {}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "run", file),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **first},
    )
    async with deadline():
        _, told = await process.communicate()
    return process.returncode, told.decode()


async def test_a_file_that_no_worker_takes_is_not_started(file: Path) -> None:
    (file.parent / "plugins" / "own.py").write_text("import nothing_of_the_kind\n")
    code, told = await start_fails(file)
    assert code == 78
    assert told.count("nothing_of_the_kind") == told.count("No module named") > 0


async def test_workers_that_end_while_they_get_ready_are_no_fault_of_the_file(file: Path) -> None:
    (file.parent / "plugins" / "own.py").write_text("import os\nos._exit(3)\n")
    code, told = await start_fails(file)
    assert code == 70
    assert "worker 1 ended while it got ready" in told


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        (
            "import gateway.daemon.worker as worker\ndel worker.Shares\n",
            "a fault in the gateway itself: NameError",
        ),
        (
            'import os, sys\nif "gateway.daemon.zygote" in str(sys.orig_argv): os._exit(1)\n',
            "no worker can be started: the process that forks workers has ended",
        ),
    ],
    ids=["worker", "zygote"],
)
async def test_a_gateway_that_cannot_start_for_a_fault_of_its_own(
    file: Path, hook: str, text: str
) -> None:
    path = file.parent / "hooks"
    path.mkdir()
    (path / "sitecustomize.py").write_text(hook)
    code, told = await start_fails(file, path)
    assert code == 70
    assert text in told


async def test_a_worker_that_ends_again_and_again_is_started_ever_more_slowly(file: Path) -> None:
    own = file.parent / "plugins" / "own.py"
    edit(own, "\n\n", "\nif os.path.exists(__file__ + '.ends'): os._exit(70)\n\n")
    async with run_workers(file) as gateway:
        killed, _ = await gateway.workers()
        ends = own.with_name("own.py.ends")
        ends.touch()
        os.kill(killed["pid"], signal.SIGKILL)
        await gateway.logs("was ended by SIGKILL; it is started again in 0.1 s")
        for pause in ("0.2", "0.4", "0.8"):
            await gateway.logs(f"ended with exit code 70; it is started again in {pause} s")
        ends.unlink()
        await gateway.logs("worker 1 serves again")
        await gateway.all_serve(killed["pid"])


@pytest.mark.parametrize("is_forked", [True, False])
async def test_a_stop_while_a_worker_is_forked_is_quiet(file: Path, is_forked: bool) -> None:
    own = file.parent / "plugins" / "own.py"
    edit(own, "import os", "import asyncio, os")
    edit(own, 'return "one"', 'await asyncio.sleep(2); return "one"')
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        (killed, _), (pid, busy) = (await one_on_each(stack, gateway)).items()
        zygote = gateway.zygote()
        os.kill(zygote, signal.SIGSTOP)
        os.kill(killed, signal.SIGKILL)
        await gateway.logs(f"process {killed}, ended")

        async def is_starting() -> bool:
            return any(each["restarts"] for each in await gateway.workers())

        await until_true(is_starting)
        answer = asyncio.create_task(busy.call("version"))
        assert await busy.call("pid") == [pid], "the packet before it is in flight"
        stopping = asyncio.create_task(gateway.stop())
        await asyncio.sleep(0)
        if is_forked:
            os.kill(zygote, signal.SIGCONT)
        assert await stopping == 0
        assert await answer == ["one"]
    errors = [line for line in gateway.lines if " ERROR " in line]
    assert len(errors) == 1
    assert f"process {killed}, ended" in errors[0]


@pytest.mark.parametrize("broken", ["half", "missing"])
async def test_a_worker_is_started_again_with_the_certificate_that_was_accepted(
    file: Path, broken: str
) -> None:
    cert = file.parent / "cert.pem"
    cert.write_bytes((TLS / "one.pem").read_bytes())
    edit(file, "server: {", f"server: {{tls: {{cert: cert.pem, key: {TLS / 'one.key'}}}, ")
    async with run_workers(file) as gateway:
        pids = [each["pid"] for each in await gateway.workers()]
        if broken == "half":
            cert.write_text((TLS / "two.pem").read_text()[:300])
        else:
            cert.unlink()
        assert (await gateway.reload())["result"] == "failed"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await gateway.all_serve(*pids)
        assert await presented(gateway.url) == der("one")


async def test_counters_of_a_worker_that_stopped_stay(file: Path) -> None:
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        before = outcomes(await gateway.metrics())
        assert before >= len(clients)
        first = next(iter(clients))
        os.kill(first, signal.SIGTERM)
        await gateway.all_serve(first)
        assert outcomes(await gateway.metrics()) >= before


async def test_counters_never_go_backwards_when_a_worker_is_killed(file: Path) -> None:
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        killed, _ = (await one_on_each(stack, gateway)).keys()
        before = outcomes(await gateway.metrics())
        os.kill(killed, signal.SIGKILL)
        seen = [before]

        async def is_back() -> bool:
            seen.append(outcomes(await gateway.metrics()))
            return killed not in {each["pid"] for each in await gateway.workers()}

        await until_true(is_back)
        await gateway.all_serve(killed)
        seen.append(outcomes(await gateway.metrics()))
        assert seen == sorted(seen)


def outcomes(metrics: str) -> float:
    line = next(
        each for each in metrics.splitlines() if 'sockgw_packets_total{outcome="ok"}' in each
    )
    return float(line.split()[1])
