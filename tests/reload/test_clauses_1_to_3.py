"""The reload contract of design section 5, clause by clause: 1 to 3."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Callable

import pytest

from tests.reload.calling_client import caller
from tests.reload.edited_daemon import CONFIG, SAY, Running
from tests.reload.plugin_gates import Stage

SERVICE = CONFIG + "services: {store: store.Store}\n"
STORE = """
class Store:
    word = "{}"
    async def __aenter__(self): {}; return self
    async def __aexit__(self, *_): pass
"""
WAIT = "from tests.reload.plugin_gates import stage; await stage.wait()"


# 1. Nothing observable changes until the new generation is read, validated, imported and started.


async def test_clause_1_nothing_changes_while_plugins_are_imported(gateway, stage: Stage) -> None:
    async with gateway() as one, caller(one.url) as old:
        one.config(CONFIG.replace("say:", "tell:") + "  /new: {}\n")
        one.plugin(
            "chat", "from tests.reload.plugin_gates import stage\nstage.hold()\n" + SAY.format(2)
        )
        reload = asyncio.create_task(one.reload())
        await stage.held()
        assert await old.call("say") == ["one"]
        assert await one.said() == "one"
        assert list((await one.api.status())["generations"]) == [1]
        stage.go()
        assert (await reload).result == "applied"
        assert (await old.call("say"))[0]["error"]["code"] == "unknown_event"
        assert await old.call("tell") == ["2"]


async def test_clause_1_nothing_changes_while_services_start(gateway, stage: Stage) -> None:
    chat = "async def say(ctx): return ctx.service.store.word\n"
    async with (
        gateway(SERVICE, chat=chat, store=STORE.format("one", "pass")) as one,
        caller(one.url) as old,
    ):
        one.plugin(
            "store",
            STORE.format("two", "from tests.reload.plugin_gates import stage; await stage.wait()"),
        )
        one.plugin("chat", chat + "# another\n")
        reload = asyncio.create_task(one.reload())
        await stage.waited_for()
        assert await old.call("say") == ["one"]
        assert await one.said() == "one"
        assert (await one.api.status())["generation"] == 1
        stage.go()
        assert (await reload).result == "applied"
        assert await old.call("say") == ["two"]


# 2. The swap is one assignment without `await`; a packet sees exactly one generation.


STAMPED = """
from tests.reload.plugin_gates import stage

async def outer(ctx, next):
    ctx.state["seen"] = ["{0} outer"]
    await next()
    ctx.reply = [*ctx.state["seen"], ctx.reply, "{0} outer"]

async def inner(ctx, next):
    ctx.state["seen"].append("{0} inner")
    await next()

async def say(ctx):
    await stage.wait()
    from ._lazy import word
    return word
"""


async def test_clause_2_a_packet_in_flight_finishes_in_its_generation(
    gateway, stage: Stage
) -> None:
    config = """
        reload: {watch: "off"}
        namespaces:
          /:
            packet_middleware: [chat.outer, chat.inner]
            routes: {say: chat.say}
    """
    async with (
        gateway(config, chat=STAMPED.format("old"), _lazy="word = 'old'") as one,
        caller(one.url) as client,
    ):
        in_flight = client.begin("say")
        await stage.waited_for()
        one.plugin("chat", STAMPED.format("new"))
        one.plugin("_lazy", "word = 'new'")
        assert (await one.reload()).result == "applied"
        next_one = client.begin("say")
        stage.go()
        assert await in_flight == [["old outer", "old inner", "old", "old outer"]]
        assert await next_one == [["new outer", "new inner", "new", "new outer"]]


async def test_clause_2_a_socket_stays_in_the_generation_that_accepted_it(
    gateway, stage: Stage
) -> None:
    """What was acquired before `next()` is released after it by the code that acquired it."""
    config = """
        reload: {watch: "off"}
        namespaces: {/: {connection_middleware: [door.door], routes: {say: door.say}}}
    """
    door = """
        from tests.reload.plugin_gates import stage
        async def door(ctx, next):
            stage.seen.append("{0} in")
            await next()
            from ._lazy import word
            stage.seen.append(word + " out")
        async def say(ctx): return "{0}"
    """
    async with (
        gateway(config, door=door.format("old"), _lazy="word = 'old'") as one,
        caller(one.url) as first,
    ):
        one.plugin("door", door.format("new"))
        one.plugin("_lazy", "word = 'new'")
        await one.reload()
        async with caller(one.url) as second:
            assert await first.call("say") == await second.call("say") == ["new"]
            assert (await one.api.status())["generations"] == {1: 1, 2: 1}
    assert stage.seen[:2] == ["old in", "new in"]
    assert sorted(stage.seen[2:]) == ["new out", "old out"]


# 3. Any failure leaves the old one serving and is reported with file, line and column.


FAILURES: dict[str, tuple[Callable[[Running], object], str]] = {
    "syntax": (lambda one: one.config("namespaces:\n  /: {\n"), "gateway.yaml:3:1: the file ends"),
    "schema": (
        lambda one: one.config(CONFIG + "server:\n  port: high\n"),
        "gateway.yaml:7:9: server.port: expected a port from 0 to 65535",
    ),
    "name": (
        lambda one: one.config(CONFIG.replace("chat.say", "chat.sya")),
        "gateway.yaml:5:19: namespaces./.routes.say: no plugin 'chat.sya', did you mean 'chat.say'",
    ),
    "plugin syntax": (
        lambda one: one.plugin("chat", SAY.format("two") + "def half("),
        "plugins/chat.py:2:9: cannot import: SyntaxError: '(' was never closed",
    ),
    "plugin raises": (
        lambda one: one.plugin("chat", SAY.format("two") + "\nprint(nothing)"),
        "plugins/chat.py:3:7: cannot import: NameError: name 'nothing' is not defined",
    ),
    "plugin exits": (
        lambda one: one.plugin("chat", SAY.format("two") + "import sys; sys.exit(3)"),
        "plugins/chat.py:2:13: cannot import: SystemExit: 3",
    ),
    "other plugin": (
        lambda one: one.plugin("other", "from .chat import nothing"),
        "plugins/other.py:1:1: cannot import: ImportError: cannot import name 'nothing' from ",
    ),
    "factory": (
        lambda one: one.plugin("chat", "def say():\n    raise OSError('no')"),
        "gateway.yaml:5:19: namespaces./.routes.say: 'chat.say' could not be made: OSError: no",
    ),
    "service": (
        lambda one: (
            one.plugin("store", STORE.format("one", "1 / 0")),
            one.config(SERVICE),
        ),
        "gateway.yaml:6:19: services.store: the service did not start: ZeroDivisionError: div",
    ),
    "certificate": (
        lambda one: one.config(CONFIG + "server: {tls: {cert: no.pem, key: gateway.yaml}}\n"),
        "gateway.yaml:6:15: server.tls: cannot read no.pem: No such file or directory",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_clause_3_a_failure_is_told_at_its_place_and_the_old_stays(gateway, failure) -> None:
    change, expected = FAILURES[failure]
    async with gateway() as one, caller(one.url) as client:
        for _ in range(2):
            change(one)
            verdict = await one.reload()
            assert (verdict.result, verdict.generation) == ("failed", 1)
            [problem] = [str(each).replace(f"{one.folder}/", "") for each in verdict.problems]
            assert problem.startswith(expected)
            assert await client.call("say") == ["one"]
            assert await one.said() == "one"
        one.config(CONFIG)
        shutil.rmtree(one.folder / "plugins")
        one.say("mended")
        verdict = await one.reload()
        assert (verdict.result, verdict.generation) == ("applied", 2)
        assert await client.call("say") == ["mended"]


@pytest.mark.parametrize("block", ["server", "admin"])
async def test_clause_3_a_port_that_is_taken_is_told_at_its_line(gateway, block: str) -> None:
    config = CONFIG + "server: {port: 0}\n"
    async with gateway(config, port=None) as one, caller(one.url) as client:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            one.config(CONFIG + f"{block}:\n  port: {port}\n")
            one.say("two")
            verdict = await one.reload()
        [problem] = verdict.problems
        assert str(problem) == (
            f"{one.file}:7:9: {block}.port: cannot listen on 127.0.0.1:{port}: "
            "Address already in use"
        )
        assert await client.call("say") == ["one"]
        assert await one.said() == "one"


async def test_clause_3_every_problem_is_told_at_once_in_log_and_status(gateway, caplog) -> None:
    async with gateway() as one:
        one.config(CONFIG.replace("chat.say", "chat.sya") + "  /x: {routes: {a: nothing.b}}\n")
        one.plugin("other", "import nowhere")
        verdict = await one.reload()
        assert len(verdict.problems) == 3
        told = (await one.api.status())["last_reload"]
        assert [each["message"] for each in told["problems"]] == [
            each.message for each in verdict.problems
        ]
        assert (told["result"], told["generation"]) == ("failed", 1)
        lines = "".join(f"\n  {problem}" for problem in verdict.problems)
        assert f"reload failed, generation 1 stays:{lines}" in caplog.text
