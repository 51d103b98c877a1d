"""A save is read once: the work of a reload, counted from the file event to the verdict."""

from __future__ import annotations

import builtins
import io
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Document, schema
from gateway.errors import Problem
from tests.reload.edited_daemon import SAY, Running

CONFIG = """
reload: {quiet: 200ms, poll_interval: 1h}
include: conf.d/*.yaml
namespaces: {/: {routes: {say: chat.say}}}
"""

READ = ("gateway.yaml", "conf.d/more.yaml", "plugins/chat.py", "plugins/other.py")

COUNT = 3
"""Saves that are counted, so that a read after one's verdict is counted as well."""


class Work:
    """How often YAML was parsed, a document validated, and each file opened for reading."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.parses = self.validations = 0
        self.reads: Counter[str] = Counter()


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    counted = Work()
    parse, validate, opened = yaml.SafeLoader.__init__, schema.problems, io.open

    def counting_parse(loader: yaml.SafeLoader, stream: str) -> None:
        counted.parses += 1
        parse(loader, stream)

    def counting_validation(document: Document) -> Iterator[Problem]:
        counted.validations += 1
        return validate(document)

    def counting_open(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        path = Path(file) if isinstance(file, str | Path) else Path()
        if "r" in mode and path.is_relative_to(tmp_path):
            counted.reads[str(path.relative_to(tmp_path))] += 1
        return opened(file, mode, *args, **options)

    monkeypatch.setattr(yaml.SafeLoader, "__init__", counting_parse)
    monkeypatch.setattr(schema, "problems", counting_validation)
    monkeypatch.setattr(io, "open", counting_open)  # pathlib's
    monkeypatch.setattr(builtins, "open", counting_open)
    return counted


def saved(one: Running, number: int) -> str:
    one.say(f"word {number}")
    return "applied"


def saved_yaml(one: Running, number: int) -> str:
    one.config(CONFIG.replace("say:", f"say{number}:"))
    return "applied"


def broken(one: Running, number: int) -> str:
    one.plugin("chat", f"broken {number} (")
    return "failed"


def misnamed(one: Running, number: int) -> str:
    one.config(CONFIG.replace("chat.say", f"chat.say{number}"))
    return "failed"


def broken_yaml(one: Running, number: int) -> str:
    one.config(CONFIG + f"key{number}: [")
    return "failed"


SAVES = [saved, saved_yaml, broken, misnamed, broken_yaml]


@pytest.mark.parametrize("save", SAVES, ids=lambda each: each.__name__)
async def test_a_save_parses_and_validates_once_and_reads_each_file_twice(
    gateway, tmp_path: Path, work: Work, save: Callable[[Running, int], str]
) -> None:
    """Once to see that it has changed, once to load it; a load that fails reads no more."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/more.yaml").write_text("services: {}\n")
    async with gateway(CONFIG, chat=SAY.format("one"), other="x = 1") as one:
        # Until the watches are set; broken YAML names no plugin folders, so they change once.
        for number in range(2):
            result = save(one, number)
            assert (await one.verdict()).result == result
        work.clear()
        for number in range(2, 2 + COUNT):
            save(one, number)
            assert (await one.verdict()).result == result
        assert len(one.verdicts) == 2 + COUNT
        named = READ[:1] if save is broken_yaml else READ
        yamls = [name for name in named if name.endswith(".yaml")]
        assert (work.parses, work.validations) == (COUNT * len(yamls), COUNT)
        read = {name: work.reads[name] for name in READ if work.reads[name]}
        assert read == dict.fromkeys(named, 2 * COUNT)
