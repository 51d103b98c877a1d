"""What a daemon tells of itself and of its reloads: status, metrics, plan, log, service manager."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.deadline import deadline
from tests.reload.calling_client import caller
from tests.reload.edited_daemon import CONFIG, SAY
from tests.reload.plugin_gates import Stage

ADMIN = CONFIG + "admin: {socket: admin.sock}\n"


async def test_status_tells_what_is_served_and_what_became_of_the_last_reload(gateway) -> None:
    async with gateway(ADMIN) as one, caller(one.url) as client:
        assert await client.call("say") == ["one"]
        status = await one.get("/-/status")
        times = [status.pop(key) for key in ("started", "since", "time")]
        assert 0 < times[0] <= times[1] <= times[2]
        digest = status.pop("digest")
        outcomes = status.pop("outcomes")
        assert status.pop("refused") == []
        assert (status.pop("pid") > 0, status.pop("version")) == (True, version("sockgw"))
        assert {outcome: count for outcome, count in outcomes.items() if count} == {"ok": 1}
        assert status == {
            "file": str(one.file),
            "url": one.url,
            "generation": 1,
            "degraded": [],
            "last_reload": None,
            "generations": {"1": 0},
            "old_generations": [],
            "sockets": {"/": 1},
            "services": [],
            "placed": {},
            "pending": [],
            "watcher": {"mode": "off", "up": False},
            "backends": {},
        }
        one.config(ADMIN + "services: {kind: chat.Kind}\n")
        one.plugin("chat", SAY.format("two") + "class Kind: pass\n")
        verdict = await one.post("/-/reload")
        status = await one.get("/-/status")
        assert status["last_reload"] == verdict
        assert verdict["changes"] == ["+ service 'kind'", "~ plugins/chat.py"]
        assert status["started"] == times[0]
        assert status["since"] > times[1]
        assert (status["generation"], status["services"]) == (2, ["kind"])
        assert status["digest"] != digest


async def test_a_token_is_never_told(gateway, caplog) -> None:
    config = CONFIG + "admin: {socket: admin.sock, token: first secret of 16}\n"
    async with gateway(config) as one:
        one.config(config.replace("first", "second"))
        verdict = await one.reload()
        assert verdict.plan.changes == ("~ admin.token",)
        one.config(CONFIG)
        await one.reload()
        told = repr(one.verdicts) + caplog.text + repr(await one.api.status())
        assert "secret" not in told


def values(metrics: str) -> dict[str, float]:
    lines = (line for line in metrics.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_metrics_count_traffic_and_reloads(gateway) -> None:
    async with gateway(ADMIN) as one, caller(one.url) as client:
        await client.call("say")
        await client.call("nothing")
        assert "sockgw_config_last_reload_successful" not in values(await one.get("/metrics"))
        one.say("two")
        await one.post("/-/reload")
        await one.post("/-/reload")
        one.plugin("chat", "broken (")
        await one.post("/-/reload")
        metrics = values(await one.get("/metrics"))
        assert metrics.pop("sockgw_config_last_reload_timestamp_seconds") > 1e9
        assert metrics.pop("sockgw_connections") >= 1
        assert {name: value for name, value in metrics.items() if value} == {
            'sockgw_sockets{namespace="/"}': 1,
            'sockgw_packets_total{outcome="ok"}': 1,
            'sockgw_packets_total{outcome="unknown_event"}': 1,
            'sockgw_config_reloads_total{result="applied",trigger="admin"}': 1,
            'sockgw_config_reloads_total{result="unchanged",trigger="admin"}': 1,
            'sockgw_config_reloads_total{result="failed",trigger="admin"}': 1,
            "sockgw_config_generation": 2,
            "sockgw_generations_alive": 1,
        }
        assert metrics["sockgw_config_last_reload_successful"] == 0
        one.say("two")
        await one.post("/-/reload")
        assert values(await one.get("/metrics"))["sockgw_config_last_reload_successful"] == 1


@pytest.mark.parametrize("file", ["/dev/zero", "pipe"])
async def test_a_plan_of_what_is_no_file_is_refused(gateway, tmp_path, file) -> None:
    os.mkfifo(tmp_path / "pipe")
    async with gateway(ADMIN) as one:
        plan = await one.post("/-/plan", json={"file": str(tmp_path / file)})
    [problem] = plan["problems"]
    assert problem["file"] == str(tmp_path / file)
    assert problem["message"] == "this is not a file"


async def test_metrics_count_checks_by_schemas(gateway) -> None:
    config = ADMIN.replace("say: chat.say", "say: {use: chat.say, schema: []}")
    async with gateway(config) as one, caller(one.url) as client:
        await client.call("say")
        await client.call("say", 1)
        metrics = values(await one.get("/metrics"))
    assert metrics['sockgw_schema_checks_total{result="valid"}'] == 1
    assert metrics['sockgw_schema_checks_total{result="refused"}'] == 1
    assert metrics["sockgw_schema_seconds_total"] > 0


async def test_plan_tells_what_a_reload_would_do_and_does_nothing(gateway) -> None:
    config = CONFIG + "  /going: {routes: {say: chat.say}}\nadmin: {socket: admin.sock}\n"
    async with gateway(config) as one, caller(one.url, "/going") as client:
        one.config(ADMIN + "server: {path: /else/}\n")
        plan = await one.post("/-/plan")
        assert plan == {
            "changes": ["~ server.path: /socket.io/ -> /else/", "- /going"],
            "removed": ["/going"],
            "pending": ["server.path"],
            "emptied": [],
            "closed": 1,
            "problems": [],
        }
        assert await client.call("say") == ["one"]
        assert (await one.api.status())["generation"] == 1
        assert one.verdicts == []
        other = one.folder / "other.yaml"
        other.write_text("namespaces: {/: {routes: {say: chat.sya}}}")
        [problem] = (await one.post("/-/plan", json={"file": str(other)}))["problems"]
        assert (problem["file"], problem["path"]) == (str(other), "namespaces./.routes.say")


async def test_a_plan_and_the_reload_after_it_say_the_same(gateway) -> None:
    async with gateway(ADMIN) as one:
        more = "  /more: {order: serial}\nadmin:"
        one.config(ADMIN.replace("say:", "tell:").replace("admin:", more))
        one.say("two")
        plan = await one.post("/-/plan")
        verdict = await one.post("/-/reload")
        assert verdict["changes"] == plan["changes"] != []


async def test_log_tells_each_reload_in_a_few_lines(gateway, caplog) -> None:
    caplog.set_level("INFO", "sockgw")
    async with gateway() as one:
        one.config(CONFIG.replace("say:", "tell:"))
        await one.reload()
        await one.reload()
        one.config("")
        await one.reload()
    told = [re.sub(r"\d+ ms", "N ms", each) for each in caplog.messages]
    assert told[:2] == [
        "generation 2 serves after N ms\n  - / route 'say'\n  + / route 'tell'",
        "reload: nothing has changed",
    ]
    assert told[2].startswith(f"reload failed, generation 2 stays:\n  {one.file}:1:1: ")
    assert told[3] == "stopping"


async def test_a_reload_that_works_again_is_told(gateway, caplog) -> None:
    """Whatever was wrong: the file, a plugin, or a service that did not start."""
    caplog.set_level("INFO", "sockgw")
    async with gateway() as one:
        one.config("")
        await one.reload()
        one.config(CONFIG)
        await one.reload()
        one.plugin("chat", "1 / 0")
        await one.reload()
        one.say("two")
        await one.reload()
        await one.reload()
    told = [re.sub(r"\d+ ms", "N ms", each) for each in caplog.messages]
    assert told[1] == "valid again: generation 1 stays"
    assert told[3].startswith("valid again: generation 2 serves after N ms\n  ")
    assert told[4] == "reload: nothing has changed"


async def test_service_manager_is_told_of_each_step(gateway, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.setblocking(False)

        async def told() -> str:
            async with deadline():
                text = (await loop.sock_recv(sock, 4096)).decode()
            return re.sub(r"\d{4,}", "N", text.replace(one.url, "URL").replace(str(tmp_path), ""))

        async with gateway(environ={"NOTIFY_SOCKET": str(path)}) as one:
            assert await told() == "READY=1\nSTATUS=generation 1 serves at URL"
            one.say("two")
            await one.reload()
            assert await told() == "RELOADING=1\nMONOTONIC_USEC=N"
            assert await told() == "READY=1\nSTATUS=generation 2 serves at URL"
            one.plugin("chat", "1 / 0")
            await one.reload()
            assert await told() == "RELOADING=1\nMONOTONIC_USEC=N"
            assert await told() == (
                "READY=1\nSTATUS=generation 2 serves at URL; the last reload failed: "
                "/plugins/chat.py:1:1: cannot import: ZeroDivisionError: division by zero"
            )
        assert await told() == "STOPPING=1\nSTATUS=stopping"


async def test_those_who_wait_for_a_reload_when_the_daemon_stops_are_told(
    gateway, stage: Stage
) -> None:
    async with gateway(ADMIN) as one:
        one.plugin(
            "chat", "from tests.reload.plugin_gates import stage\nstage.hold()\n" + SAY.format(2)
        )
        asked = [asyncio.create_task(one.post("/-/reload")) for _ in range(2)]
        await stage.held()
        one.daemon.stop()
        async with deadline():
            answers = [await each for each in asked]
    for answer in answers:
        assert answer["result"] == "failed"
        assert [problem["message"] for problem in answer["problems"]] == ["the gateway is stopping"]


async def test_readiness_ends_when_the_daemon_stops_and_health_does_not(
    gateway, stage: Stage
) -> None:
    wait = "from tests.reload.plugin_gates import stage\nasync def say(ctx): await stage.wait()\n"
    async with gateway(ADMIN, chat=wait) as one, caller(one.url) as client:
        assert await one.get("/readyz") == {"ready": True}
        call = client.begin("say")
        await stage.waited_for()
        one.daemon.stop()
        assert await one.get("/readyz") == {"ready": False}
        assert await one.get("/healthz") == {"healthy": True}
        stage.go()
        assert await call == []


async def test_a_warning_is_logged_once(gateway, caplog) -> None:
    config = CONFIG.replace("chat.say", "chat.say, connection: chat.say")
    warning = "warning: namespaces./.routes.connection: an event that clients send"
    async with gateway(config) as one:
        assert caplog.text.count(warning) == 1
        one.say("two")
        await one.reload()
        assert caplog.text.count(warning) == 1
        one.config(config + "server: {max_payload: 2MB}\n")
        await one.reload()
        assert caplog.text.count(warning) == 1


async def test_a_mistake_in_the_file_hides_none_in_a_plugin(gateway, caplog) -> None:
    async with gateway(CONFIG) as one:
        one.config(CONFIG + "serve: {}\n")
        one.plugin("chat", "async def say(ctx)\n    return 1\n")
        verdict = await one.reload()
        assert [problem.message for problem in verdict.problems] == [
            "unknown key 'serve', did you mean 'server'?",
            "cannot import: SyntaxError: expected ':'",
        ]
        assert "      async def say(ctx)\n                        ^" in caplog.text
