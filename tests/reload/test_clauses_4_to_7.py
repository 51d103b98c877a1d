"""The reload contract of design section 5, clause by clause: 4 to 7."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reload.calling_client import caller
from tests.reload.edited_daemon import CONFIG, SAY, WATCHED, Running
from tests.reload.plugin_gates import Stage

# 4. Missing, empty, truncated or unreadable files never change the running config.


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_text(""),
    "blank": lambda path: path.write_text("\n  \n"),
    "comments": lambda path: path.write_text("# soon\n"),
    "null": lambda path: path.write_text("null\n"),
    "nothing in it": lambda path: path.write_text("namespaces:\n"),
    "truncated": lambda path: path.write_text(path.read_text()[:30]),
    "not text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a folder": folder_in_its_place,
    "a link to nowhere": link_to_nowhere,
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_clause_4_a_damaged_file_changes_nothing(gateway, damage) -> None:
    async with gateway() as one, caller(one.url) as client:
        one.say("not yet")
        DAMAGES[damage](one.file)
        verdict = await one.reload()
        assert (verdict.result, verdict.generation) == ("failed", 1)
        assert verdict.problems
        assert await client.call("say") == ["one"]
        if one.file.is_dir():
            one.file.rmdir()
        one.file.unlink(missing_ok=True)
        one.config(CONFIG)
        assert (await one.reload()).result == "applied"
        assert await client.call("say") == ["not yet"]


async def test_clause_4_a_lost_plugin_or_include_changes_nothing(gateway) -> None:
    config = CONFIG + "include: [more.yaml]\n"
    async with gateway(CONFIG) as one:
        (one.folder / "more.yaml").write_text("services: {}")
        one.config(config)
        await one.reload()
        for path in (one.folder / "more.yaml", one.folder / "plugins/chat.py"):
            content = path.read_text()
            path.unlink()
            assert (await one.reload()).result == "failed"
            assert await one.said() == "one"
            path.write_text(content)
            assert (await one.reload()).result == "unchanged"


async def test_clause_4_what_is_emptied_on_purpose_is_empty(gateway) -> None:
    """It is a file without a mistake, so nobody has to guess."""
    async with gateway() as one, caller(one.url) as client:
        one.config(CONFIG.replace("routes: {say: chat.say}", "routes: {}"))
        (one.folder / "plugins/chat.py").unlink()
        verdict = await one.reload()
        assert verdict.plan.changes == (
            "- / route 'say'",
            "- plugins/chat.py",
            "- plugins plugins: had files, has none",
        )
        assert (await client.call("say"))[0]["error"]["code"] == "unknown_event"


# 5. Equal content is no reload.


def same(one: Running) -> None:
    one.file.write_text(one.file.read_text())
    one.say("one")


def other_writing(one: Running) -> None:
    """Comments, blank lines, order and quotes say nothing."""
    one.config(
        "# a comment\nnamespaces:\n  '/':\n\n    routes:\n      say: 'chat.say'\n"
        "reload:\n  watch: 'off'\n"
    )


def split(one: Running) -> None:
    """What an include says is the same wherever it stands."""
    (one.folder / "reload.yaml").write_text("reload: {watch: 'off'}")
    one.config("include: reload.yaml\nnamespaces: {/: {routes: {say: chat.say}}}")


@pytest.mark.parametrize("rewrite", [same, other_writing, split])
async def test_clause_5_equal_content_is_no_reload(gateway, rewrite) -> None:
    async with gateway() as one:
        generation = one.live.current
        for _ in range(3):
            rewrite(one)
            verdict = await one.reload()
            assert (verdict.result, verdict.generation) == ("unchanged", 1)
        assert one.live.current is generation


# 6. Changes are coalesced; a change during a reload causes exactly one more.


async def test_clause_6_a_change_during_a_reload_causes_exactly_one_more(
    gateway, stage: Stage
) -> None:
    config = WATCHED + "namespaces: {/: {routes: {say: chat.say}}}\n"
    async with gateway(config) as one:
        one.plugin(
            "chat", "from tests.reload.plugin_gates import stage\nstage.hold()\n" + SAY.format(2)
        )
        await stage.held()
        for word in ("three", "four", "five"):
            one.say(word)
            await one.watcher.look()
        stage.go()
        verdicts = [await one.verdict(), await one.verdict()]
        assert [verdict.result for verdict in verdicts] == ["applied", "applied"]
        assert await one.said() == "five"
        assert (await one.reload()).result == "unchanged"
        assert len(one.verdicts) == 3


async def test_clause_6_files_that_are_saved_one_after_the_other_are_one_reload(gateway) -> None:
    config = WATCHED.replace("20ms", "300ms") + "namespaces: {/: {routes: {say: chat.say}}}\n"
    async with gateway(config) as one:
        one.config(config.replace("chat.say", "other.tell"))
        one.plugin("other", "from .helper import word\nasync def tell(ctx): return word")
        one.plugin("helper", "word = 'two'")
        assert (await one.verdict()).result == "applied"
        assert await one.said() == "two"
        assert len(one.verdicts) == 1


# 7. Watch, SIGHUP and the admin call run the same path and give the same verdict.


@pytest.mark.parametrize("trigger", ["watch", "signal", "admin"])
async def test_clause_7_every_trigger_gives_the_same_verdict(gateway, trigger: str) -> None:
    config = "namespaces: {/: {routes: {say: chat.say}}}\n"
    head = WATCHED if trigger == "watch" else 'reload: {watch: "off"}\n'
    socket_path = "admin: {socket: admin.sock}\n"
    async with gateway(head + socket_path + config) as one:

        async def verdict() -> object:
            if trigger == "admin":
                given = await one.post("/-/reload")
            else:
                if trigger == "signal":
                    os.kill(os.getpid(), signal.SIGHUP)
                given = await one.verdict()
                status = await one.get("/-/status")
                given = status["last_reload"]
            assert given.pop("trigger") == trigger
            for key in ("at", "seconds"):
                assert given.pop(key) > 0
            return given

        (one.folder / "plugins/chat.py").write_text("import nowhere")
        assert await verdict() == {
            "result": "failed",
            "generation": 1,
            "changes": [],
            "removed": [],
            "pending": [],
            "emptied": [],
            "problems": [
                {
                    "file": str(one.folder / "plugins/chat.py"),
                    "line": 1,
                    "column": 1,
                    "path": "",
                    "message": "cannot import: ModuleNotFoundError: No module named 'nowhere'",
                }
            ],
        }
        one.say("two")
        assert await verdict() == {
            "result": "applied",
            "generation": 2,
            "changes": ["~ plugins/chat.py"],
            "removed": [],
            "pending": [],
            "emptied": [],
            "problems": [],
        }
        assert await one.said() == "two"
        if trigger != "watch":
            assert (await one.reload()).result == "unchanged"
