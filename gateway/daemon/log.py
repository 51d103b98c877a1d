"""The daemon's log on standard error: text for a person, or JSON for a collector.

Clients choose parts of it, such as names of events, so no text may move the cursor or look like
another line. Options hold secrets, which the errors of plugins may repeat, so they are masked.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable
from typing import Literal

from gateway.config import Secrets

__all__ = ["Format", "hide", "set_up"]

Format = Literal["console", "json"]

_FACTS = ("address", "namespace", "socket", "event", "request_id")
_LOGGERS = ("sockgw", "asyncio")  # asyncio logs the failures of tasks nobody awaits
_LONGEST = 40
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}


def set_up(format: Format, verbose: bool) -> None:
    """Send the records of every `sockgw` logger to standard error, and asyncio's warnings."""
    handler = logging.StreamHandler()
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(_Json() if format == "json" else _Console(colours))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
    logging.getLogger("sockgw").setLevel(logging.DEBUG if verbose else logging.INFO)


def hide(*secrets: Secrets) -> None:
    """Mask these secrets, and no others, from now on."""
    for handler in logging.getLogger("sockgw").handlers:
        if isinstance(handler.formatter, _Masking):
            handler.formatter.secrets = secrets


class _Masking(logging.Formatter):
    """Writes records without secrets."""

    secrets: Iterable[Secrets] = ()

    def text(self, record: logging.LogRecord) -> str:
        return self.mask(record.getMessage())

    def trace(self, record: logging.LogRecord) -> str:
        """The traceback, `""` for none."""
        return self.mask(self.formatException(record.exc_info)) if record.exc_info else ""

    def facts(self, record: logging.LogRecord) -> dict[str, str]:
        """Return the fields of the record that identify the socket."""
        known = vars(record)
        return {name: self.mask(str(known[name])) for name in _FACTS if name in known}

    def mask(self, text: str) -> str:
        for secrets in self.secrets:
            text = secrets.mask(text)
        return text


class _Console(_Masking):
    """`18:48:03 INFO  /chat 4fZk chat  hello`: time, level, fields of the socket, message.

    All lines of a record but the first are indented.
    """

    def __init__(self, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname:<7}"
        if self._colours:
            level = f"\033[{_COLOURS.get(record.levelname, '0')}m{level}\033[0m"
        facts = " ".join(_plain(value)[:_LONGEST] for value in self.facts(record).values())
        lines = self.text(record).split("\n")
        lines += self.trace(record).split("\n") if record.exc_info else ()
        first, *more = map(_plain, lines)
        text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level} "
        text += f"{facts}  {first}" if facts else first
        return "\n".join([text, *(line if line.startswith("  ") else f"  {line}" for line in more)])


class _Json(_Masking):
    """One JSON object a line: `time` (seconds since the epoch), `level`, `logger`, `message`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.text(record),
            **self.facts(record),
        }
        if record.exc_info:
            entry["traceback"] = self.trace(record)
        return json.dumps(entry, ensure_ascii=False)


def _plain(line: str) -> str:
    """Escape everything in the line that a terminal would obey."""
    if line.isprintable():
        return line
    return "".join(
        each if each.isprintable() or each == "\t" else each.encode("unicode_escape").decode()
        for each in line
    )
