"""What the other side says cannot change the terminal, nor break a verb."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import Result

from tests.cli.invoke import invoke

ESCAPE = "\x1b]0;x\x07\x9b2J\u202e"
PROBLEM = {"file": ESCAPE, "line": 1, "column": 1, "path": ESCAPE, "message": ESCAPE}
PLAN = {"changes": [ESCAPE], "removed": [ESCAPE], "pending": [ESCAPE]}
VERDICT = {
    "trigger": ESCAPE,
    "result": "failed",
    "generation": 1,
    "at": 1,
    "seconds": 0,
    **PLAN,
    "problems": [PROBLEM],
}
STATUS = {
    "file": ESCAPE,
    "url": ESCAPE,
    "started": 1,
    "generation": ESCAPE,
    "since": 1,
    "digest": ESCAPE,
    "degraded": [PROBLEM],
    "last_reload": VERDICT,
    "generations": {ESCAPE: 1},
    "old_generations": [
        {"generation": ESCAPE, "packets": 3, "chains": 1, "cancelled": 1, "until": 1}
    ],
    "sockets": {ESCAPE: ESCAPE},
    "services": [ESCAPE],
    "pending": [ESCAPE],
    "refused": [{"what": ESCAPE, "who": ESCAPE, "cure": ESCAPE, "count": 2, "at": 1}],
    "watcher": {"mode": ESCAPE, "up": False},
}
HOSTILE = {
    "status": (200, STATUS),
    "reload": (409, VERDICT),
    "plan": (200, {**PLAN, "closed": 2, "problems": []}),
}
ODD: list[Any] = [
    *("{", "[]", "null", "7", '"text"', "{}", "[" * 100_000, "\xff", '{"problems": 1}'),
    *(json.dumps({**answer, key: 7}) for _, answer in HOSTILE.values() for key in ("problems",)),
    json.dumps({**STATUS, "since": 1e300}),
    json.dumps({**STATUS, "watcher": {"mode": "auto"}}),
    json.dumps({**VERDICT, "problems": [{**PROBLEM, "message": 7}]}),
    json.dumps({**VERDICT, "seconds": "long"}),
    json.dumps({**PLAN, "changes": [7], "closed": 0, "seconds": 0}),
]

Ask = Callable[..., Awaitable[Result]]


@asynccontextmanager
async def answering(status: int, body: str) -> AsyncIterator[Ask]:
    """A listener that gives one answer; asks it with a verb."""

    async def answer(_: web.Request) -> web.Response:
        data = body.encode("utf-8", "surrogatepass") if body != "\xff" else b"\xff"
        return web.Response(status=status, body=data, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def ask(verb: str, *args: str) -> Result:
        return await asyncio.to_thread(invoke, verb, "gateway.yaml", "--admin", url, *args)

    try:
        yield ask
    finally:
        await runner.cleanup()


FORMATS = [(verb, form) for verb in HOSTILE for form in ("text", "json", "github")]
FORMATS.remove(("status", "github"))


@pytest.mark.parametrize(("verb", "form"), FORMATS)
async def test_what_an_admin_listener_says_is_escaped(verb: str, form: str) -> None:
    status, answer = HOSTILE[verb]
    async with answering(status, json.dumps(answer)) as ask:
        result = await ask(verb, "--format", form)
    assert not isinstance(result.exception, Exception)
    said = result.stdout + result.stderr
    assert all(character.isprintable() or character == "\n" for character in said)
    assert "\\u001b]0;x" in said


async def test_json_is_the_same_when_it_is_read(tmp_path: Path) -> None:
    async with answering(200, json.dumps(STATUS)) as ask:
        result = await ask("status", "--format", "json")
    assert json.loads(result.stdout) == {**STATUS, "problems": [PROBLEM], "warnings": []}


async def test_so_is_a_refusal() -> None:
    async with answering(403, json.dumps({"error": ESCAPE})) as ask:
        result = await ask("status")
    assert result.exit_code == 1
    assert "refuses: \\u001b]0;x" in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("verb", HOSTILE)
@pytest.mark.parametrize("status", [200, 409, 403])
async def test_an_answer_of_another_shape_is_an_error_message(verb: str, status: int) -> None:
    for body in ODD:
        async with answering(status, body) as ask:
            result = await ask(verb)
        assert not isinstance(result.exception, Exception), body[:80]
        assert "Traceback" not in result.stderr
        if result.exit_code == 1:
            assert result.stderr.startswith("Error: http://127.0.0.1:")
