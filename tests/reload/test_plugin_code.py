"""Plugin code reloads as one set; whatever it does at import cannot hurt the daemon."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.daemon.reload import Verdict
from gateway.loader.sysmodules import Placed
from tests.deadline import deadline
from tests.reload.calling_client import Caller, caller
from tests.reload.edited_daemon import CONFIG, SAY, Running, until
from tests.reload.plugin_gates import Stage

SHORT = CONFIG.replace('"off"', '"off", load_timeout: 300ms')


async def in_time(one: Running) -> Verdict:
    """Reload until it is done within `load_timeout`: a busy machine may need several goes."""
    async with deadline():
        while (verdict := await one.reload()).result == "failed":
            pass
    return verdict


@asynccontextmanager
async def traffic(client: Caller) -> AsyncIterator[list[list[object]]]:
    """Calls one after the other for as long as the block takes; gives the answers."""
    answers: list[list[object]] = []

    async def call() -> None:
        while True:
            answers.append(await client.call("say"))

    calling = asyncio.create_task(call())
    try:
        yield answers
        assert not calling.done()
    finally:
        calling.cancel()
        await asyncio.wait({calling})


def places() -> tuple[list[object], dict[str, object]]:
    finders = [each for each in sys.meta_path if isinstance(each, Placed)]
    modules = {name: each for name, each in sys.modules.items() if name.startswith("plugins")}
    return finders, modules  # type: ignore[return-value]


EVIL = {
    "raises": "raise ValueError('no')",
    "exits": "import sys; sys.exit(1)",
    "interrupts": "raise KeyboardInterrupt",
    "cancels": "import asyncio; raise asyncio.CancelledError",
    "loops": "while True: pass",
    "loops and holds on": (
        "for _ in range(3):\n  try:\n    while True: pass\n  except BaseException: pass"
    ),
    "recurses": "def f(): f()\nf()",
    "is half written": "async def half(ctx",
    "forgets itself": "import sys; del sys.modules[__name__]; raise ValueError",
    "imports nothing": "from .nowhere import x",
}


@pytest.mark.parametrize("evil", EVIL)
async def test_evil_at_import_is_refused_while_packets_are_answered(gateway, evil: str) -> None:
    async with gateway(SHORT) as one, caller(one.url) as client, caller(one.url) as busy:
        before = places()
        one.plugin("chat", SAY.format("two") + EVIL[evil] + "\nraise ValueError")
        async with traffic(busy) as answers:
            verdict = await one.reload()
            count = len(answers)
            await until(lambda: len(answers) > count)
        assert (verdict.result, verdict.generation) == ("failed", 1)
        assert {str(answer) for answer in answers} == {"['one']"}
        assert places() == before
        one.say("mended")
        assert (await in_time(one)).generation == 2
        assert await client.call("say") == ["mended"]


async def test_loop_at_import_is_told_at_its_line(gateway) -> None:
    async with gateway(SHORT) as one:
        one.plugin("chat", SAY.format("two") + "\nwhile True:\n    pass\n")
        file = str(one.folder / "plugins/chat.py")
        async with deadline():  # a busy machine may need several goes to get as far as that
            while (problem := (await one.reload()).problems[0]).place.file != file:
                pass
        assert problem.place.line in (3, 4)
        assert problem.message == (
            "cannot import: LoadTimeout: took longer than reload.load_timeout"
        )


LAZY = """
async def say(ctx):
    from ._late import word
    import plugins._late as again
    from . import helper
    return [word, again.word, helper.word]
"""


async def test_old_code_imports_what_it_needs_while_new_code_hangs_at_import(
    gateway, stage: Stage
) -> None:
    """Nobody waits for a plugin: not for one that sleeps, nor for one that is left behind."""
    files = {"chat": LAZY, "_late": "word = 'old'\n", "helper": "word = 'old'\n"}
    config = SHORT.replace("300ms", "5s")  # time enough to get to `hold`
    async with gateway(config, **files) as one, caller(one.url) as client:
        one.plugin(
            "helper", "from tests.reload.plugin_gates import stage\nstage.hold()\nword = 'new'\n"
        )
        one.plugin("_late", "word = 'new'\n")
        reload = asyncio.create_task(one.reload())
        await stage.held()
        assert await client.call("say") == [["old"] * 3]
        verdict = await reload
        assert [str(problem) for problem in verdict.problems] == [
            (
                f"{one.folder}/plugins/helper.py:2:1: "
                "loading took longer than 5 s and cannot be interrupted"
            )
        ]
        assert await client.call("say") == [["old"] * 3]
        one.plugin("helper", "word = 'newer'\n")
        await in_time(one)
        stage.go()
        assert await client.call("say") == [["new", "new", "newer"]]


async def test_plan_and_reload_at_once_leave_the_modules_of_what_serves(gateway) -> None:
    async with gateway(CONFIG, chat=SAY.format("one"), slow="") as one:
        other = one.folder / "other.yaml"
        other.write_text(CONFIG + "  /planned: {}\n")
        for number in range(5):
            one.plugin("chat", SAY.format(number) + f"class Kind: number = {number}\n")
            plan = asyncio.create_task(one.api.plan(other))
            reload = asyncio.create_task(one.reload())
            changes, _ = await plan
            assert "+ /planned" in changes.changes
            assert (await reload).result == "applied"
            assert sys.modules["plugins.chat"].Kind.number == number
        assert len(places()[0]) == 1


async def test_one_load_at_a_time(gateway, stage: Stage) -> None:
    """Code that is being imported looks at `sys.modules`, where only one set of modules is."""
    noting = "from tests.reload.plugin_gates import stage\nstage.seen.append('{0}')\n"
    async with gateway(CONFIG) as one, caller(one.url) as client:
        (one.folder / "others").mkdir()
        slow = noting.format("begins") + "stage.hold()\n" + noting.format("ends")
        (one.folder / "others/slow.py").write_text(slow)
        other = one.folder / "other.yaml"
        other.write_text("plugins: others\nnamespaces: {/: {}}\n")
        plan = asyncio.create_task(one.api.plan(other))
        await stage.held()
        one.plugin("chat", noting.format("reload") + SAY.format("two"))
        reload = asyncio.create_task(one.reload())
        for _ in range(20):
            assert await client.call("say") == ["one"]
        stage.go()
        await plan
        assert (await reload).result == "applied"
        assert stage.seen == ["begins", "ends", "reload"]


CHAIN = {
    "chat": "from .near import word\nasync def say(ctx): return word()\n",
    "near": "from .sub import far\ndef word(): return far.WORD\n",
    "sub__far": "WORD = 'one'\n",
}


@pytest.mark.parametrize("file", ["near", "sub/far"])
async def test_a_helper_however_far_away_reaches_the_next_packet(gateway, file: str) -> None:
    async with gateway(**CHAIN, config=CONFIG) as one, caller(one.url) as client:
        assert await client.call("say") == ["one"]
        for word in ("two", "three"):
            source = f"WORD = '{word}'\n" if "far" in file else f"def word(): return '{word}'\n"
            one.plugin(file, source)
            await one.reload()
            assert await client.call("say") == [word]


async def test_a_half_written_helper_keeps_all_of_the_old_code(gateway) -> None:
    """New code never meets old code."""
    async with gateway(**CHAIN, config=CONFIG) as one, caller(one.url) as client:
        one.plugin("chat", CHAIN["chat"].replace("word()", "word() + '!'", 1))
        one.plugin("sub/far", "WORD = 'tw")
        assert (await one.reload()).result == "failed"
        assert await client.call("say") == ["one"]
        one.plugin("sub/far", "WORD = 'two'")
        one.plugin("chat", CHAIN["chat"].replace("return word()", "return word() + '!'"))
        await one.reload()
        assert await client.call("say") == ["two!"]


async def test_a_removed_file_is_gone_and_a_new_one_is_there(gateway) -> None:
    async with gateway(**CHAIN, config=CONFIG) as one, caller(one.url) as client:
        (one.folder / "plugins/sub/far.py").unlink()
        verdict = await one.reload()
        assert "cannot import name 'far' from 'plugins'" in str(verdict.problems[0]) or (
            "No module named 'plugins.sub'" in str(verdict.problems[0])
        )
        one.plugin("near", "from .fresh import word\n")
        one.plugin("fresh", "def word(): return 'fresh'\n")
        assert (await one.reload()).result == "applied"
        assert await client.call("say") == ["fresh"]
        assert "plugins.sub.far" not in sys.modules


async def test_two_daemons_in_one_process_have_each_their_own_code(
    gateway, tmp_path, stage: Stage
) -> None:
    """Also when one of them stops while the other serves."""

    async def say(one: Running) -> object:
        return await one.said()

    from tests.reload.edited_daemon import running

    async with gateway(CONFIG, chat=LAZY, _late="word = 1\n", helper="word = 1\n") as first:
        files = {"chat": LAZY, "_late": "word = 2\n", "helper": "word = 2\n"}
        async with running(tmp_path / "second", CONFIG, **files) as second:
            assert [await say(first), await say(second)] == [[1] * 3, [2] * 3]
            for one, number in ((first, 3), (second, 4), (first, 5)):
                one.plugin("helper", f"word = {number}\n")
                assert (await one.reload()).result == "applied"
            assert [await say(first), await say(second)] == [[1, 1, 5], [2, 2, 4]]
            reloads = [asyncio.create_task(one.reload()) for one in (first, second)]
            assert {(await each).result for each in reloads} == {"unchanged"}
        assert await say(first) == [1, 1, 5]
        first.plugin("helper", "word = 6\n")
        await first.reload()
        assert await say(first) == [1, 1, 6]
