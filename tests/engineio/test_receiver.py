"""What a session's receiver does is its own: its faults are logged and harm nobody."""

from __future__ import annotations

import pytest

from tests.engineio.conftest import LONG
from tests.engineio.echo_server import Server, Wire


@pytest.fixture
def pings() -> dict[str, float]:
    return LONG


async def test_a_fault_at_the_end_of_a_session_is_logged_and_leaves_nothing(
    server: Server, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError

    server.hooks.disconnect = fail
    await wire.open()
    assert (await wire.post("1")).body == "ok"
    assert server.engine.sessions == {}
    assert caplog.messages == ["a fault in the gateway itself"]
