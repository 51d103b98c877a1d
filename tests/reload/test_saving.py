"""Files are saved in many ways; each leads to one reload with what was saved last."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config_map import swapped_in
from tests.reload.edited_daemon import SAY, WATCHED, Running

CONFIG = WATCHED + "namespaces: {/: {routes: {say: chat.say}}}\n"


def vim(path: Path, text: str) -> None:
    """`backupcopy=no`: the old file becomes the backup, a new one takes its place."""
    backup = path.with_name(f"{path.name}~")
    path.rename(backup)
    path.write_text(text)
    backup.unlink()


def vim_itself(path: Path, text: str) -> None:
    if not shutil.which("vim"):
        pytest.skip("there is no vim")
    command = ["vim", "-es", "-u", "NONE", "-N", "-c", "set backup writebackup backupcopy=no"]
    lines = [f"call setline({n}, {line!r})" for n, line in enumerate(text.splitlines(), 1)]
    edit = [part for line in ("%delete", *lines, "wq") for part in ("-c", line)]
    environ = {**os.environ, "HOME": str(path.parent)}
    subprocess.run([*command, *edit, path], check=True, env=environ)


def vscode(path: Path, text: str) -> None:
    """Truncates the file and writes it again."""
    with path.open("w") as file:
        file.flush()
        file.write(text)


def sed(path: Path, text: str) -> None:
    """Writes another file and renames it over the first."""
    other = path.with_name("sedAbCdEf")
    other.write_text(text)
    shutil.copymode(path, other)
    other.replace(path)


def sed_itself(path: Path, text: str) -> None:
    subprocess.run(["sed", "-i", f"s|.*|{text.strip()}|", path], check=True)


def unlinked(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def appended(path: Path, text: str) -> None:
    """Written in two pieces, as a slow copy is."""
    path.write_text(text[:10])
    with path.open("a") as file:
        file.write(text[10:])


WAYS = [vim, vim_itself, vscode, sed, sed_itself, unlinked, appended]


@pytest.mark.parametrize("save", WAYS, ids=lambda way: way.__name__)
async def test_however_a_plugin_is_saved_each_save_is_served(gateway, save) -> None:
    async with gateway(CONFIG) as one:
        for word in ("two", "three"):
            save(one.folder / "plugins/chat.py", SAY.format(word))
            assert (await one.verdict()).result == "applied"
            assert await one.said() == word
        assert len(one.verdicts) == 2


@pytest.mark.parametrize("save", [vim, vscode, sed], ids=lambda way: way.__name__)
async def test_however_the_yaml_is_saved_each_save_is_served(gateway, save) -> None:
    async with gateway(CONFIG, chat=SAY.format("one") + "async def two(ctx): return 'two'") as one:
        for handler, answer in (("two", "two"), ("say", "one")):
            save(one.file, CONFIG.replace("chat.say", f"chat.{handler}"))
            assert (await one.verdict()).result == "applied"
            assert await one.said() == answer
        assert len(one.verdicts) == 2


async def test_same_size_and_time_stamp_do_not_hide_a_change(gateway) -> None:
    async with gateway(CONFIG) as one:
        path = one.folder / "plugins/chat.py"
        before = path.stat()
        one.say("six")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
        assert (await one.verdict()).result == "applied"
        assert await one.said() == "six"


async def test_two_edits_within_a_second_are_both_served(gateway) -> None:
    """Python's own bytecode cache would miss the second."""
    async with gateway(CONFIG) as one:
        for word in ("aaa", "bbb", "ccc"):
            one.say(word)
            await one.verdict()
            assert await one.said() == word


async def test_saves_in_quick_succession_are_few_reloads_and_the_last_is_served(gateway) -> None:
    """Nobody can look between the saves of a burst: it is one reload, or several make one."""
    bursts, saves = 10, 5
    async with gateway(CONFIG) as one:
        for number in range(1, bursts * saves + 1):
            sed(one.folder / "plugins/chat.py", SAY.format(f"word {number}"))
            if number % saves == 0:
                await asyncio.sleep(0.1)  # not a wait: the pace of the saves
        while await one.said() != f"word {bursts * saves}":
            await one.verdict()
        assert len(one.verdicts) <= bursts
        assert {verdict.result for verdict in one.verdicts} == {"applied"}


async def test_file_that_is_truncated_for_a_while_never_stops_what_runs(gateway) -> None:
    async with gateway(CONFIG) as one:
        one.file.write_text("")
        failed = await one.verdict()
        assert (failed.result, failed.generation) == ("failed", 1)
        assert await one.said() == "one"
        one.say("two")
        one.file.write_text(CONFIG)
        assert (await one.verdict()).result == "applied"
        assert await one.said() == "two"


async def test_file_that_comes_back_within_the_quiet_time_is_no_change(gateway) -> None:
    async with gateway(CONFIG.replace("20ms", "300ms")) as one:
        for content in ("", None):
            one.file.write_text("") if content == "" else one.file.unlink()
            one.file.write_text(CONFIG)
        one.say("two")
        assert (await one.verdict()).result == "applied"
        assert [verdict.result for verdict in one.verdicts] == ["applied"]


async def test_swap_of_a_config_map_is_one_reload(gateway, tmp_path: Path) -> None:
    mount, plugins = tmp_path / "etc", tmp_path / "etc/plugins"
    plugins.mkdir(parents=True)
    swapped_in(plugins, "..v1", {"chat.py": SAY.format("one")})
    swapped_in(mount, "..v1", {"gateway.yaml": CONFIG})
    async with gateway(file=mount / "gateway.yaml") as one:
        for number, word in enumerate(("two", "three"), 2):
            swapped_in(plugins, f"..v{number}", {"chat.py": SAY.format(word)})
            assert (await one.verdict()).result == "applied"
            assert await one.said() == word
        swapped_in(mount, "..v2", {"gateway.yaml": CONFIG.replace("say:", "tell:")})
        assert (await one.verdict()).result == "applied"
        assert (await one.said())["error"]["code"] == "unknown_event"


async def test_file_behind_a_link_is_watched_where_it_is(gateway, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere/real.yaml"
    real.parent.mkdir()
    real.write_text(CONFIG)
    (tmp_path / "gateway.yaml").symlink_to(real)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/chat.py").write_text(SAY.format("one"))
    async with gateway(file=tmp_path / "gateway.yaml") as one:
        sed(real, CONFIG.replace("say:", "tell:"))
        assert (await one.verdict()).result == "applied"


Quiet = Callable[[Running], None]


def mode_changed(one: Running) -> None:
    (one.folder / "plugins/chat.py").chmod(0o600)
    one.file.chmod(0o640)


def touched(one: Running) -> None:
    os.utime(one.file, (1, 1))
    (one.folder / "plugins/chat.py").touch()


def litter(one: Running) -> None:
    """What editors and Python leave behind."""
    cache = one.folder / "plugins/__pycache__"
    cache.mkdir()
    (cache / "chat.cpython-311.pyc").write_bytes(b"\0")
    for name in (".chat.py.swp", "4913", "chat.py~", ".#chat.py", "#chat.py#", "notes.txt"):
        (one.folder / "plugins" / name).write_text("x")
        (one.folder / name).write_text("x")
    (one.folder / "unrelated.yaml").write_text("x: 1")


def saved_as_it_was(one: Running) -> None:
    sed(one.file, one.file.read_text())
    vscode(one.folder / "plugins/chat.py", SAY.format("one"))


def moved_away_and_back(one: Running) -> None:
    for folder in (one.folder / "plugins", one.folder):
        aside = folder.with_name("aside")
        folder.rename(aside)
        aside.rename(folder)


@pytest.mark.parametrize(
    "quiet",
    [mode_changed, touched, litter, saved_as_it_was, moved_away_and_back],
    ids=lambda each: each.__name__,
)
async def test_what_changes_no_content_is_no_reload(gateway, quiet: Quiet) -> None:
    async with gateway(CONFIG) as one:
        quiet(one)
        await one.watcher.look()
        assert one.verdicts == []
        assert (await one.reload()).result == "unchanged"
        one.say("two")  # and it is still watched
        await one.verdict()
        assert [(each.trigger, each.result) for each in one.verdicts] == [
            ("admin", "unchanged"),
            ("watch", "applied"),
        ]
