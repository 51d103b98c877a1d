"""The one-liners of docs/push.md, as they are written there."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.push.pushed_gateway import Phone, pushed, write_gateway

PAGE = (Path(__file__).parents[2] / "docs" / "push.md").read_text()
YAML = re.search(r"^# gateway.yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
AUTH = re.search(r"^# plugins/auth.py\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
CURLS = re.findall(r"^(curl .*)$", PAGE, re.MULTILINE)
[DJANGO] = re.findall(r"^python manage.py shell -c (.*)$", PAGE, re.MULTILINE)
[CRON] = re.findall(r"^0 8 \* \* \* (.*)$", PAGE, re.MULTILINE)
TOKEN = "0123456789abcdef"


async def run(line: str, url: str) -> str:
    """Run a line in a shell, with the address of the test's gateway; returns its output."""
    process = await asyncio.create_subprocess_shell(
        line.replace("http://127.0.0.1:7003", url),
        env={**os.environ, "SHOP_TOKEN": TOKEN},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


@pytest.fixture
async def shop(tmp_path: Path):
    assert YAML is not None
    assert AUTH is not None
    config = YAML[1].replace("port: 7003", "port: 0") + "server: {port: 0}\n"
    file = write_gateway(tmp_path, config)
    (tmp_path / "plugins" / "auth.py").write_text(AUTH[1])
    async with pushed(file) as (api, info):
        phone = Phone()
        await phone.connect(info.url, "42")
        yield api.url, phone
        await phone.close()


async def test_the_three_with_curl(shop: tuple[str, Phone]) -> None:
    url, phone = shop
    tell, ask, kick = CURLS
    assert await run(tell, url) == '{"sockets":1,"missing_members":[]}'
    assert await phone.next() == ("paid", [{"order": 7}])
    phone.answers = "yes"
    assert f'{{"socket":"{phone.id}","args":["yes"]}}' in await run(ask, url)
    assert await phone.next() == ("there?", [])
    assert await run(kick, url) == '{"sockets":1}'
    await asyncio.wait_for(phone.gone.wait(), 60)


async def test_from_djangos_shell(shop: tuple[str, Phone]) -> None:
    url, phone = shop
    code = shlex.split(DJANGO)[0]
    output = await run(f"{sys.executable} -c {shlex.quote(code)}", url)
    assert output == "{'sockets': 1, 'missing_members': []}\n"
    assert await phone.next() == ("paid", [])


async def test_from_a_cron_job(shop: tuple[str, Phone]) -> None:
    url, phone = shop
    for _ in range(2):  # cron takes `\%` for `%`
        assert await run(CRON.replace(r"\%", "%"), url) == '{"sockets":1,"missing_members":[]}'
    assert await phone.next() == ("offers", [])
    assert phone.events.empty()
