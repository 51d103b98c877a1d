"""The picture of a reload in the README shows what the programs print today."""

from __future__ import annotations

import html
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.ports import free_port

FILE = Path(__file__).parents[1] / "docs" / "recording.py"


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("recording", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "recording", module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def lasting(text: str) -> str:
    """A line without its times and the id of its socket."""
    text = re.sub(r"\d\d:\d\d:\d\d(\.\d+)?|[\d.]+ ms", "TIME", text)
    return re.sub(r"as \S+ by", "as ID by", text)


async def test_the_picture_is_of_today(recording: ModuleType) -> None:
    """After a change of what is printed: python docs/recording.py."""
    port = free_port()
    lines = await recording.record(port)
    today = [line.text.replace(str(port), "7001") for line in lines]
    rows = re.findall(r'<text x="14"[^>]*>(.*)</text>', recording.PICTURE.read_text())
    shown = [html.unescape(row) for row in rows if row not in recording.TERMINALS]
    assert sorted(map(lasting, shown)) == sorted(map(lasting, today))
