"""The log: what is known of a packet, nothing that moves the cursor, and no secrets."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.config import Secrets
from gateway.config.model import LogConfig, LogLevel
from gateway.daemon.log import configure, hide, problem_fields, set_up
from gateway.errors import Place, Problem

HOSTILE = "a\n18:00:00 ERROR   forged\x1b[2J\x9b\u202e\r"
PLAIN = r"a\n18:00:00 ERROR   forged\x1b[2J\x9b\u202e\r"


LOGGERS = ("", "sockgw", "asyncio", "python", "py.warnings", "stdout", "stderr")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for place, name in (
        (warnings, "showwarning"),
        (threading, "excepthook"),
        *((sys, each) for each in ("excepthook", "unraisablehook", "stdout", "stderr")),
    ):
        monkeypatch.setattr(place, name, getattr(place, name))
    loggers = [logging.getLogger(name) for name in (*LOGGERS, "shop", "sockgw.reload")]
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
    set_up("text", verbose=False)
    facts = {"socket": "4fZk", "namespace": "/chat", "event": "say", "request_id": "0c-1-2"}
    logging.getLogger("sockgw.plugin").info("hello", extra=facts)
    assert lines(written()) == ["INFO    /chat 4fZk say 0c-1-2  hello"]


def test_a_worker_is_named_in_each_record(written: Written) -> None:
    set_up("json", worker=2)
    logging.getLogger("sockgw.server").info("hello")
    logging.getLogger("shop").warning("a plugin's own")
    assert [json.loads(line)["worker"] for line in written().splitlines()] == [2, 2]


def test_a_line_begins_with_the_worker(written: Written) -> None:
    set_up("text", worker=2)
    logging.getLogger("sockgw.server").info("hello")
    assert lines(written()) == ["INFO    [2] hello"]


def test_json_has_them_by_name(written: Written) -> None:
    set_up("json", verbose=False)
    facts = {"socket": "4fZk", "namespace": "/chat", "event": HOSTILE, "request_id": "0c-1-2"}
    logging.getLogger("sockgw.plugin").info("hello", extra=facts)
    [line] = written().split("\n")[:-1]
    entry = json.loads(line)
    assert {key: entry[key] for key in facts} == facts
    assert entry["message"] == "hello"


def test_what_a_client_chose_moves_no_cursor_and_makes_no_line(written: Written) -> None:
    set_up("text", verbose=False)
    logging.getLogger("sockgw.plugin").info("hello", extra={"event": HOSTILE})
    logging.getLogger("sockgw.plugin").info("said %s", HOSTILE)
    assert lines(written()) == [
        f"INFO    {PLAIN[:40]}  hello",
        "INFO    said a",
        "  18:00:00 ERROR   forged\\x1b[2J\\x9b\\u202e\\r",
    ]


def test_no_line_of_a_traceback_starts_at_the_margin(written: Written) -> None:
    set_up("text", verbose=False)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("sockgw.plugin").exception("failed")
    first, *more = lines(written())
    assert first == "ERROR   failed"
    assert [line for line in more if not line.startswith("  ")] == []
    assert more[-1] == "  18:00:00 ERROR   forged\\x1b[2J\\x9b\\u202e\\r"


@pytest.mark.parametrize("format", ["text", "json"])
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


def entries(text: str) -> list[dict[str, Any]]:
    """The objects of a log in JSON, each on its line."""
    return [json.loads(line) for line in text.splitlines()]


def test_the_time_is_rfc_3339_with_milliseconds(written: Written) -> None:
    set_up("json")
    logging.getLogger("sockgw.server").info("now")
    [entry] = entries(written())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"])
    assert abs(datetime.now(UTC) - datetime.fromisoformat(entry["time"])) < timedelta(hours=1)


def test_problems_are_a_field(written: Written) -> None:
    set_up("json")
    problem = Problem(Place("gateway.yaml", 3, 5), "server.prot", "unknown key")
    fields = problem_fields("reload failed", [problem])
    logging.getLogger("sockgw.reload").error("reload failed:\n%s", problem, extra=fields)
    [entry] = entries(written())
    assert (entry["message"], entry["problems"]) == ("reload failed", [problem.as_dict()])


def test_fields_of_a_plugin_are_fields(written: Written) -> None:
    set_up("json")
    hide(Secrets(texts=("hushhush",)))
    order = {"id": 7, "of": ["hushhush"], "rate": float("nan"), "who": object}
    logging.getLogger("shop").info("sold", extra={"order": order, "level": "high"})
    [entry] = entries(written())
    assert entry["order"] == {"id": 7, "of": ["***"], "rate": "nan", "who": "<class 'object'>"}
    assert entry["level"] == "info"


def test_nothing_ends_a_line_but_its_end(written: Written) -> None:
    set_up("json")
    logging.getLogger("shop").info("a\u2028b\x85c\x0bd\ud800")
    assert entries(written())[0]["message"] == "a\u2028b\x85c\x0bd\ud800"


def test_what_is_printed_is_a_record(written: Written) -> None:
    set_up("json")
    print("two\nlines")
    print("in", end=" ", flush=True)
    print("parts")
    print()
    print("aside", file=sys.stderr)
    sys.stdout.buffer.write(b"bytes \xff\n")
    found = [(each["logger"], each["level"], each["message"]) for each in entries(written())]
    assert found == [
        ("stdout", "info", "two\nlines"),
        ("stdout", "info", "in parts"),
        ("stderr", "warning", "aside"),
        ("stdout", "info", "bytes \\xff"),
    ]


def test_a_line_without_an_end_is_not_kept_for_ever(written: Written) -> None:
    set_up("json")
    for _ in range(100):
        print("x" * 1000, end="")
    assert [len(each["message"]) for each in entries(written())] == [65_000]


def test_threads_print_lines_of_their_own(written: Written) -> None:
    set_up("json")
    print("mine", end="")
    thread = threading.Thread(target=print, args=["theirs"])
    thread.start()
    thread.join()
    print()
    assert [each["message"] for each in entries(written())] == ["theirs", "mine"]


def test_in_text_what_is_printed_goes_where_it_would(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up("text")
    print("plain", flush=True)
    print("aside", file=sys.stderr)
    assert capsys.readouterr() == ("plain\n", "aside\n")


def test_warnings_are_records(written: Written) -> None:
    set_up("json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn_explicit("old", DeprecationWarning, "plugins/chat.py", 7)
    [entry] = entries(written())
    assert (entry["logger"], entry["level"]) == ("py.warnings", "warning")
    assert entry["message"] == "plugins/chat.py:7: DeprecationWarning: old"
    assert (entry["file"], entry["line"], entry["category"]) == (
        *("plugins/chat.py", 7),
        "DeprecationWarning",
    )


def test_exceptions_of_threads_and_finalizers_are_records(written: Written) -> None:
    set_up("json")

    class Odd:
        def __del__(self) -> None:
            raise ValueError("at the end")

    thread = threading.Thread(target=lambda: 1 / 0, name="worker")
    thread.start()
    thread.join()
    Odd()
    first, second = entries(written())
    assert first["message"] == "ZeroDivisionError ended the thread 'worker'"
    assert first["traceback"].endswith("\nZeroDivisionError: division by zero")
    assert second["message"].startswith("ValueError was ignored in: <function ")
    assert second["traceback"].endswith("\nValueError: at the end")


def test_a_thread_may_exit(written: Written) -> None:
    set_up("json")
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    assert written() == ""


def test_a_log_call_that_fails_is_told_at_its_line(written: Written) -> None:
    set_up("json")
    logging.getLogger("shop").info("%d", "x")
    [entry] = entries(written())
    assert re.match(r"the log call at .*test_log\.py:\d+ fails: TypeError\(", entry["message"])


def test_a_handler_of_a_plugin_makes_no_other_lines(written: Written) -> None:
    set_up("json")
    logging.basicConfig(force=True, format="%(message)s")
    try:
        logging.getLogger("shop").warning("theirs")
        logging.getLogger("sockgw.plugin").warning("ours")
        traceback.print_exception(ValueError("printed"))
    finally:
        logging.getLogger().handlers.clear()
    found = [(each["logger"], each["message"]) for each in entries(written())]
    assert found == [
        ("stderr", "theirs"),
        ("sockgw.plugin", "ours"),
        ("stderr", "ValueError: printed"),
    ]


def test_every_line_of_a_traceback_is_indented_alike(written: Written) -> None:
    set_up("text")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("sockgw.plugin").exception("failed")
    _, head, file, *_ = lines(written())
    assert (head, file[:10]) == ("  Traceback (most recent call last):", '    File "')


def test_a_record_of_another_logger_has_its_name(written: Written) -> None:
    set_up("text")
    logging.getLogger("shop").info("sold")
    assert lines(written()) == ["INFO    shop  sold"]


def test_levels_are_by_namespace_and_logger_and_can_change(written: Written) -> None:
    set_up("text")
    chat = logging.LoggerAdapter(logging.getLogger("sockgw.plugin"), {"namespace": "/chat"})
    told = [chat, *map(logging.getLogger, ("sockgw.plugin", "sockgw.reload", "shop", "other"))]

    def heard(**levels: LogLevel) -> list[int]:
        names = {"chat": "/chat", "reload": "sockgw.reload", "plugin": "sockgw.plugin"}
        named = {names.get(key, key): level for key, level in levels.items()}
        configure(LogConfig(level="warning", levels=named))
        for number, logger in enumerate(told):
            for level in (logging.DEBUG, logging.INFO, logging.WARNING):
                logger.log(level, "%d", number)
        found = [int(line[-1]) for line in lines(written())]
        return [found.count(number) for number in range(len(told))]

    assert heard() == [1, 1, 1, 1, 1]
    assert heard(chat="debug", reload="error", shop="info") == [3, 1, 0, 2, 1]
    assert heard(plugin="debug", chat="error") == [0, 3, 1, 1, 1]
    assert heard() == [1, 1, 1, 1, 1]


def test_options_win_over_the_file_and_say_so(written: Written) -> None:
    set_up("text", verbose=True)
    config = LogConfig(format="json", level="error")
    configure(config)
    configure(config)
    logging.getLogger("sockgw.flow").debug("a step")
    assert lines(written()) == [
        "INFO    --log-format text wins over log.format: json",
        "INFO    -v wins over log.level and log.levels",
        "DEBUG   a step",
    ]


def test_the_format_of_the_file_counts_without_an_option(written: Written) -> None:
    set_up()
    configure(LogConfig(format="json"))
    logging.getLogger("shop").info("sold")
    configure(LogConfig())
    logging.getLogger("shop").info("sold")
    first, second = written().splitlines()
    assert (json.loads(first)["message"], second[9:]) == ("sold", "INFO    shop  sold")


def test_an_exception_that_nothing_catches_is_the_last_record() -> None:
    code = "from gateway.daemon.log import set_up; set_up('json'); print('half', end=''); 1 / 0"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    first, second = entries(done.stderr)
    assert (done.returncode, done.stdout) == (1, "")
    assert (first["level"], first["message"]) == ("critical", "ZeroDivisionError was not caught")
    assert (second["logger"], second["message"]) == ("stdout", "half")
