"""Pages are part of the generation: they are swapped with it, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import aiohttp

from tests.deadline import deadline, until
from tests.reload.calling_client import caller
from tests.reload.edited_daemon import WATCHED, Running, running

CONFIG = """
reload: {watch: "off"}
admin: {socket: admin.sock}
server: {static: {/: web}}
services: {clock: clock.Clock}
namespaces: {/: {routes: {say: chat.say}}}
"""
PLUGINS = {
    "chat": "async def say(ctx): return ctx.service.clock.starts",
    "clock": """
        starts = 0
        class Clock:
            def __init__(self):
                global starts
                starts += 1
                self.starts = starts
    """,
}


def page(folder: Path, text: str, name: str = "index.html") -> Path:
    path = folder / "web" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


async def read(one: Running, path: str = "/") -> str | int:
    """The page, or the status of an answer without one."""
    async with deadline(), aiohttp.ClientSession() as http, http.get(one.url + path) as answer:
        return await answer.text() if answer.status == 200 else answer.status


async def test_a_saved_page_is_served_and_nothing_else_changes(tmp_path: Path) -> None:
    page(tmp_path, "one")
    async with running(tmp_path, CONFIG, **PLUGINS) as one, caller(one.url) as client:
        assert await client.call("say") == [1]
        clock = one.live.current.service.clock
        page(tmp_path, "two")
        page(tmp_path, "new", "a/new.txt")
        plan = await one.post("/-/plan")
        assert plan["changes"] == ["+ web/a/new.txt", "~ web/index.html"]
        assert await read(one) == "one"
        verdict = await one.reload()
        assert (verdict.result, verdict.problems) == ("applied", ())
        assert verdict.plan.changes == ("+ web/a/new.txt", "~ web/index.html")
        assert await read(one) == "two"
        assert await read(one, "/a/new.txt") == "new"
        assert one.live.current.service.clock is clock
        assert await client.call("say") == [1]
        assert (await one.reload()).result == "unchanged"


async def test_the_watcher_sees_a_page_saved_and_a_folder_come(tmp_path: Path) -> None:
    page(tmp_path, "one")
    config = CONFIG.replace('reload: {watch: "off"}\n', WATCHED)
    async with running(tmp_path, config, **PLUGINS) as one:
        await until(lambda: one.watcher.up)
        page(tmp_path, "two")
        assert (await one.verdict()).plan.changes == ("~ web/index.html",)
        assert await read(one) == "two"
        other = tmp_path / "other"
        other.mkdir()
        (other / "page.html").write_text("deep")
        other.rename(tmp_path / "web/deep")
        assert (await one.verdict()).plan.changes == ("+ web/deep/page.html",)
        page(tmp_path, "deeper", "deep/page.html")
        assert (await one.verdict()).plan.changes == ("~ web/deep/page.html",)
        assert await read(one, "/deep/page.html") == "deeper"


async def test_a_folder_that_is_gone_or_empty_changes_nothing(tmp_path: Path) -> None:
    page(tmp_path, "one")
    async with running(tmp_path, CONFIG, **PLUGINS) as one:
        for message in ("there is no page in {}", "there is no folder {}"):
            shutil.rmtree(tmp_path / "web")
            if "page" in message:
                (tmp_path / "web").mkdir()
            verdict = await one.reload()
            assert verdict.result == "failed"
            [problem] = verdict.problems
            assert problem.path == "server.static./"
            assert problem.message == message.format(tmp_path / "web")
            assert await read(one) == "one"
        page(tmp_path, "two")
        assert (await one.reload()).result == "applied"
        assert await read(one) == "two"


async def test_a_page_that_cannot_be_read_leaves_all_pages_as_they_were(tmp_path: Path) -> None:
    page(tmp_path, "one")
    async with running(tmp_path, CONFIG, **PLUGINS) as one:
        page(tmp_path, "two")
        link = tmp_path / "web/other.html"
        link.symlink_to("/etc/hostname")
        verdict = await one.reload()
        assert verdict.result == "failed"
        assert [problem.place.file for problem in verdict.problems] == [str(link)]
        assert await read(one) == "one"
        link.unlink()
        assert (await one.reload()).result == "applied"
        assert await read(one) == "two"


async def test_folders_come_and_go_with_the_file(tmp_path: Path) -> None:
    page(tmp_path, "one")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("docs")
    async with running(tmp_path, CONFIG, **PLUGINS) as one:
        assert await read(one, "/docs/") == 404
        one.config(CONFIG.replace("{/: web}", "{/docs: site}"))
        verdict = await one.reload()
        assert verdict.plan.changes == (
            "~ server.static: [/: web] -> [/docs/: site]",
            "- web/index.html",
            "+ site/index.html",
        )
        assert [await read(one), await read(one, "/docs/")] == [404, "docs"]
        one.config(CONFIG.replace("server: {static: {/: web}}\n", ""))
        assert (await one.reload()).result == "applied"
        assert [await read(one), await read(one, "/docs/")] == [404, 404]


async def test_a_plan_counts_pages_when_there_are_many(tmp_path: Path) -> None:
    page(tmp_path, "one")
    page(tmp_path, "one", "gone.html")
    patient = CONFIG.replace('"off"', '"off", load_timeout: 2m')  # for a busy machine
    async with running(tmp_path, patient, **PLUGINS) as one:
        page(tmp_path, "two")
        (tmp_path / "web/gone.html").unlink()
        for number in range(30):
            page(tmp_path, "new", f"{number}.html")
        verdict = await one.reload()
        assert verdict.plan.changes == ("~ pages: 30 added, 1 changed, 1 removed",)


async def test_the_last_good_configuration_serves_the_pages_there_are(tmp_path: Path) -> None:
    page(tmp_path, "one")
    file = tmp_path / "gateway.yaml"
    async with running(tmp_path, CONFIG, **PLUGINS):
        pass
    page(tmp_path, "two")
    file.write_text("namespaces: 7\n")
    async with running(tmp_path, file=file, last_good=True) as one:
        assert one.degraded
        assert await read(one) == "two"
