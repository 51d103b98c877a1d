"""Two members that are peers, and an HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.cluster.members import Member, members


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


@pytest.fixture
async def pair() -> AsyncIterator[list[Member]]:
    """A member that is to own sessions, and one that forwards."""
    async with members("aaaaa", "bbbbb") as pair:
        yield pair
