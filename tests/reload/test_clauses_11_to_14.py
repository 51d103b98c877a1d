"""The reload contract of design section 5, clause by clause: 11 to 14."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.errors import ConfigError
from tests.config.test_bad import CASES, name
from tests.deadline import deadline
from tests.ports import free_port
from tests.reload.calling_client import caller
from tests.reload.edited_daemon import CONFIG, SAY, WATCHED, Running
from tests.test_wrong_files import CASES as WRONG
from tests.test_wrong_files import PRINTED, parts

# 11. Keys that only a restart can change are named; everything else applies.


async def test_clause_11_what_waits_for_a_restart_is_named_and_the_rest_applies(
    gateway, caplog
) -> None:
    async with gateway() as one:
        one.config(CONFIG + "server: {path: /other/, max_payload: 2KB}\n")
        one.say("two")
        verdict = await one.reload()
        assert (verdict.result, verdict.plan.pending) == ("applied", ("server.path",))
        assert "pending restart: server.path" in caplog.messages
        assert await one.said() == "two"
        for word in ("three", "four"):
            assert (await one.api.status())["pending"] == ("server.path",)
            one.say(word)
            assert (await one.reload()).plan.pending == ("server.path",)
        one.config(CONFIG)
        assert (await one.reload()).plan.pending == ()
        assert (await one.api.status())["pending"] == ()


async def test_clause_11_host_port_and_limits_apply_at_once(gateway) -> None:
    async with gateway(CONFIG + "server: {port: 0}\n", port=None) as one:
        one.config(CONFIG + "server: {port: 0, host: localhost, max_payload: 100}\n")
        assert (await one.reload()).plan.pending == ()
        async with caller(one.url) as client:
            await client.emit("say", "x" * 200)
            async with deadline():
                await client.lost.wait()


# 12. The last accepted config is kept and can serve the next start when the file is broken.


BROKEN = "namespaces: {/: {routes: {say: chat.sya}}}\n"


@pytest.mark.parametrize("allowed", ["by the command line", "by the file"])
async def test_clause_12_the_last_good_one_serves_when_the_file_is_broken(
    gateway, allowed: str
) -> None:
    by_file = allowed == "by the file"
    head = WATCHED.replace("}", ", last_good: true}") if by_file else WATCHED
    config = head + "namespaces: {/: {routes: {say: chat.say}}}\n"
    async with gateway(config) as one:
        one.say("accepted")
        await one.verdict()
        one.plugin("chat", "broken (")
        assert (await one.verdict()).result == "failed"
    one.config(BROKEN)
    async with gateway(file=one.file, last_good=not by_file) as one:
        assert isinstance(one.degraded, ConfigError)
        assert await one.said() == "accepted"
        status = await one.api.status()
        assert status["degraded"] == [problem.as_dict() for problem in one.degraded.problems]
        assert {problem.place.file for problem in one.degraded.problems} == {
            str(one.folder / "plugins/chat.py")
        }
        # It is the broken file that is watched, and what it names.
        one.say("still wrong")
        failed = await one.verdict()
        assert "no plugin 'chat.sya'" in str(failed.problems[0])
        assert (await one.api.status())["degraded"]
        one.plugin("chat", SAY.format("mended").replace("say", "sya"))
        mended = await one.verdict()
        assert mended.result == "applied"
        assert [each for each in mended.plan.changes if ".py" in each] == ["~ plugins/chat.py"]
        assert await one.said() == "mended"
        assert (await one.api.status())["degraded"] == []
    async with gateway(file=one.file, last_good=True) as one:
        assert one.degraded is None


async def test_clause_12_the_file_as_it_was_mends_it_too(gateway) -> None:
    async with gateway() as one:
        pass
    one.config("")
    async with gateway(file=one.file, last_good=True) as one:
        assert one.degraded
        one.config(CONFIG)
        verdict = await one.reload()
        assert (verdict.result, verdict.plan.changes) == ("applied", ())
        assert (await one.api.status())["degraded"] == []
        assert (await one.reload()).result == "unchanged"


async def test_clause_12_nobody_is_served_the_last_good_one_unasked(gateway) -> None:
    import_note = "import os\nos.environ['IMPORTED'] = 'yes'\n"
    async with gateway(chat=import_note + SAY.format("one")) as one:
        assert os.environ.pop("IMPORTED") == "yes"
    one.config(BROKEN)
    (one.folder / "plugins/chat.py").unlink()
    with pytest.raises(ConfigError) as refused:
        async with gateway(file=one.file):
            pass
    assert refused.value.problems[0].place.file == str(one.file)
    assert "IMPORTED" not in os.environ, "code was run that nobody asked for"


async def test_clause_12_a_last_good_one_that_is_none_any_more_is_not_served(gateway) -> None:
    async with gateway() as one:
        pass
    one.config(BROKEN)
    state = one.folder / "state/sockgw"
    for kept in state.rglob("gateway.yaml"):
        kept.write_text("namespaces:")
    with pytest.raises(ConfigError) as refused:
        async with gateway(file=one.file, last_good=True):
            pass
    assert {problem.place.file for problem in refused.value.problems} == {str(one.file)}


async def test_clause_12_no_state_folder_is_no_reason_not_to_serve(gateway, caplog) -> None:
    async with gateway(environ={"XDG_STATE_HOME": "/proc/nowhere"}) as one:
        assert await one.said() == "one"
        for word in ("two", "three"):
            one.say(word)
            assert (await one.reload()).result == "applied"
    told = [line for line in caplog.messages if "configuration could not be kept" in line]
    assert len(told) == 1
    assert told[0].startswith("the accepted configuration could not be kept: ")


# 13. A dead watcher is noticed and replaced; a slow safety poll bounds what can be missed.


async def test_clause_13_a_watch_that_ended_is_replaced(gateway) -> None:
    """The folder that was watched is another one now, and may even have the same number."""
    config = WATCHED + "namespaces: {/: {routes: {say: chat.say}}}\n"
    async with gateway(config) as one:
        for word in ("two", "three"):
            shutil.rmtree(one.folder / "plugins")
            one.say(word)
            await one.verdict()
            assert await one.said() == word
            assert (await one.api.status())["watcher"] == {"mode": "auto", "up": True}


async def test_clause_13_the_safety_poll_sees_what_no_event_tells(gateway) -> None:
    config = 'reload: {watch: "poll", quiet: 10ms, poll_interval: 50ms}\n'
    async with gateway(config + "namespaces: {/: {routes: {say: chat.say}}}\n") as one:
        for word in ("two", "three"):
            one.say(word)
            assert (await one.verdict()).result == "applied"
            assert await one.said() == word
        assert (await one.api.status())["watcher"] == {"mode": "poll", "up": False}


def without_inotify() -> list[str]:
    """What runs a command where no inotify instance can be had, if that is possible here."""
    limit = "/proc/sys/user/max_inotify_instances"
    command = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    setting = f'echo 0 > {limit} && exec "$@"'
    try:
        done = subprocess.run([*command, setting, "sh", "true"], check=False, capture_output=True)
    except FileNotFoundError:
        return []
    return [*command, setting, "sh"] if done.returncode == 0 else []


@asynccontextmanager
async def process(file: Path, *prefix: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`sockgw run` in a process of its own; its lines come on standard error."""
    command = [*prefix, sys.executable, "-m", "gateway", "run", str(file), "--port", "0"]
    state = {**os.environ, "XDG_STATE_HOME": str(file.parent / "state")}
    pipe = asyncio.subprocess.PIPE
    one = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=state)
    try:
        yield one
    finally:
        if one.returncode is None:
            one.terminate()
        await one.communicate()


async def line(stream: asyncio.StreamReader | None, part: str) -> str:
    """The next line that has this part."""
    assert stream is not None
    async with deadline():
        while text := (await stream.readline()).decode():
            if part in text:
                return text
    raise AssertionError(f"no line with {part!r}")


async def test_clause_13_without_inotify_it_polls_and_says_so(tmp_path: Path) -> None:
    prefix = without_inotify()
    if not prefix:
        pytest.skip("limits cannot be set here")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/chat.py").write_text(SAY.format("one"))
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "reload: {quiet: 10ms, poll_interval: 100ms}\nnamespaces: {/: {routes: {say: chat.say}}}\n"
    )
    async with process(file, *prefix) as one:
        await line(one.stderr, "no file events: ")
        for number in (2, 3):
            (tmp_path / "plugins/chat.py").write_text(SAY.format(number))
            await line(one.stderr, f"generation {number} serves")


async def test_clause_7_and_13_a_process_reloads_on_hangup_under_its_own_loop(
    tmp_path: Path,
) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/chat.py").write_text(SAY.format("one"))
    file = tmp_path / "gateway.yaml"
    file.write_text(CONFIG + "admin: {socket: admin.sock}\n")
    async with process(file) as one:
        address = (await line(one.stdout, "http://127.0.0.1:")).split()[0]
        async with caller(address) as client:
            (tmp_path / "plugins/chat.py").write_text(SAY.format("two"))
            file.write_text(CONFIG + f"admin: {{port: {free_port()}}}\n")
            one.send_signal(signal.SIGHUP)
            await line(one.stderr, "generation 2 serves")
            assert await client.call("say") == ["two"]
            file.write_text(CONFIG + "admin: {socket: admin.sock}\n")
            one.send_signal(signal.SIGHUP)
            await line(one.stderr, "generation 3 serves")
            assert await client.call("say") == ["two"]
            assert (tmp_path / "admin.sock").is_socket()


# 14. `check` is `run` stopped at the blueprint: there is no file that one accepts and the other
#     refuses.


ENVIRON = {"PORT": "7001", "EMPTY": "", "WORD": "soon", "LIST": "[auth, filter]"}


def checked(file: Path) -> list[dict[str, object]]:
    result = CliRunner().invoke(main, ["check", "--format", "json", str(file)])
    problems: list[dict[str, object]] = json.loads(result.stdout)["problems"]
    assert result.exit_code == (78 if problems else 0)
    return problems


async def agreed(one: Running) -> list[dict[str, object]]:
    """What is wrong with the file, according to both."""
    verdict = await one.reload()
    told: list[dict[str, object]] = (await one.api.status())["last_reload"]["problems"]
    problems = await asyncio.to_thread(checked, one.file)
    assert problems == told
    assert bool(told) == (verdict.result == "failed")
    return told


async def test_clause_14_check_and_reload_agree_on_every_bad_file(gateway, monkeypatch) -> None:
    for key, value in ENVIRON.items():
        monkeypatch.setenv(key, value)
    async with gateway(environ=ENVIRON) as one, caller(one.url) as client:
        for case in CASES:
            folder = case.parent
            if name(case) != case.stem:
                shutil.copytree(folder, one.folder, dirs_exist_ok=True)
            else:
                one.file.unlink(missing_ok=True)
                shutil.copy(case, one.file)
            assert await agreed(one), case
            assert await client.call("say") == ["one"]
        assert {verdict.result for verdict in one.verdicts} == {"failed"}
        assert (await one.api.status())["generation"] == 1


async def test_clause_14_check_and_reload_agree_on_every_kind_of_mistake(gateway) -> None:
    async with gateway() as one:
        for case in WRONG:
            shutil.rmtree(one.folder / "plugins")
            files = parts(case)
            del files[PRINTED]
            for file, text in files.items():
                (one.folder / file).parent.mkdir(exist_ok=True, parents=True)
                (one.folder / file).write_text(text)
            (one.folder / "plugins").mkdir(exist_ok=True)
            await agreed(one)


PLUGINS = {
    "fine": (SAY.format("two"), True),
    "an event loop at import": (f"import asyncio\nasyncio.run(asyncio.sleep(0))\n{SAY}", True),
    "a class": ("class say:\n  async def __call__(self, ctx): return 1", True),
    "an option too many": ("def say(x): pass", False),
    "a generator": ("async def say(ctx): yield 1", False),
    "no function": ("say = 7", False),
    "exit": ("raise SystemExit", False),
    "half": ("async def say(ctx):", False),
}


@pytest.mark.parametrize("plugin", PLUGINS)
async def test_clause_14_check_start_and_reload_agree_on_plugins(gateway, plugin: str) -> None:
    source, fits = PLUGINS[plugin]
    async with gateway() as one:
        one.plugin("chat", source)
        assert (not await agreed(one)) is fits
    if fits:
        async with gateway(file=one.file) as one:
            assert (await one.reload()).result == "unchanged"
    else:
        with pytest.raises(ConfigError):
            async with gateway(file=one.file):
                pass
