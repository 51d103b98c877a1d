from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from tests.cli.daemon_for_verbs import CONFIG, ask, asked
from tests.gateway_files import write

BAD_CONFIG = 78
TOKEN = "a secret of sufficient length"
SAY = "async def say(ctx): return 'one'\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(tmp_path, CONFIG, chat=SAY)


@pytest.fixture
def port() -> int:
    """A port that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_what_has_changed_is_told_with_the_generation_that_serves(file: Path) -> None:
    async with asked(file):
        write(file.parent, CONFIG + "  /news:\n", chat=SAY.replace("one", "two"))
        result = await ask("reload", file)
    assert (result.exit_code, result.stderr) == (0, "")
    first, *changes = result.stdout.splitlines()
    assert re.fullmatch(r"generation 2 serves after \d+ ms", first)
    assert changes == ["  + /news", "  ~ plugins/chat.py"]


async def test_the_same_content_is_no_reload(file: Path) -> None:
    async with asked(file):
        result = await ask("reload", file)
    assert (result.exit_code, result.stdout) == (0, "nothing has changed, generation 1 serves\n")


async def test_what_waits_for_a_restart_is_named(file: Path) -> None:
    async with asked(file):
        write(file.parent, CONFIG.replace("port: 0", "port: 0, path: /io/"))
        result = await ask("reload", file)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "  ~ server.path: /socket.io/ -> /io/",
        "pending restart: server.path",
    ]


@pytest.mark.parametrize("broken", ["\nnamespaces: [", "\nservers: {}\n"])
async def test_a_broken_file_is_refused_as_check_refuses_it(file: Path, broken: str) -> None:
    """Even though it does not tell where the daemon is: that is taken from what was accepted."""
    async with asked(file):
        write(file.parent, CONFIG + broken)
        result = await ask("reload", file)
        checked = await ask("check", file)
    assert (result.exit_code, result.stdout) == (BAD_CONFIG, "")
    *problems, last = result.stderr.splitlines()
    assert problems == checked.stderr.replace(f"{file.parent}/", "").splitlines()
    assert last == "reload failed, generation 1 stays"


async def test_a_plugin_that_does_not_import_is_a_problem_at_its_line(file: Path) -> None:
    async with asked(file):
        write(file.parent, CONFIG, chat="1 / 0\n")
        result = await ask("reload", file)
    assert result.exit_code == BAD_CONFIG
    assert result.stderr.splitlines() == [
        "plugins/chat.py:1:1: cannot import: ZeroDivisionError: division by zero",
        "1 problem",
        "reload failed, generation 1 stays",
    ]


async def test_a_reload_that_works_again_says_so(file: Path) -> None:
    async with asked(file):
        told = []
        for said in ("one", "two", "two"):
            write(file.parent, CONFIG, chat="1 / 0\n")
            assert (await ask("reload", file)).exit_code == BAD_CONFIG
            write(file.parent, CONFIG, chat=SAY.replace("one", said))
            told.append((await ask("reload", file)).stdout.splitlines()[0])
        told.append((await ask("reload", file)).stdout.splitlines()[0])
    assert told[0] == "valid again: nothing has changed, generation 1 serves"
    assert re.fullmatch(r"valid again: generation 2 serves after \d+ ms", told[1])
    assert told[2] == "valid again: nothing has changed, generation 2 serves"
    assert told[3] == "nothing has changed, generation 2 serves"


async def test_json_is_the_verdict(file: Path) -> None:
    async with asked(file):
        write(file.parent, CONFIG, chat=SAY.replace("one", "two"))
        applied = await ask("reload", file, "--format", "json")
        write(file.parent, CONFIG, chat="1 / 0\n")
        failed = await ask("reload", file, "--format", "json")
    verdict = json.loads(applied.stdout)
    assert (applied.exit_code, verdict["result"], verdict["generation"]) == (0, "applied", 2)
    assert verdict["problems"] == []
    verdict = json.loads(failed.stdout)
    assert (failed.exit_code, verdict["result"], verdict["generation"]) == (
        BAD_CONFIG,
        "failed",
        2,
    )
    assert verdict["problems"][0]["line"] == 1


async def test_github_gets_annotations(file: Path) -> None:
    async with asked(file):
        write(file.parent, CONFIG, chat="1 / 0\n")
        result = await ask("reload", file, "--format", "github")
    assert result.exit_code == BAD_CONFIG
    assert result.stdout == (
        "::error file=plugins/chat.py,line=1,col=1::"
        "cannot import: ZeroDivisionError: division by zero\n"
    )


async def test_changes_have_colours_on_a_terminal(file: Path) -> None:
    async with asked(file):
        write(file.parent, CONFIG + "  /news:\n")
        result = await ask("reload", file, color=True)
    assert "\033[32m  + /news\033[0m" in result.stdout


async def test_the_daemon_is_found_by_host_port_and_token(file: Path, port: int) -> None:
    admin = f"admin: {{port: {port}, token: {TOKEN}}}"
    write(file.parent, CONFIG.replace("admin: {socket: admin.sock}", admin))
    async with asked(file):
        assert (await ask("reload", file)).exit_code == 0
        stranger = await ask("reload", file, "--token", "guess")
    assert stranger.exit_code == 1
    assert stranger.stderr == (
        f"Error: the daemon at http://127.0.0.1:{port} takes another token; give it with --token\n"
    )


async def test_the_daemon_may_be_named_instead_of_a_file(file: Path, tmp_path: Path) -> None:
    async with asked(file):
        url = f"unix:{tmp_path}/admin.sock"
        assert (await ask("reload", tmp_path / "none.yaml", "--admin", url)).exit_code == 0


async def test_another_file_than_the_daemons_is_refused(file: Path) -> None:
    """Its admin block names the daemon, which would reload its own file."""
    other = file.with_name("next.yaml")
    async with asked(file):
        other.write_text(CONFIG + "  /news:\n")
        refused = await ask("reload", other)
        link = file.with_name("link.yaml")
        link.symlink_to(file)
        same = await ask("reload", link)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"Error: the daemon serves {file} and reloads no other file; to serve {other} instead,"
        f" copy it there and write: sockgw reload {file}\n"
    )
    assert (same.exit_code, same.stderr) == (0, "")


async def test_without_an_admin_block_there_is_still_a_signal(file: Path) -> None:
    write(file.parent, "namespaces: {/: }")
    result = await ask("reload", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {file} has no admin: block; to reload from here, "
        "add 'admin: {socket: admin.sock}' to it, or send SIGHUP to the daemon\n"
    )


async def test_a_daemon_that_does_not_run_is_told(file: Path, port: int) -> None:
    result = await ask("reload", file)
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: no daemon can be reached at unix:{file.parent}/admin.sock\n",
    )
    url = f"http://[::1]:{port}"
    result = await ask("reload", file, "--admin", url)
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: no daemon can be reached at {url}\n",
    )


async def test_a_file_that_is_broken_and_was_never_served_is_a_problem(tmp_path: Path) -> None:
    result = await ask("reload", tmp_path / "none.yaml")
    assert result.exit_code == BAD_CONFIG
    assert result.stderr.startswith(f"{tmp_path / 'none.yaml'}:1:1: ")


async def test_what_is_no_admin_listener_is_told(file: Path) -> None:
    async with asked(file) as url:
        result = await ask("reload", file, "--admin", url)
        assert (result.exit_code, result.stderr) == (
            1,
            f"Error: {url} is no admin listener of sockgw\n",
        )
    result = await ask("reload", file, "--admin", "admin.sock")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: admin.sock is no admin listener of sockgw\n",
    )


async def test_a_syntax_error_shows_its_line(file: Path) -> None:
    async with asked(file):
        write(file.parent, CONFIG, chat="async def say(ctx)\n    return 1\n")
        result = await ask("reload", file)
    assert result.exit_code == BAD_CONFIG
    assert result.stderr.splitlines()[:3] == [
        "plugins/chat.py:1:19: cannot import: SyntaxError: expected ':'",
        "    async def say(ctx)",
        "                      ^",
    ]
