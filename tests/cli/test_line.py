from __future__ import annotations

from pathlib import Path

import click
import pytest

from gateway.api import Value
from gateway.cli.line import document, packet, parse_argument, parse_line


@pytest.mark.parametrize(
    ("line", "event", "args"),
    [
        ("chat", "chat", []),
        ("chat hello", "chat", ["hello"]),
        ('chat "hello world!"', "chat", ["hello world!"]),
        ("chat hello world!", "chat", ["hello", "world!"]),
        ("sum 1 -2.5 true null", "sum", [1, -2.5, True, None]),
        ('say {"a": [1, 2]}', "say", [{"a": [1, 2]}]),
        ("""say '{"a":1}'""", "say", [{"a": 1}]),
        ('say "5" 5', "say", ["5", 5]),
        (r'say "a\"b\n"', "say", ['a"b\n']),
        (r"say it\'s 'a b'c", "say", ["it's", "a bc"]),
        ("say '' NaN 1e999 {a:1}", "say", ["", "NaN", "1e999", "{a:1}"]),
        ('say 1,2 [1]x "a"b', "say", ["1,2", "[1]x", "ab"]),
        ("say #1 你好", "say", ["#1", "你好"]),
        ("  say\t1  ", "say", [1]),
        ('"my event" 1', "my event", [1]),
        ("""'"x' 1""", '"x', [1]),
        ("1 1", "1", [1]),
    ],
)
def test_a_line_is_an_event_and_arguments(line: str, event: str, args: list[Value]) -> None:
    assert parse_line(line) == (event, args)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('chat "hello', "a quotation mark is not closed"),
        ("chat it's", "a quotation mark is not closed"),
        ("chat \\", "a quotation mark is not closed"),
        (" ", "no event: write its name"),
        ("connect 1", "'connect' is reserved by Socket.IO and cannot be sent"),
        ("chat @nowhere", "cannot read nowhere: No such file or directory"),
    ],
)
def test_a_line_that_cannot_be_sent_is_an_error(line: str, message: str) -> None:
    with pytest.raises(click.UsageError) as error:
        parse_line(line)
    assert error.value.message == message


def test_an_at_sign_means_the_bytes_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a file"
    file.write_bytes(b"\x00\xff")
    assert parse_line(f"upload '@{file}' \"@text\"") == ("upload", [b"\x00\xff", "@text"])
    assert parse_argument(f"@{file}") == b"\x00\xff"


def test_a_file_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photo").write_bytes(b"\x01")
    assert parse_argument("@~/photo") == b"\x01"


@pytest.mark.parametrize(
    ("event", "args", "text"),
    [
        ("res", ["auth!Hello Man!!"], 'res "auth!Hello Man!!"'),
        ("res", [], "res"),
        ("res", [{"ok": True, "n": [1, None]}, "你好"], 'res {"ok":true,"n":[1,null]} "你好"'),
        ("my event", [], '"my event"'),
        ("raum/größe", [], "raum/größe"),
        ("up", [b""], "up <0 bytes>"),
        ("up", [b"\x0a\x0b"], "up <2 bytes 0a0b>"),
        ("up", [{"f": bytes(range(12))}], 'up {"f":<12 bytes 0001020304050607..>}'),
        ("\x1b[2J", ["\x9b2J\x7f\u202e"], r'"\u001b[2J" "\u009b2J\u007f\u202e"'),
    ],
)
def test_a_packet_is_shown_on_one_line_that_does_nothing_to_the_terminal(
    event: str, args: list[Value], text: str
) -> None:
    assert packet(event, args) == text


def test_a_document_is_one_line_of_json() -> None:
    assert document({"a": [b"\x00", "x\ny\ud800"]}) == r'{"a":[{"$bytes":"AA=="},"x\ny\ud800"]}'
