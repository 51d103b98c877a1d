from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.push.pushed_gateway import Api, Phone, pushed, write_gateway

Connect = Callable[..., Awaitable[Phone]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_gateway(tmp_path)


@pytest.fixture
async def served(file: Path) -> AsyncIterator[tuple[Api, Connect]]:
    """The api of a gateway, and how to connect phones to it."""
    async with AsyncExitStack() as stack:
        api, info = await stack.enter_async_context(pushed(file))

        async def connect(user: object = None, *rooms: str) -> Phone:
            phone = Phone()
            await phone.connect(info.url, user, *rooms)
            stack.push_async_callback(phone.close)
            return phone

        yield api, connect


@pytest.fixture
def api(served: tuple[Api, Connect]) -> Api:
    return served[0]


@pytest.fixture
def connect(served: tuple[Api, Connect]) -> Connect:
    return served[1]
