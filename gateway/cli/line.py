"""Events and their arguments as text, typed and shown.

JSON is parsed as JSON, anything else is a word as in a shell. Output can be typed again, and its
control characters are escaped.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from gateway.api import Value
from gateway.socketio.json import loads
from gateway.socketio.packet import RESERVED

__all__ = [
    "document",
    "indented",
    "packet",
    "parse_argument",
    "parse_event",
    "parse_line",
    "printable",
    "show",
    "word",
]

_PLAIN = re.compile(r"[\w.:/-]+")


def parse_argument(text: str) -> Value:
    """Parse one argument of an event: JSON if it is JSON, the bytes of FILE for `@FILE`, else text.

    Raises `click.UsageError` if the file cannot be read.
    """
    if text.startswith("@"):
        try:
            return Path(text[1:]).expanduser().read_bytes()
        except OSError as error:
            raise click.UsageError(f"cannot read {text[1:]}: {error.strerror}") from None
    try:
        return loads(text)  # type: ignore[return-value]
    except ValueError:
        return text


def parse_event(name: str) -> str:
    """Check an event's name; raises `click.UsageError` for names reserved by Socket.IO."""
    if name in RESERVED:
        raise click.UsageError(f"{name!r} is reserved by Socket.IO and cannot be sent")
    return name


def parse_line(line: str) -> tuple[str, list[Value]]:
    """Parse an event and its arguments.

    JSON is parsed as JSON, spaces and all; anything else is a word as in a shell.
    Raises `click.UsageError` for an invalid line.
    """
    try:
        tokens = list(_tokens(line))
    except ValueError:
        raise click.UsageError("a quotation mark is not closed") from None
    if not tokens:
        raise click.UsageError("no event: write its name")
    event, *args = tokens
    name = str(parse_argument(event)) if event.startswith('"') else event
    return parse_event(name), [parse_argument(arg) for arg in args]


def _tokens(line: str) -> Iterator[str]:
    while line := line.strip():
        end = _json_end(line)
        if end is None:
            words = io.StringIO(line)
            lexer = shlex.shlex(words, posix=True)
            lexer.whitespace_split, lexer.commenters = True, ""
            yield lexer.get_token() or ""
            end = words.tell()
        else:
            yield line[:end]
        line = line[end:]


def _json_end(line: str) -> int | None:
    """Find the end of the JSON at the start of the line; `None` if it starts with a word."""
    try:
        _, end = json.JSONDecoder().raw_decode(line)
    except ValueError:
        return None
    return end if line[end : end + 1].strip() == "" else None


def printable(text: str) -> str:
    """Escape control characters, so that `text` cannot change the terminal."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def indented(value: object) -> str:
    """Format a value for programs and people: JSON on several lines."""
    lines = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
    return "\n".join(map(printable, lines))


def document(value: object) -> str:
    """Format a value for programs: JSON on one line, bytes as `{"$bytes": base64}`."""
    return printable(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_pack))


def show(value: Value) -> str:
    """Format a value for people: JSON, bytes as `<12 bytes 0a0b..>`."""
    match value:
        case bytes():
            start = value[:8].hex() + (".." if len(value) > 8 else "")
            return f"<{len(value)} bytes {start}>" if value else "<0 bytes>"
        case list():
            return "[" + ",".join(map(show, value)) + "]"
        case dict():
            members = (f"{document(key)}:{show(item)}" for key, item in value.items())
            return "{" + ",".join(members) + "}"
        case _:
            return document(value)


def word(event: str) -> str:
    """Format an event's name as you would type it at the prompt."""
    return event if _PLAIN.fullmatch(event) else document(event)


def packet(event: str, args: Iterable[Value]) -> str:
    """Format an event or an ack on one line for people."""
    return " ".join([word(event), *map(show, args)])


def _pack(value: object) -> dict[str, str]:
    assert isinstance(value, bytes)
    return {"$bytes": base64.b64encode(value).decode()}
