"""The admin listener's application: who may ask, and what is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.config.model import AdminConfig
from gateway.daemon.admin import add_routes
from gateway.daemon.plan import Plan
from gateway.daemon.reload import Verdict
from gateway.errors import ConfigError, Place, Problem

TOKEN = "a secret of 16 and more"
HERE = Path.cwd()
PROBLEM = Problem(Place("gateway.yaml", 3, 5), "server.port", "expected a port")


class Gateway:
    """What an admin listener tells of, with answers the test sets."""

    def __init__(self) -> None:
        self.admin = AdminConfig()
        self.file = Path("gateway.yaml")
        self.ready = True
        self.result: Any = "applied"
        self.asked: list[Path | None] = []

    async def is_ready(self) -> bool:
        return self.ready

    async def status(self) -> dict[str, Any]:
        return {"generation": 3}

    async def metrics(self) -> bytes:
        return b"sockgw_sockets 1.0\n"

    async def reload(self) -> Verdict:
        problems = (PROBLEM,) if self.result == "failed" else ()
        return Verdict("admin", self.result, 3, 1.5, 0.25, Plan(("+ /",)), problems)

    async def plan(self, file: Path | None) -> tuple[Plan, int]:
        self.asked.append(file)
        if self.result == "failed":
            raise ConfigError([PROBLEM])
        return Plan(("- /chat",), ("/chat",), ("server.path",)), 2


class Asking:
    def __init__(self, session: aiohttp.ClientSession, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.port = port
        self._session = session

    async def __call__(self, request: str, **options: Any) -> tuple[int, Any]:
        method, path = request.split()
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self._session.request(method, url, **options) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(text) if is_json else text


@pytest.fixture
async def ask() -> AsyncIterator[Asking]:
    gateway, app = Gateway(), web.Application()
    add_routes(app, gateway)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Asking(session, gateway, runner.addresses[0][1])
    await runner.cleanup()


async def test_health_and_readiness_are_two_things(ask: Asking) -> None:
    assert await ask("GET /healthz") == (200, {"healthy": True})
    assert await ask("GET /readyz") == (200, {"ready": True})
    ask.gateway.ready = False
    assert await ask("GET /healthz") == (200, {"healthy": True})
    assert await ask("GET /readyz") == (503, {"ready": False})


async def test_status_and_metrics_are_told(ask: Asking) -> None:
    assert await ask("GET /-/status") == (200, {"generation": 3})
    assert await ask("GET /metrics") == (200, "sockgw_sockets 1.0\n")


async def test_reload_answers_with_its_verdict(ask: Asking) -> None:
    verdict = {
        "trigger": "admin",
        "result": "applied",
        "generation": 3,
        "at": 1.5,
        "seconds": 0.25,
        "changes": ["+ /"],
        "removed": [],
        "pending": [],
        "emptied": [],
        "recovered": False,
        "problems": [],
    }
    assert await ask("POST /-/reload") == (200, verdict)
    ask.gateway.result = "failed"
    problem = {
        "file": f"{HERE}/gateway.yaml",  # who asks may be in another folder
        "line": 3,
        "column": 5,
        "path": "server.port",
        "message": "expected a port",
    }
    failed = {**verdict, "result": "failed", "problems": [problem]}
    assert await ask("POST /-/reload") == (409, failed)


async def test_plan_answers_with_what_would_change(ask: Asking) -> None:
    plan = {
        "changes": ["- /chat"],
        "removed": ["/chat"],
        "pending": ["server.path"],
        "emptied": [],
        "closed": 2,
        "problems": [],
    }
    assert await ask("POST /-/plan") == (200, plan)
    assert await ask("POST /-/plan", json={}) == (200, plan)
    assert ask.gateway.asked == [None, None]
    ask.gateway.result = "failed"
    status, answer = await ask("POST /-/plan")
    assert (status, [each["message"] for each in answer["problems"]]) == (409, ["expected a port"])


@pytest.mark.parametrize("file", ["gateway.yaml", str(HERE / "gateway.yaml"), "./gateway.yaml"])
async def test_the_daemons_own_file_may_be_named(ask: Asking, file: str) -> None:
    assert (await ask("POST /-/plan", json={"file": file}))[0] == 200
    assert ask.gateway.asked == [None]


async def test_where_anybody_may_ask_no_other_file_is_compared(ask: Asking, tmp_path: Path) -> None:
    """The daemon imports the plugins of what it compares."""
    ask.gateway.file = tmp_path / "gateway.yaml"
    link = tmp_path / "elsewhere" / "gateway.yaml"
    link.parent.mkdir()
    link.symlink_to(ask.gateway.file)
    message = (
        "no other file than the daemon's own is compared, since its plugins would be imported for"
        " anybody on this machine: set admin.token, or listen on admin.socket"
    )
    for file in ("/etc/other.yaml", str(tmp_path / "other.yaml"), str(link), "gateway.yaml"):
        refusal = (403, {"error": message})
        assert await ask("POST /-/plan", json={"file": file}) == refusal
    assert ask.gateway.asked == []


@pytest.mark.parametrize("admin", [AdminConfig(token=TOKEN), AdminConfig(socket=Path("a.sock"))])
async def test_where_only_some_may_ask_every_file_is_compared(
    ask: Asking, admin: AdminConfig
) -> None:
    ask.gateway.admin = admin
    headers = {"Authorization": f"Bearer {TOKEN}"}
    other = {"file": "/etc/other.yaml"}
    assert (await ask("POST /-/plan", json=other, headers=headers))[0] == 200
    assert ask.gateway.asked == [Path("/etc/other.yaml")]


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "7",
        '{"file": 7}',
        '{"file": null}',
        '"file"',
        "\xff",
        '{"file": "a\\u0000/b"}',
        '{"file": "\\ud800/b"}',
    ],
)
async def test_plan_of_nonsense_is_refused(ask: Asking, body: str) -> None:
    expected = (400, {"error": 'expected {"file": "PATH"}'})
    assert await ask("POST /-/plan", data=body.encode("latin-1")) == expected
    assert ask.gateway.asked == []


ALL = ["GET /-/status", "GET /metrics", "POST /-/reload", "POST /-/plan"]


@pytest.mark.parametrize("request_", ALL)
async def test_with_a_token_only_its_bearer_is_answered(ask: Asking, request_: str) -> None:
    ask.gateway.admin = AdminConfig(token=TOKEN)
    refusal = (401, {"error": "a bearer token is needed"})
    assert await ask(request_) == refusal
    for header in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN):
        assert await ask(request_, headers={"Authorization": header}) == refusal
    status, _ = await ask(request_, headers={"Authorization": f"Bearer {TOKEN}"})
    assert status == 200


@pytest.mark.parametrize("request_", ["GET /healthz", "GET /readyz"])
async def test_health_checks_need_no_token(ask: Asking, request_: str) -> None:
    ask.gateway.admin = AdminConfig(token=TOKEN)
    assert (await ask(request_))[0] == 200


async def test_token_that_is_no_text_is_a_wrong_one(ask: Asking) -> None:
    ask.gateway.admin = AdminConfig(token=TOKEN)
    reader, writer = await asyncio.open_connection("127.0.0.1", ask.port)
    writer.write(
        b"GET /-/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Authorization: Bearer \xff\xfe\r\n\r\n"
    )
    assert (await reader.readline()).startswith((b"HTTP/1.1 401", b"HTTP/1.1 400"))
    writer.close()


@pytest.mark.parametrize("request_", [*ALL, "GET /healthz"])
async def test_web_pages_are_refused_even_with_the_token(ask: Asking, request_: str) -> None:
    """A page that the operator's browser shows reaches loopback as well."""
    ask.gateway.admin = AdminConfig(token=TOKEN)
    headers = {"Origin": "https://evil.example", "Authorization": f"Bearer {TOKEN}"}
    assert await ask(request_, headers=headers) == (403, {"error": "not for web pages"})


@pytest.mark.parametrize("request_", ["GET /-/reload", "GET /-/plan", "POST /-/status"])
async def test_nothing_is_done_by_the_wrong_method(ask: Asking, request_: str) -> None:
    assert (await ask(request_))[0] == 405


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7002", "", "127.0.0.1.evil.example"]
)
async def test_without_a_token_the_name_of_a_web_page_leads_nowhere(ask: Asking, host: str) -> None:
    """A page may have its own name resolve to this machine; its requests then have no Origin."""
    for request in ("GET /-/status", "GET /metrics", "GET /healthz", "POST /-/reload"):
        status, answer = await ask(request, headers={"Host": host})
        assert (status, answer) == (
            403,
            {"error": "this host name is not allowed: use localhost, or set admin.token"},
        )


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7002", "127.0.0.1", "[::1]:7002"])
async def test_names_of_this_machine_are_allowed(ask: Asking, host: str) -> None:
    assert (await ask("GET /-/status", headers={"Host": host}))[0] == 200


async def test_with_a_token_any_name_will_do(ask: Asking) -> None:
    ask.gateway.admin = AdminConfig(token=TOKEN)
    headers = {"Host": "gateway.example", "Authorization": f"Bearer {TOKEN}"}
    assert (await ask("GET /-/status", headers=headers))[0] == 200
