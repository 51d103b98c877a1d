"""The daemon as its operator meets it: a process."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cli.invoke import invoke
from tests.gateway_files import write
from tests.slowness import is_slowness, without_slowness

ROOT = Path(__file__).parents[2]
BAD_CONFIG = 78


@dataclass(slots=True)
class Run:
    """A `sockgw run` in a process; `lines` is its stdout so far."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    async def url(self) -> str:
        """Wait until it has said where it listens."""
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            self.lines.append(line.rstrip("\n"))
            if found := re.search(r"http://\S+", line):
                return found[0]
        raise AssertionError(f"it has ended: {self.lines}, {await self.errors()}")

    async def entry(self) -> dict[str, Any]:
        """The next object of a log in JSON, but for what a busy machine makes asyncio warn of."""
        assert self.process.stderr is not None
        while is_slowness(line := (await self.process.stderr.readline()).decode()):
            pass
        found: dict[str, Any] = json.loads(line)
        return found

    async def errors(self) -> str:
        """Wait for its end; what it has written to stderr."""
        assert self.process.stderr is not None
        return without_slowness((await self.process.stderr.read()).decode())

    async def stop(self, by: signal.Signals) -> tuple[int | None, str]:
        """Stop it by a signal; its exit code, and what it has written to stderr."""
        self.process.send_signal(by)
        errors = await self.errors()
        return await self.process.wait(), errors


@asynccontextmanager
async def running(file: Path, *args: str, warnings: str = "error") -> AsyncIterator[Run]:
    """Run it in a process in which warnings are errors, unless `warnings` says otherwise."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", warnings, "-X", "dev", "-m", "gateway", "run", file, *args),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Run(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The example that `init` writes."""
    assert invoke("init", tmp_path).exit_code == 0
    return tmp_path / "gateway.yaml"


def address(url: str) -> str:
    return f"http://{urlsplit(url).netloc}"


async def test_what_init_writes_answers_emit(file: Path, sockgw: Any) -> None:
    assert invoke("check", file).exit_code == 0
    async with running(file, "--port", "0") as run:
        url = address(await run.url())
        ended = await sockgw("emit", url, "chat", "hello world!", "--ack", "--listen", "chat")
    assert sorted(ended.out.splitlines()) == ['["guest","hello world!"]', '{"ok":true}']
    assert ended.status == 0


async def test_the_start_says_what_is_served_and_where(file: Path) -> None:
    async with running(file, "--port", "0") as run:
        port = urlsplit(await run.url()).port
        assert port
        await run.stop(signal.SIGTERM)
    assert len(run.lines) == 2
    assert re.fullmatch(rf"sockgw \S+ serves {file}", run.lines[0])
    assert re.search(rf"http://127.0.0.1:{port}\b.*  polling, websocket", run.lines[1])


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_with_0_and_without_a_traceback(
    file: Path, by: signal.Signals
) -> None:
    async with running(file, "--port", "0") as run:
        await run.url()
        status, errors = await run.stop(by)
    assert status == 0
    assert "Traceback" not in errors
    assert "stopping" in errors


async def test_a_busy_port_is_one_sentence(file: Path) -> None:
    async with running(file, "--port", "0") as first:
        port = str(urlsplit(await first.url()).port)
        async with running(file, "--port", port) as second:
            errors = await second.errors()
            assert await second.process.wait() == 1
    [sentence] = errors.splitlines()
    assert sentence == (
        f"Error: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another port with --port"
    )


async def test_a_busy_port_of_the_admin_listener_is_not_cured_by_an_option(file: Path) -> None:
    async with running(file, "--port", "0") as first:
        port = urlsplit(await first.url()).port
        (file.parent / "other").mkdir()
        other = write(file.parent / "other", f"admin: {{port: {port}}}\nnamespaces: {{/: }}\n")
        async with running(other, "--port", "0") as second:
            errors = await second.errors()
            assert await second.process.wait() == 1
    assert errors == f"Error: cannot listen on 127.0.0.1:{port}: Address already in use\n"


async def test_a_broken_file_is_refused_as_check_refuses_it(tmp_path: Path) -> None:
    file = write(tmp_path, "namespaces: {/: {routs: {}}}\nserver: {port: 7001x}\n")
    async with running(file) as run:
        errors = await run.errors()
        assert await run.process.wait() == BAD_CONFIG
    assert errors == invoke("check", file).stderr
    assert errors.splitlines()[-1] == "2 problems"


async def test_a_service_that_does_not_start_is_a_problem_at_its_line(tmp_path: Path) -> None:
    config = "services:\n  user: user.User\nnamespaces: {/: }\n"
    file = write(tmp_path, config, user="class User:\n    def __init__(self): 1 / 0\n")
    async with running(file) as run:
        errors = await run.errors()
        assert await run.process.wait() == BAD_CONFIG
    assert errors.splitlines() == [
        (
            f"{file}:2:9: services.user: "
            "the service did not start: ZeroDivisionError: division by zero "
            f"({tmp_path}/plugins/user.py:2:25)"
        ),
        "1 problem",
    ]


async def test_json_is_one_object_a_line(file: Path) -> None:
    async with running(file, "--port", "0", "--log-format", "json") as run:
        entry = await run.entry()
        status, errors = await run.stop(signal.SIGTERM)
    assert status == 0
    assert entry["level"] == "info"
    assert re.match(r"listening on http://127\.0\.0\.1:[1-9]", entry["message"])
    assert all(isinstance(json.loads(line), dict) for line in errors.splitlines())


LOUD = """
import threading, warnings

print("imported")

async def say(ctx):
    print("said")
    warnings.warn("careful", UserWarning, stacklevel=1)
    worker = threading.Thread(target=lambda: 1 / 0)
    worker.start()
    worker.join()
"""


async def test_json_is_one_object_a_line_whatever_plugins_do(tmp_path: Path, sockgw: Any) -> None:
    config = "server: {port: 0}\nreload: {quiet: 1ms}\nlog: {format: json}\n"
    file = write(tmp_path, f"{config}namespaces: {{/: {{routes: {{say: chat.say}}}}}}", chat=LOUD)
    async with running(file, warnings="default") as run:
        entries = [await run.entry() for _ in range(2)]
        url = address(entries[1]["message"].rpartition(" ")[2])
        await sockgw("emit", url, "say", "--ack")
        entries += [await run.entry() for _ in range(3)]
        file.write_text(f"{config}namespaces: {{/: {{routs: }}}}")
        entries.append(await run.entry())
        await run.stop(signal.SIGTERM)
        assert run.process.stdout is not None
        assert await run.process.stdout.read() == b""
    assert [(each["logger"], each["level"]) for each in entries] == [
        ("stdout", "info"),
        ("sockgw.server", "info"),
        ("stdout", "info"),
        ("py.warnings", "warning"),
        ("python", "error"),
        ("sockgw.reload", "error"),
    ]
    assert (entries[0]["message"], entries[2]["message"]) == ("imported", "said")
    assert entries[3]["message"] == f"{tmp_path}/plugins/chat.py:8: UserWarning: careful"
    assert entries[4]["traceback"].endswith("ZeroDivisionError: division by zero")
    assert entries[5]["message"] == "reload failed, generation 1 stays"
    assert entries[5]["problems"] == [
        {
            "file": str(file),
            "line": 4,
            "column": 18,
            "path": "namespaces./.routs",
            "message": "unknown key 'routs', did you mean 'routes'?",
        }
    ]


@pytest.mark.parametrize("by", ["the option", "the file"])
async def test_a_file_that_cannot_be_served_is_an_object_too(tmp_path: Path, by: str) -> None:
    block, option = ("", ["--log-format", "json"]) if by == "the option" else ("json", [])
    log = f"log: {{format: {block}}}\n" if block else ""
    file = write(tmp_path, f"namespaces: {{/: {{routs: {{}}}}}}\n{log}")
    async with running(file, *option) as run:
        errors = await run.errors()
        assert await run.process.wait() == BAD_CONFIG
    entry = json.loads(errors)
    assert (entry["level"], entry["message"]) == ("error", f"{file} cannot be served")
    assert [problem["column"] for problem in entry["problems"]] == [18]


async def test_so_is_a_busy_port(file: Path) -> None:
    async with running(file, "--port", "0") as first:
        port = str(urlsplit(await first.url()).port)
        async with running(file, "--port", port, "--log-format", "json") as second:
            entry = await second.entry()
            assert await second.process.wait() == 1
    assert entry["message"] == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another port with --port"
    )


async def test_a_namespace_at_debug_logs_its_steps(tmp_path: Path, sockgw: Any) -> None:
    namespaces = "{/: {routes: {say: chat.say}}, /b: {routes: {say: chat.say}}}"
    config = f"server: {{port: 0}}\nnamespaces: {namespaces}\nlog: {{levels: {{/b: debug}}}}\n"
    file = write(tmp_path, config, chat="async def say(ctx): ...\n")
    async with running(file) as run:
        url = address(await run.url())
        for namespace in ("", "/b"):
            await sockgw("emit", f"{url}{namespace}", "say", "--ack")
        _, errors = await run.stop(signal.SIGTERM)
    steps = [line for line in errors.splitlines() if "route 'say'" in line]
    assert [line.split()[2] for line in steps] == ["/b"]


async def test_verbose_logs_each_step_of_a_packet(file: Path, sockgw: Any) -> None:
    async with running(file, "--port", "0", "-v") as run:
        url = address(await run.url())
        await sockgw("emit", url, "chat", "hello", "--ack")
        await sockgw("emit", url, "chta", "hello", "--ack")
        _, errors = await run.stop(signal.SIGTERM)
    steps = [
        re.sub(r"[0-9.]+ ms", "N ms", re.split(r" (?:(?:dis)?connect|chat|chta) +", line)[-1])
        for line in errors.splitlines()
    ]
    wanted = [
        "-> auth.auth",
        "route 'chat' -> chat.send",
        "chat.send took N ms",
        "<- auth.auth after N ms",
        "-> auth.auth",
        "no route",
        "<- auth.auth after N ms",
    ]
    assert [step for step in steps if step in wanted] == wanted
    left = [line for line in errors.splitlines() if "<- auth.auth" in line]
    assert [line.split()[4] for line in left] == ["disconnect", "disconnect"]


async def test_a_certificate_that_is_not_there_is_a_problem_at_its_place(tmp_path: Path) -> None:
    tls = "{cert: a.pem, key: a.key}"
    file = write(tmp_path, f"namespaces: {{/: }}\nserver: {{port: 0, tls: {tls}}}\n")
    async with running(file) as run:
        errors = await run.errors()
        assert await run.process.wait() == BAD_CONFIG
    assert errors.splitlines() == [
        f"{file}:2:24: server.tls: cannot read a.key: No such file or directory",
        f"{file}:2:24: server.tls: cannot read a.pem: No such file or directory",
        "2 problems",
    ]
    assert invoke("check", file).stderr == errors
