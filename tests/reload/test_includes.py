"""Files that come and go: what a configuration names is watched, whether it is there or not."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.reload.calling_client import caller
from tests.reload.edited_daemon import SAY, WATCHED, Running

CONFIG = WATCHED + "namespaces: {/: {routes: {say: chat.say}}}\n"
MORE = "namespaces: {{{0}: {{routes: {{say: chat.say}}}}}}\n"


async def namespaces(one: Running) -> list[str]:
    assert (await one.verdict()).result == "applied"
    return sorted(one.live.current.blueprint.namespaces)


@pytest.mark.parametrize("folder", [".", "conf.d", "conf.d/deep"])
async def test_glob_gains_and_loses_files(gateway, folder: str) -> None:
    """The first one as well, and where its folder was not there before."""
    async with gateway(CONFIG) as one, caller(one.url) as client:
        one.config(CONFIG + f"include: {folder}/*.more.yaml\n")
        one.say("two")
        await one.verdict()
        where = one.folder / folder
        for _ in range(2):
            where.mkdir(exist_ok=True, parents=True)
            (where / "a.more.yaml").write_text(MORE.format("/a"))
            assert await namespaces(one) == ["/", "/a"]
            (where / "b.more.yaml").write_text(MORE.format("/b"))
            assert await namespaces(one) == ["/", "/a", "/b"]
            (where / "a.more.yaml").rename(where / "a.less.yaml")
            assert await namespaces(one) == ["/", "/b"]
            (where / "b.more.yaml").unlink()
            assert await namespaces(one) == ["/"]
            (where / "a.less.yaml").unlink()
            if folder != ".":
                shutil.rmtree(one.folder / "conf.d")
        assert await client.call("say") == ["two"]


async def test_a_glob_that_has_lost_its_last_file_is_told(gateway, caplog) -> None:
    """It may be the file with the guard, and the disk it was on."""
    config = CONFIG + "include: conf.d/*.yaml\nplugins: [plugins, extras]\n"
    told = "%s had files and has none now: what they said no longer holds"
    async with gateway(CONFIG) as one:
        for folder, name, text in (
            ("conf.d", "a.yaml", MORE.format("/a")),
            ("conf.d", "b.yaml", ""),
            ("extras", "extra.py", ""),
        ):
            (one.folder / folder).mkdir(exist_ok=True)
            (one.folder / folder / name).write_text(text or "x = 1\n" * name.endswith(".py"))
        one.config(config)
        await one.verdict()
        (one.folder / "conf.d/b.yaml").unlink()
        await one.verdict()
        assert "had files" not in caplog.text
        (one.folder / "conf.d/a.yaml").unlink()
        verdict = await one.verdict()
        assert verdict.plan.changes == ("- /a", "- include conf.d/*.yaml: had files, has none")
        warnings = [each.message for each in caplog.records if each.levelname == "WARNING"]
        assert warnings == [told % "include conf.d/*.yaml"]
        (one.folder / "extras/extra.py").unlink()
        verdict = await one.verdict()
        assert "- plugins extras: had files, has none" in verdict.plan.changes
        assert told % "plugins extras" in caplog.text


def missing_include(one: Running) -> Callable[[], object]:
    one.config(CONFIG + "include: more.yaml\n")
    return lambda: (one.folder / "more.yaml").write_text("services: {}\n")


def broken_include(one: Running) -> Callable[[], object]:
    (one.folder / "conf.d").mkdir()
    (one.folder / "conf.d/more.yaml").write_text("services: [\n")
    one.config(CONFIG + "include: conf.d/*.yaml\n")
    return lambda: (one.folder / "conf.d/more.yaml").write_text("services: {}\n")


def include_of_a_broken_include(one: Running) -> Callable[[], object]:
    (one.folder / "conf.d").mkdir()
    (one.folder / "conf.d/more.yaml").write_text("include: even/more.yaml\n")
    one.config(CONFIG + "include: conf.d/more.yaml\n")

    def mend() -> None:
        (one.folder / "conf.d/even").mkdir()
        (one.folder / "conf.d/even/more.yaml").write_text("services: {}\n")

    return mend


def missing_plugin_folder(one: Running) -> Callable[[], object]:
    one.config(CONFIG + "plugins: [plugins, extras]\n")
    return (one.folder / "extras").mkdir


def broken_plugin_folder(one: Running) -> Callable[[], object]:
    (one.folder / "extras").mkdir()
    (one.folder / "extras/extra.py").write_text("import nowhere\n")
    one.config(CONFIG + "plugins: [plugins, extras]\n")
    return lambda: (one.folder / "extras/extra.py").write_text("")


def plugin_that_is_not_there_yet(one: Running) -> Callable[[], object]:
    (one.folder / "extras").mkdir()
    one.config(CONFIG.replace("chat.say", "extra.say") + "plugins: [plugins, extras]\n")
    return lambda: (one.folder / "extras/extra.py").write_text(SAY.format("one"))


def missing_certificate(one: Running) -> Callable[[], object]:
    (one.folder / "tls").mkdir()
    one.config(CONFIG + "server: {tls: {cert: tls/cert.pem, key: tls/key.pem}}\n")
    return lambda: (one.folder / "tls/cert.pem").write_text("not yet a certificate")


BREAKS = [
    missing_include,
    broken_include,
    include_of_a_broken_include,
    missing_plugin_folder,
    broken_plugin_folder,
    plugin_that_is_not_there_yet,
]


@pytest.mark.parametrize("break_it", BREAKS, ids=lambda each: each.__name__)
async def test_what_a_broken_configuration_names_is_watched_too(gateway, break_it) -> None:
    """Mending it is noticed, though the configuration that serves knows nothing of it."""
    async with gateway(CONFIG) as one:
        mend = break_it(one)
        verdict = await one.verdict()
        assert (verdict.result, verdict.generation) == ("failed", 1)
        assert await one.said() == "one"
        mend()
        verdict = await one.verdict()
        while verdict.result == "failed":  # the mending may take several steps
            verdict = await one.verdict()
        assert verdict.result == "applied"
        assert await one.said() == "one"


async def test_certificate_that_was_missing_is_watched_too(gateway) -> None:
    async with gateway(CONFIG) as one:
        mend = missing_certificate(one)
        assert "cannot read" in (await one.verdict()).problems[0].message
        mend()
        assert "cannot read" in (await one.verdict()).problems[0].message  # the key is missing


async def test_default_plugin_folder_may_come_later(gateway) -> None:
    async with gateway(WATCHED + "namespaces: {/: {}}\n", chat="") as one:
        (one.folder / "plugins/chat.py").unlink()
        await one.verdict()
        (one.folder / "plugins").rmdir()
        one.config(CONFIG)
        assert (await one.verdict()).result == "failed"
        one.say("here")
        while (await one.verdict()).result == "failed":
            pass
        assert await one.said() == "here"


async def test_file_that_vanishes_and_comes_back_is_two_verdicts(gateway) -> None:
    async with gateway(CONFIG) as one:
        text = one.file.read_text()
        one.file.unlink()
        verdict = await one.verdict()
        assert verdict.result == "failed"
        assert "no such file or directory" in verdict.problems[0].message
        assert await one.said() == "one"
        one.file.write_text(text)
        assert (await one.verdict()).result == "unchanged"
        assert (await one.api.status())["last_reload"]["result"] == "unchanged"
