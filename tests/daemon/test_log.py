"""The log: what is known of a packet, nothing that moves the cursor, and no secrets."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest

from gateway.config import Secrets
from gateway.daemon.log import hide, set_up

HOSTILE = "a\n18:00:00 ERROR   forged\x1b[2J\x9b\u202e\r"
PLAIN = r"a\n18:00:00 ERROR   forged\x1b[2J\x9b\u202e\r"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("sockgw", "asyncio")]
    before = [(each.handlers, each.propagate, each.level) for each in loggers]
    yield
    for each, (handlers, propagate, level) in zip(loggers, before, strict=True):
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


Written = Callable[[], str]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Written:
    """What was written to standard error since it was asked last."""
    return lambda: capsys.readouterr().err


def lines(text: str) -> list[str]:
    """Without the time."""
    return [line[9:] if line[2:3] == ":" else line for line in text.splitlines()]


def test_a_line_has_the_facts_of_a_packet(written: Written) -> None:
    set_up("console", verbose=False)
    facts = {"socket": "4fZk", "namespace": "/chat", "event": "say", "request_id": "0c-1-2"}
    logging.getLogger("sockgw.plugin").info("hello", extra=facts)
    assert lines(written()) == ["INFO    /chat 4fZk say 0c-1-2  hello"]


def test_json_has_them_by_name(written: Written) -> None:
    set_up("json", verbose=False)
    facts = {"socket": "4fZk", "namespace": "/chat", "event": HOSTILE, "request_id": "0c-1-2"}
    logging.getLogger("sockgw.plugin").info("hello", extra=facts)
    [line] = written().split("\n")[:-1]
    entry = json.loads(line)
    assert {key: entry[key] for key in facts} == facts
    assert entry["message"] == "hello"


def test_what_a_client_chose_moves_no_cursor_and_makes_no_line(written: Written) -> None:
    set_up("console", verbose=False)
    logging.getLogger("sockgw.plugin").info("hello", extra={"event": HOSTILE})
    logging.getLogger("sockgw.plugin").info("said %s", HOSTILE)
    assert lines(written()) == [
        f"INFO    {PLAIN[:40]}  hello",
        "INFO    said a",
        "  18:00:00 ERROR   forged\\x1b[2J\\x9b\\u202e\\r",
    ]


def test_no_line_of_a_traceback_starts_at_the_margin(written: Written) -> None:
    set_up("console", verbose=False)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("sockgw.plugin").exception("failed")
    first, *more = lines(written())
    assert first == "ERROR   failed"
    assert [line for line in more if not line.startswith("  ")] == []
    assert more[-1] == "  18:00:00 ERROR   forged\\x1b[2J\\x9b\\u202e\\r"


@pytest.mark.parametrize("format", ["console", "json"])
def test_secrets_are_masked_wherever_they_stand(written: Written, format) -> None:
    set_up(format, verbose=True)
    hide(Secrets(texts=("hushhush",)), Secrets(texts=("quietly",)))
    try:
        raise ValueError("redis://:hushhush@host")
    except ValueError:
        extra = {"event": "quietly"}
        logging.getLogger("sockgw.plugin").debug("it is %s", "hushhush", exc_info=True, extra=extra)
    text = written()
    assert "***" in text
    assert not re.search("hush|quiet", text)


def test_tasks_that_nobody_waits_for_are_told_alike(written: Written) -> None:
    set_up("json", verbose=False)
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    assert json.loads(written())["logger"] == "asyncio"
