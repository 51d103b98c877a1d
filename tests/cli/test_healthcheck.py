from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.certificates import TLS
from tests.cli.daemon_for_verbs import CONFIG, ask, asked
from tests.cli.invoke import invoke
from tests.gateway_files import write
from tests.raw_client import raw
from tests.reload import plugin_gates
from tests.reload.edited_daemon import running

SAY = "async def say(ctx): ...\n"
PUBLIC = CONFIG.replace("admin: {socket: admin.sock}\n", "")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(tmp_path, CONFIG, chat=SAY)


def port_of(url: str) -> str:
    return str(urlsplit(url).port)


@pytest.mark.parametrize("option", [(), ("--live",)])
async def test_the_admin_listener_is_asked(file: Path, option: tuple[str, ...]) -> None:
    async with asked(file):
        result = await ask("healthcheck", file, *option)
    assert (result.exit_code, result.stderr) == (0, "")
    [line] = result.stdout.splitlines()
    assert line.startswith(f"healthy: unix:{file.parent}/admin.sock answered 200 after ")


async def test_so_it_is_on_a_port_with_a_token(file: Path, unused_tcp_port: int) -> None:
    admin = f"admin: {{port: {unused_tcp_port}, token: a secret of sufficient length}}"
    write(file.parent, CONFIG.replace("admin: {socket: admin.sock}", admin))
    async with asked(file):
        result = await ask("healthcheck", file)
        other = file.with_name("none.yaml")
        named = await ask("healthcheck", other, "--admin", f"http://127.0.0.1:{unused_tcp_port}")
    assert (result.exit_code, named.exit_code) == (0, 0)
    assert f"http://127.0.0.1:{unused_tcp_port}/readyz answered 200" in result.stdout


async def test_a_broken_file_is_no_broken_daemon(file: Path) -> None:
    async with asked(file):
        write(file.parent, CONFIG + "serves: {}\n")
        assert (await ask("healthcheck", file)).exit_code == 0


async def test_without_an_admin_block_the_public_port_is_asked(file: Path) -> None:
    """No session is opened, and nothing is counted or logged."""
    write(file.parent, PUBLIC)
    async with running(file.parent, file=file) as one:
        result = await ask("healthcheck", file, "--port", port_of(one.url))
        assert one.serving.sockets.engine.sessions == {}
        violations = dict(one.serving.sockets.engine.violations.counts)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{one.url}/socket.io/ answered 204 after" in result.stdout
    assert not any(violations.values())


async def test_a_certificate_for_another_name_is_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tls = f"port: 0, tls: {{cert: {TLS}/one.pem, key: {TLS}/one.key}}"
    file = write(tmp_path, PUBLIC.replace("port: 0", tls), chat=SAY)
    async with running(tmp_path, file=file) as one:
        result = await ask("healthcheck", file, "--port", port_of(one.url))
    assert result.exit_code == 0
    assert "https://" in result.stdout


async def test_a_daemon_that_stops_is_live_and_not_ready(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = plugin_gates.Stage()
    monkeypatch.setattr(plugin_gates, "stage", stage)
    wait = "from tests.reload.plugin_gates import stage\nasync def say(ctx): await stage.wait()\n"
    write(file.parent, CONFIG, chat=wait)
    async with running(file.parent, file=file) as one, raw(one.url) as client:
        await client.join()
        await client.send('421["say"]')
        await stage.waited_for()
        one.daemon.stop()
        stopping = await ask("healthcheck", file)
        live = await ask("healthcheck", file, "--live")
        stage.go()
    assert (stopping.exit_code, stopping.stdout, live.exit_code) == (1, "", 0)
    assert "not healthy: unix:" in stopping.stderr
    assert " answered 503 after " in stopping.stderr


def test_no_daemon_is_one_line(file: Path) -> None:
    result = invoke("healthcheck", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"not healthy: no daemon can be reached at unix:{file.parent}/admin.sock\n"
    )


def test_a_file_that_was_never_valid_is_one_line(file: Path) -> None:
    result = invoke("healthcheck", "none.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == ("not healthy: none.yaml has 1 problem, see: sockgw check none.yaml\n")


async def test_a_daemon_that_does_not_answer_is_told_in_time(file: Path) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        result = await ask("healthcheck", file, "--admin", url, "--timeout", "0.1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"not healthy: no answer from {url}/readyz within 0.1 s\n"


async def test_json_has_the_answer_and_why_there_is_none(file: Path) -> None:
    async with asked(file):
        healthy = await ask("healthcheck", file, "--format", "json")
    gone = await ask("healthcheck", file, "--format", "json")
    answer = json.loads(healthy.stdout)
    assert answer.pop("seconds") > 0
    url = f"unix:{file.parent}/admin.sock"
    lists: dict[str, Any] = {"problems": [], "warnings": []}
    assert (healthy.exit_code, answer) == (
        0,
        {"healthy": True, "url": url, "status": 200, **lists},
    )
    answer = json.loads(gone.stdout)
    assert (gone.exit_code, gone.stderr, answer.pop("seconds") > 0) == (1, "", True)
    error = f"no daemon can be reached at {url}"
    assert answer == {"healthy": False, "url": url, "status": None, "error": error, **lists}
