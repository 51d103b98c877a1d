"""Tokens that expire, and the official client: what it is told, and what the docs have it do."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.builtin import _stays
from tests.builtin.conftest import Wall, use
from tests.builtin.signing import SECRET, token
from tests.daemon_in_loop import served
from tests.deadline import deadline, until
from tests.gateway_files import write
from tests.js.install import NODE
from tests.js_client import JsDriver

ROOT = Path(__file__).parents[2]
HOUR = 3600

PAGE = """
const {{ io: connect }} = require("client4");
const tokens = {tokens};
const io = (options) => connect("{url}", options);
const fetchToken = async () => tokens.shift();
{snippet}
socket.on("connect", () => console.log("connect"));
socket.on("disconnect", (reason) => console.log(reason));
process.stdin.on("end", () => process.exit());
"""


def config() -> str:
    guarded = {
        "connection_middleware": [use("jwt", {"algorithms": ["HS256"], "key": SECRET})],
        "routes": {"auth.refresh": "builtin.jwt_refresh", "say": "plugin.say"},
    }
    return json.dumps({"reload": {"watch": "off"}, "namespaces": {"/": guarded}})


SAY = "async def say(ctx, *args): return args\n"


async def test_the_client_is_told_and_a_fresh_token_keeps_it(
    js: JsDriver, tmp_path: Path, wall: Wall
) -> None:
    now = int(time.time())
    async with served(write(tmp_path, config(), plugin=SAY)) as url:
        late = await js.connect(url, auth={"token": token(exp=now + HOUR)})
        fresh = await js.connect(url, auth={"token": token(exp=now + HOUR)})
        [answer] = await fresh.call("auth.refresh", token(exp=now + 3 * HOUR))
        assert 3 * HOUR - 120 < answer["expires_in"] < 3 * HOUR
        wall.ahead = HOUR + 1
        error = {"code": "token_expired", "message": "the token has expired"}
        assert await late.receive("error") == [{"error": error, "event": "connect"}]
        assert await late.receive("disconnect") == ["io server disconnect"]
        assert await fresh.call("say", 1) == [1]
        refused = {"code": "unauthorized", "message": "the token is of another subject"}
        assert await fresh.call("auth.refresh", token(sub="eve")) == [{"error": refused}]
        expired = await js.client(url, auth={"token": token(exp=now - 1)})
        [report] = await expired.receive("connect_error")
        assert (report["message"], report["data"]) == (
            "the token has expired",
            {"code": "unauthorized"},
        )
        wall.ahead = 3 * HOUR + 1
        assert await fresh.receive("disconnect") == ["io server disconnect"]


def snippet() -> str:
    """The JavaScript of the docs; it fetches a token when it is told to, not every ten minutes."""
    [text] = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "builtin.md").read_text(), re.DOTALL)
    every, minutes = "setInterval(async () => {", "}, 10 * 60_000);"
    assert text.count(every) == text.count(minutes) == 1
    return text.replace(every, 'process.stdin.on("data", async () => {').replace(minutes, "});")


@asynccontextmanager
async def page(url: str, *tokens: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A page that runs the JavaScript of the docs, and is given these tokens."""
    code = PAGE.format(url=url, tokens=json.dumps(tokens), snippet=snippet())
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(NODE, "-e", code), cwd=ROOT / "tests" / "js", stdin=pipe, stdout=pipe
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with deadline():
            await process.wait()


async def test_what_the_docs_have_a_page_do(js_packages: None, tmp_path: Path, wall: Wall) -> None:
    ends = [int(time.time()) + hours * HOUR for hours in (1, 2, 3)]
    async with (
        served(write(tmp_path, config(), plugin=SAY)) as url,
        page(url, *(token(exp=exp) for exp in ends)) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        async with deadline():
            assert await process.stdout.readline() == b"connect\n"
        process.stdin.write(b"refresh\n")
        await until(lambda: expiries() == [ends[1]])
        wall.ahead = HOUR + 1
        await wall.looked_at()
        assert expiries() == [ends[1]]
        wall.ahead = 2 * HOUR + 1
        async with deadline():
            assert await process.stdout.readline() == b"io server disconnect\n"
            assert await process.stdout.readline() == b"connect\n"
        assert expiries() == [ends[2]]


def expiries() -> list[int | None]:
    return [each._expires for each in _stays._STAYS.values()]
