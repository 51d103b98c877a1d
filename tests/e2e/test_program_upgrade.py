"""An upgrade of the program while clients are connected: one process takes over from another."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon.gateway_of_workers import GatewayOfWorkers, run_workers, until_true
from tests.deadline import deadline, until
from tests.gateway_files import write
from tests.js_client import JsClient, JsDriver
from tests.ports import free_port
from tests.programs.redis import redis
from tests.reload.calling_client import caller

CONFIG = """
server: {{port: {port}, workers: {workers}, transports: [websocket, polling], stop_timeout: 10s}}
admin: {{port: {admin}}}
reload: {{watch: "off", close_window: 200ms}}
limits: {{overload_after: unlimited}}  # the machine may be busy
namespaces: {{/: {{routes: {{pid: own.pid, slow: own.slow}}}}}}
"""

OWN = """
import asyncio, os
from pathlib import Path

async def pid(ctx):
    return os.getpid()

async def slow(ctx, marker: str):
    Path(marker).touch()
    while Path(marker).exists():
        await asyncio.sleep(0.01)
    return os.getpid()
"""

WORKERS = pytest.mark.parametrize("workers", [1, 2])


def files(folder: Path, workers: int = 1) -> Path:
    config = CONFIG.format(port=free_port(), admin=free_port(), workers=workers)
    return write(folder, config, own=OWN)


async def upgrade(gateway: GatewayOfWorkers) -> tuple[int, dict[str, Any]]:
    """Ask for an upgrade; gives the status of the answer, and what it says."""
    async with aiohttp.ClientSession() as http, http.post(f"{gateway.admin}/-/upgrade") as answer:
        return answer.status, await answer.json()


async def pid_of(gateway: GatewayOfWorkers) -> int:
    return int((await gateway.status())["pid"])


async def has_ended(pid: int) -> None:
    """Wait until a process is gone, or only waits to be reaped."""

    def is_gone() -> bool:
        with suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return True

    await until(is_gone)


class Load:
    """A stock client that calls without end, and connects again when it is let go."""

    def __init__(self, client: JsClient) -> None:
        self.client = client
        self.pids: list[int] = []
        self.is_over = False

    async def run(self) -> None:
        while not self.is_over:
            call = asyncio.create_task(self.client.call("pid"))
            gone = asyncio.create_task(self.client.receive("disconnect"))
            done, _ = await asyncio.wait([call, gone], return_when=asyncio.FIRST_COMPLETED)
            if call in done:
                self.pids += call.result()
            if gone in done:
                await self.client.receive("connect")
            for task in (call, gone):
                task.cancel()
            await asyncio.gather(call, gone, return_exceptions=True)


@asynccontextmanager
async def loaded(js: JsDriver, url: str) -> AsyncIterator[list[Load]]:
    """Clients of each kind that call until the block ends."""
    loads = []
    for transports in (["polling"], ["websocket"], ["polling", "websocket"]) * 3:
        client = await js.connect(url, transports=transports, reconnectionDelay=10)
        loads.append(Load(client))
    async with asyncio.TaskGroup() as group:
        for load in loads:
            group.create_task(load.run())
        yield loads
        for load in loads:
            load.is_over = True


@WORKERS
async def test_no_client_fails_to_connect_while_the_program_is_replaced(
    js: JsDriver, tmp_path: Path, workers: int
) -> None:
    async with run_workers(files(tmp_path, workers)) as gateway, loaded(js, gateway.url) as loads:
        former = await pid_of(gateway)
        replacing = asyncio.create_task(upgrade(gateway))
        transports = [["websocket"], ["polling"]]
        connected = 0
        while not replacing.done() or connected < 20:
            client = await js.connect(
                gateway.url, transports=transports[connected % 2], reconnectionDelay=10
            )
            assert not [each for each in client.log if each.event == "connect_error"]
            await client.disconnect()
            connected += 1
        status, answer = await replacing
        assert status == 200
        await has_ended(former)
        assert await pid_of(gateway) == answer["pid"] != former
        for load in loads:
            seen = len(load.pids)
            await until(lambda load=load, seen=seen: len(load.pids) > seen + 2)
        for load in loads:
            events = [each.event for each in load.client.log]
            assert "connect_error" not in events
            assert events.count("connect") == 2


@WORKERS
async def test_a_member_of_a_cluster_is_replaced(
    js: JsDriver, tmp_path: Path, workers: int
) -> None:
    async with redis() as running:
        file = files(tmp_path, workers)
        block = f'\ncluster: {{name: shop, redis: {{url: "{running.url}"}}}}\n'
        file.write_text(file.read_text() + block)
        async with run_workers(file) as gateway, loaded(js, gateway.url) as loads:
            former = await pid_of(gateway)
            assert (await upgrade(gateway))[0] == 200
            await has_ended(former)
            for load in loads:
                seen = len(load.pids)
                await until(lambda load=load, seen=seen: len(load.pids) > seen + 2)
            for load in loads:
                events = [each.event for each in load.client.log]
                assert "connect_error" not in events
                assert events.count("connect") == 2

            async def is_alone() -> bool:
                cluster = (await gateway.status())["cluster"]
                return bool(cluster["up"]) and cluster["members"] == workers - 1

            await until_true(is_alone)
            assert len(set(load.pids)) == 2, "each client was served by the one, then the other"
    assert not [line for line in gateway.lines if "ERROR" in line]


@WORKERS
async def test_a_client_is_let_go_when_its_packets_are_done(tmp_path: Path, workers: int) -> None:
    marker = tmp_path / "marker"
    async with run_workers(files(tmp_path, workers)) as gateway:
        former = gateway.pid
        async with caller(gateway.url) as busy, caller(gateway.url) as other:
            served = (await busy.call("pid"))[0]
            slow = busy.begin("slow", str(marker))
            await until(marker.exists)
            assert (await upgrade(gateway))[0] == 200
            async with deadline():
                await other.lost.wait()
            assert await busy.call("pid") == [served], "it is served until it is let go"
            marker.unlink()
            async with deadline():
                assert await slow == [served]
                await busy.lost.wait()
        await has_ended(former)
        async with caller(gateway.url) as client:
            assert await client.call("pid") != [served]


@WORKERS
async def test_a_version_that_refuses_the_file_changes_nothing(
    tmp_path: Path, workers: int
) -> None:
    file = files(tmp_path, workers)
    async with run_workers(file) as gateway, caller(gateway.url) as client:
        before = await client.call("pid")
        written = file.read_text()
        file.write_text(written.replace("own.pid", "own.pit"))
        status, answer = await upgrade(gateway)
        (problem,) = answer["problems"]
        assert (status, problem["message"]) == (409, "no plugin 'own.pit', did you mean 'own.pid'?")
        assert problem["line"] == 6
        assert answer["error"] == "the new process ended with exit code 78 before it was ready"
        await gateway.logs(f"upgrade failed, this process serves on: {answer['error']}")
        assert await client.call("pid") == before
        assert not client.lost.is_set()
        file.write_text(written)
        assert (await gateway.reload())["result"] == "unchanged"
        assert (await upgrade(gateway))[0] == 200


async def test_a_version_that_crashes_changes_nothing(tmp_path: Path) -> None:
    file = files(tmp_path)
    async with run_workers(file) as gateway, caller(gateway.url) as client:
        plugin = tmp_path / "plugins" / "own.py"
        plugin.write_text(OWN + "os._exit(3)\n")
        status, answer = await upgrade(gateway)
        assert status == 409
        assert answer["error"] == "the new process ended with exit code 3 before it was ready"
        assert await client.call("pid") == [gateway.pid]
        assert await pid_of(gateway) == gateway.pid


async def test_sigusr2_upgrades(tmp_path: Path) -> None:
    async with run_workers(files(tmp_path)) as gateway:
        gateway.process.send_signal(signal.SIGUSR2)
        assert await gateway.stopped() == 0
        assert await pid_of(gateway) != gateway.pid


async def test_unix_sockets_stay_where_they_are(tmp_path: Path) -> None:
    file = files(tmp_path)
    clients, admin = tmp_path / "clients.sock", tmp_path / "admin.sock"
    config = file.read_text().splitlines()
    config[1:3] = [f"server: {{socket: {clients}}}", f"admin: {{socket: {admin}}}"]
    file.write_text("\n".join(config))
    async with run_workers(file) as gateway:
        successor = (await asked(admin, "POST", "/-/upgrade"))["pid"]
        assert await gateway.stopped() == 0
        assert clients.is_socket()
        assert (await asked(admin, "GET", "/-/status"))["pid"] == successor
        os.kill(successor, signal.SIGTERM)
        await has_ended(successor)
        assert not clients.exists()
        assert not admin.exists()


async def asked(admin: Path, method: str, path: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(admin))) as http,
        http.request(method, f"http://localhost{path}") as answer,
    ):
        found: dict[str, Any] = await answer.json()
        return found


async def test_keys_that_wait_for_a_restart_take_effect(tmp_path: Path) -> None:
    file = files(tmp_path)
    async with run_workers(file) as gateway:
        file.write_text(file.read_text().replace("workers: 1", "workers: 2"))
        assert (await gateway.reload())["pending"] == ["server.workers"]
        assert (await upgrade(gateway))[0] == 200
        assert await gateway.stopped() == 0
        await gateway.all_serve()
        assert len(await gateway.workers()) == 2


async def test_a_port_that_the_system_has_chosen_stays(tmp_path: Path) -> None:
    file = files(tmp_path)
    port = file.read_text().split("port: ")[1].split(",")[0]
    file.write_text(file.read_text().replace(f"port: {port}, workers", "port: 0, workers"))
    async with run_workers(file) as gateway:
        assert (await upgrade(gateway))[0] == 200
        assert await gateway.stopped() == 0
        assert (await gateway.status())["url"] == gateway.url
        async with caller(gateway.url) as client:
            assert await client.call("pid") != [gateway.pid]


async def test_what_a_new_version_no_longer_listens_on_is_closed(tmp_path: Path) -> None:
    file = files(tmp_path)
    async with run_workers(file) as gateway:
        written = file.read_text()
        port = int(gateway.url.rpartition(":")[2])
        file.write_text(written.replace(f"port: {port}", f"port: {free_port()}"))
        assert (await upgrade(gateway))[0] == 200
        assert await gateway.stopped() == 0
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


PASS = """
import os, sys
descriptor, *command = sys.argv[1:]
os.dup2(int(descriptor), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, *command])
"""


@WORKERS
async def test_a_service_manager_learns_who_serves(tmp_path: Path, workers: int) -> None:
    """Its socket goes on, and MAINPID tells it of the process: sd_notify(3)."""
    file, notify = files(tmp_path, workers), tmp_path / "notify.sock"
    with (
        socket.create_server(("127.0.0.1", 0)) as clients,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(notify))
        manager.setblocking(False)
        url = f"http://127.0.0.1:{clients.getsockname()[1]}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PASS, str(clients.fileno())),
            *("-W", "error", "-X", "dev", "-m", "gateway", "run", file),
            pass_fds=[clients.fileno()],
            start_new_session=True,
            env={**os.environ, "NOTIFY_SOCKET": str(notify)},
        )
        try:
            await told(manager, "READY=1")
            process.send_signal(signal.SIGUSR2)
            successor = int((await told(manager, "MAINPID=")).removeprefix("MAINPID="))
            await until(lambda: process.returncode is not None)
            assert process.returncode == 0
            assert successor != process.pid
            async with caller(url) as client:
                assert (await client.call("pid"))[0] > 0
            os.kill(successor, signal.SIGTERM)
            await told(manager, "STOPPING=1")
            await has_ended(successor)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def told(manager: socket.socket, start: str) -> str:
    """Wait for a state that begins so; none before it may say that the daemon stops."""
    async with deadline():
        while True:
            state = (await asyncio.get_running_loop().sock_recv(manager, 4096)).decode()
            if state.startswith(start):
                return state
            assert not state.startswith("STOPPING")


async def test_the_command_says_what_became_of_it(tmp_path: Path) -> None:
    file = files(tmp_path)
    async with run_workers(file) as gateway:
        done = await sockgw("upgrade", file)
        successor = await pid_of(gateway)
        assert done.returncode == 0
        said = done.stdout.partition(", after")
        assert said[0] == f"process {successor} serves"
        assert said[2].endswith(" s; the former one lets its clients go\n")
        assert await gateway.stopped() == 0
        file.write_text(file.read_text().replace("own.pid", "own.pit"))
        done = await sockgw("upgrade", file)
        assert done.returncode == 78
        assert done.stderr.endswith("1 problem\nupgrade failed, the former process serves on\n")
        done = await sockgw("upgrade", file, "--format", "json")
        assert done.returncode == 78
        assert json.loads(done.stdout)["problems"][0]["line"] == 6


class Done:
    """A command that has ended."""

    def __init__(self, returncode: int | None, stdout: bytes, stderr: bytes) -> None:
        self.returncode, self.stdout, self.stderr = returncode, stdout.decode(), stderr.decode()


async def sockgw(*command: str | Path) -> Done:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *command), stdout=pipe, stderr=pipe
    )
    stdout, stderr = await process.communicate()
    return Done(process.returncode, stdout, stderr)
