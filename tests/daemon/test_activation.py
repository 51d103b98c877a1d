"""Socket activation: a daemon serves on sockets that its parent process has opened and passed.

The parent is a small program that does what systemd does (sd_listen_fds(3)), and where there is
one, systemd's own `systemd-socket-activate`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.deadline import deadline
from tests.gateway_files import write
from tests.ports import free_port
from tests.reload.calling_client import caller
from tests.slowness import without_slowness

PASS = """
import fcntl, os, sys
descriptors, names, *command = sys.argv[1:]
descriptors = [int(each) for each in descriptors.split(",")]
aside = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 100) for each in descriptors]
for number, each in enumerate(aside):
    os.dup2(each, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(aside)), LISTEN_FDNAMES=names)
os.execv(sys.executable, [sys.executable, *command])
"""

SOCKGW = ["-W", "error", "-X", "dev", "-m", "gateway", "run"]
CONFIG = """
server: {port: PORT}
reload: {quiet: 20ms, poll_interval: 1h}
namespaces: {/: {routes: {say: chat.say}}}
"""
SAY = "async def say(ctx): return ctx.socket.handshake.address\n"
UNUSED = (
    "server.host, server.port and server.socket are not used: the service manager has passed a "
    "socket for clients"
)


class Activated:
    """A daemon that runs; `lines` are those that it has logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def logs(self, text: str) -> str:
        """Wait for the next line with this text."""
        assert self.process.stderr is not None
        async with deadline():
            while line := (await self.process.stderr.readline()).decode():
                self.lines.append(line)
                if text in line:
                    return line
        raise AssertionError(f"it has ended: {self.lines}")

    async def stop(self) -> int:
        """End it by a signal; gives its exit code."""
        self.process.terminate()
        async with deadline():
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def activated(
    file: Path, *sockets: socket.socket, names: str = ""
) -> AsyncIterator[Activated]:
    """Run a daemon on sockets; `names` are theirs, separated by colons."""
    numbers = ",".join(str(each.fileno()) for each in sockets)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PASS, numbers, names, *SOCKGW, file),
        pass_fds=[each.fileno() for each in sockets],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Activated(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def edit(file: Path, more: str = "", port: int = 7001) -> None:
    """Write a configuration with this port, and more."""
    file.write_text(CONFIG.replace("PORT", str(port)) + more)


def url(sock: socket.socket) -> str:
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path, CONFIG.replace("PORT", str(free_port())), chat=SAY)


async def test_a_client_that_came_before_the_daemon_is_served(file: Path) -> None:
    """One that comes between two daemons waits for the next; nobody is refused."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        for _ in range(2):
            early = asyncio.create_task(said(url(sock)))
            async with activated(file, sock, names="sockgw.socket") as daemon:
                async with deadline():
                    assert await early == ["127.0.0.1"]
                assert await daemon.stop() == 0


async def said(address: str) -> list[object]:
    async with caller(address) as client:
        return await client.call("say")


async def test_the_files_own_address_is_not_used_and_the_log_says_so(file: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        async with activated(file, sock) as daemon:
            assert await said(url(sock)) == ["127.0.0.1"]
            await daemon.logs(UNUSED)
            edit(file, port=port)
            await daemon.logs(UNUSED)
            assert await said(url(sock)) == ["127.0.0.1"]
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            edit(file, "limits: {sockets: 5}\n", port)
            await daemon.logs("generation 3 serves")
            assert await daemon.stop() == 0
    assert sum(UNUSED in line for line in daemon.lines) == 2


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="workers need Linux")
async def test_workers_serve_on_the_sockets_that_are_passed(tmp_path: Path) -> None:
    """One that is started again does, too."""
    port = free_port()
    config = CONFIG.replace("{port: PORT}", f"{{port: {port}, workers: 2}}")
    file = write(tmp_path, config, chat="import os\nasync def say(ctx): return os.getpid()\n")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        early = asyncio.create_task(said(url(sock)))
        async with activated(file, sock, names="sockgw.socket") as daemon:
            async with deadline():
                [pid] = await early
            assert isinstance(pid, int)
            await daemon.logs(UNUSED)
            os.kill(pid, signal.SIGKILL)
            await daemon.logs("serves again")
            async with deadline():
                assert await said(url(sock)) != [pid]
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            assert await daemon.stop() == 0


async def test_a_unix_socket_is_passed(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "clients.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        async with activated(file, sock) as daemon:
            async with deadline():
                assert await said(f"unix:{path}") == ["unix"]
            assert await daemon.stop() == 0
    assert path.exists()


TOKEN = "a secret of 16 and more"


async def test_the_socket_named_admin_is_the_admin_listeners(file: Path) -> None:
    edit(file, f"admin: {{port: {free_port()}, token: {TOKEN}}}\n")
    with (
        socket.create_server(("127.0.0.1", 0)) as clients,
        socket.create_server(("127.0.0.1", 0)) as admin,
    ):
        async with activated(file, admin, clients, names="admin:web") as daemon:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with (
                deadline(),
                aiohttp.ClientSession(headers=headers) as session,
                session.get(f"{url(admin)}/-/status") as answer,
            ):
                assert (await answer.json())["url"] == url(clients)
            assert await said(url(clients)) == ["127.0.0.1"]
            # It stays where it is, and without its token nobody would be asked for one.
            edit(file, "admin: {socket: admin.sock}\n")
            await daemon.logs("reload failed")
            line = await daemon.logs("admin")
            assert line.endswith(
                f"{file}:5:8: admin: a socket that was passed to the daemon needs a token\n"
            )
            edit(file)
            await daemon.logs("the socket 'admin' was passed, but there is no admin: block")
            assert await daemon.stop() == 0


async def refusal(file: Path, *sockets: socket.socket, names: str = "") -> str:
    async with activated(file, *sockets, names=names) as daemon, deadline():
        _, errors = await daemon.process.communicate()
        assert daemon.process.returncode == 1
    [line] = without_slowness(errors.decode()).splitlines()
    return line


async def test_sockets_that_cannot_be_served_are_refused(file: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        socket.socket() as deaf,
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
    ):
        assert await refusal(file, one, two, names="web:web") == (
            "Error: two sockets for clients were passed, and one can be served: write one "
            "ListenStream=, or FileDescriptorName=admin for the admin listener's"
        )
        takes_none = "was passed and takes no connections: write ListenStream= and Accept=no"
        assert await refusal(file, deaf) == f"Error: descriptor 3 {takes_none}"
        assert await refusal(file, one, datagrams, names="web:admin") == (
            f"Error: descriptor 4 (admin) {takes_none}"
        )


async def test_what_was_passed_to_another_process_is_not_taken(file: Path) -> None:
    """As when the daemon is started by a shell that the sockets were meant for."""
    port = free_port()
    edit(file, "limits: {overload_after: unlimited}  # the machine may be busy\n", port)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *SOCKGW, file),
        env={**os.environ, "LISTEN_PID": "1", "LISTEN_FDS": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    async with deadline():
        while str(port) not in (await process.stdout.readline()).decode():
            assert process.returncode is None
        assert await said(f"http://127.0.0.1:{port}") == ["127.0.0.1"]
        process.terminate()
        await process.communicate()
    assert process.returncode == 0


async def test_a_descriptor_that_is_no_socket_is_refused(file: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PASS, "1", "", *SOCKGW, file),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with deadline():
        _, errors = await process.communicate()
    assert without_slowness(errors.decode()) == (
        "Error: descriptor 3 was passed and is no socket: Socket operation on non-socket\n"
    )


SYSTEMD = shutil.which("systemd-socket-activate")


@pytest.mark.parametrize("program", [SYSTEMD] if SYSTEMD else [])
async def test_systemds_own_program_passes_it(file: Path, program: str) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(program, f"--listen=127.0.0.1:{port}", "--fdname=web", sys.executable, *SOCKGW, file),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    daemon = Activated(process)
    try:
        await daemon.logs("Listening on")
        async with deadline():  # the connection that starts the daemon
            assert await said(f"http://127.0.0.1:{port}") == ["127.0.0.1"]
        await daemon.logs(UNUSED)
        assert await daemon.stop() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_the_watchdog_is_told_once_the_daemon_is_ready(file: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *SOCKGW, file, "--port", "0"),
            env={**os.environ, **told},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        loop = asyncio.get_running_loop()
        async with deadline():
            assert (await loop.sock_recv(manager, 4096)).startswith(b"READY=1\n")
            for _ in range(3):
                assert await loop.sock_recv(manager, 4096) == b"WATCHDOG=1"
            process.terminate()
            while (last := await loop.sock_recv(manager, 4096)) == b"WATCHDOG=1":
                pass
            assert last.startswith(b"STOPPING=1")
            assert await process.wait() == 0
