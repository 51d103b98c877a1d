"""The queue of closing connections by itself."""

from __future__ import annotations

import asyncio

from gateway.http.closing import CloseQueue


async def test_one_that_raises_does_not_hold_up_the_others() -> None:
    reported: list[str] = []
    closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.append(str(context["exception"]))
    )

    def fail() -> None:
        raise ValueError("cannot close")

    queue = CloseQueue()
    queue.add(fail)
    queue.add(lambda: closed.set_result(None))
    await closed
    assert reported == ["cannot close"]
