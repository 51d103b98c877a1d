"""Who else may write what runs here is told at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon_in_loop import served
from tests.gateway_files import write


async def warnings(file: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    async with served(file):
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


async def test_plugins_that_any_user_may_write_are_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path, "namespaces: {/: }", chat="", rooms__lobby="")
    (tmp_path / "plugins").chmod(0o777)
    (tmp_path / "plugins/rooms/lobby.py").chmod(0o666)
    assert await warnings(file, caplog) == [
        f"any user may write {tmp_path}/plugins and 1 more, which runs as you: chmod -R o-w"
    ]


async def test_what_only_its_group_may_write_is_no_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path, "namespaces: {/: }", chat="")
    (tmp_path / "plugins").chmod(0o775)
    assert await warnings(file, caplog) == []
