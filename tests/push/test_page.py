"""The one-liners of docs/push.md, as they are written there."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.push.pushed_gateway import Phone, pushed, write_gateway

PAGE = (Path(__file__).parents[2] / "docs" / "push.md").read_text()
YAML = re.search(r"^# gateway.yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
AUTH = re.search(r"^# plugins/auth.py\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
CURLS = re.findall(r"^(curl .*)$", PAGE, re.MULTILINE)
DJANGO = re.findall(r"^python (manage.py shell -c .*)$", PAGE, re.MULTILINE)
CRON = re.findall(r"^\S+ \S+ \* \* \* (.*)$", PAGE, re.MULTILINE)
Shop = tuple[str, Phone, Callable[[str], Awaitable[Phone]]]
TOKEN = "0123456789abcdef"


async def run(line: str, url: str, folder: Path | None = None) -> str:
    """Run a line in a shell, with the address of the test's gateway; returns its output."""
    process = await asyncio.create_subprocess_shell(
        line.replace("http://127.0.0.1:7003", url),
        cwd=folder,
        env={**os.environ, "SHOP_TOKEN": TOKEN},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """The gateway of the page: its api, a phone of user 42, and how to connect others."""
    assert YAML is not None
    assert AUTH is not None
    config = YAML[1].replace("port: 7003", "port: 0") + "server: {port: 0}\n"
    file = write_gateway(tmp_path, config)
    (tmp_path / "plugins" / "auth.py").write_text(AUTH[1])
    async with AsyncExitStack() as stack:
        api, info = await stack.enter_async_context(pushed(file))

        async def connect(user: str) -> Phone:
            phone = Phone()
            await phone.connect(info.url, user)
            stack.push_async_callback(phone.close)
            return phone

        yield api.url, await connect("42"), connect


async def test_the_three_with_curl(shop: Shop) -> None:
    url, phone, _ = shop
    tell, ask, kick = CURLS
    assert await run(tell, url) == '{"sockets":1,"missing_members":[]}'
    assert await phone.next() == ("paid", [{"order": 7}])
    phone.answers = "yes"
    assert f'{{"socket":"{phone.id}","args":["yes"]}}' in await run(ask, url)
    assert await phone.next() == ("there?", [])
    assert await run(kick, url) == '{"sockets":1}'
    await asyncio.wait_for(phone.gone.wait(), 60)


async def test_the_three_from_djangos_shell(shop: Shop, tmp_path: Path) -> None:
    url, phone, _ = shop
    python = shlex.quote(sys.executable)
    await run(f"{python} -m django startproject site_of_shop .", url, tmp_path)
    tell, ask, kick = [f"{python} {each}" for each in DJANGO]
    # Before that, Django may tell what it has imported.
    assert (await run(tell, url, tmp_path)).endswith("{'sockets': 1, 'missing_members': []}\n")
    assert await phone.next() == ("paid", [{"order": 7}])
    phone.answers = "yes"
    assert f"{{'socket': '{phone.id}', 'args': ['yes']}}" in await run(ask, url, tmp_path)
    assert await phone.next() == ("there?", [])
    assert (await run(kick, url, tmp_path)).endswith("{'sockets': 1}\n")
    await asyncio.wait_for(phone.gone.wait(), 60)


async def test_the_three_from_cron_jobs(shop: Shop) -> None:
    url, phone, connect = shop
    tell, ask, kick = [each.replace(r"\%", "%") for each in CRON]  # as cron does
    for _ in range(2):
        assert await run(tell, url) == ""
    assert await phone.next() == ("offers", [])
    assert await run(ask, url) == "the till is not there\n"
    till = await connect("till")
    till.answers = "yes"
    assert await run(ask, url) == ""
    assert await run(kick, url) == ""
    await asyncio.wait_for(phone.gone.wait(), 60)
    assert phone.events.empty()
    assert not till.gone.is_set()
