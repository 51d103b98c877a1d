"""What the daemon writes to standard error: for a person, or JSON for a collector."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Literal

__all__ = ["Format", "set_up"]

Format = Literal["console", "json"]

_FACTS = ("namespace", "socket", "event")
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}


def set_up(format: Format, verbose: bool) -> None:
    """Send the records of every `sockgw` logger to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        _Json()
        if format == "json"
        else _Console(sys.stderr.isatty() and not os.environ.get("NO_COLOR"))
    )
    logger = logging.getLogger("sockgw")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)


class _Console(logging.Formatter):
    """`18:48:03 INFO  /chat 4fZk chat  hello`: time, level, then what is known of the socket."""

    def __init__(self, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname:<7}"
        if self._colours:
            level = f"\033[{_COLOURS.get(record.levelname, '0')}m{level}\033[0m"
        facts = " ".join(str(value)[:24] for value in _facts(record).values())
        text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level} "
        text += f"{facts}  {record.getMessage()}" if facts else record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class _Json(logging.Formatter):
    """One JSON object a line: `time` (seconds since the epoch), `level`, `logger`, `message`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    known = vars(record)
    return {name: known[name] for name in _FACTS if name in known}
