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
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Literal, TextIO

from gateway.config import Secrets
from gateway.config.model import LogConfig
from gateway.daemon.capture import PRINTED, capture
from gateway.errors import Problem
from gateway.redaction import HIDDEN, is_secret_name, redacted

__all__ = ["DIRECT", "Format", "configure", "hide", "is_json", "problem_fields", "set_up"]

Format = Literal["text", "json"]

log = logging.getLogger("sockgw.server")

_FACTS = ("address", "namespace", "socket", "user", "event", "request_id")
DIRECT = ("sockgw", "asyncio", "python", "py.warnings")
"""The loggers that do not depend on what plugins do to the root logger."""

_LONGEST = 40
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}
_KNOWN = {
    *vars(logging.makeLogRecord({})),
    "taskName",
    "message",
    "asctime",
    "fields",
    "is_substitute",
}
_DEEPEST = 8
_NUMBERS = logging.getLevelNamesMapping()


def set_up(format: Format | None = None, verbose: bool = False, worker: int | None = None) -> None:
    """Send every record to standard error, and in JSON whatever else is written, too.

    `format` and `verbose` win over the `log` block of the file, see `configure`; `None` leaves the
    format to the file. Each record names the worker, if this process is one.
    """
    handler = _Handler(sys.stderr, format, verbose, worker)
    for name in ("", *DIRECT, *PRINTED):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
    # A log in a watched folder is a change of it, and would be told for ever.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    handler.configure(LogConfig())
    capture(handler.is_json)


def configure(config: LogConfig) -> None:
    """Apply the `log` block of a file, as far as options of the command line do not win."""
    if handler := _handler():
        handler.configure(config)


def hide(*secrets: Secrets) -> None:
    """Mask these secrets, and no others, from now on."""
    if handler := _handler():
        handler.secrets = secrets


def is_json() -> bool:
    """Tell whether the log is one JSON object a line."""
    handler = _handler()
    return handler is not None and handler.is_json()


def problem_fields(
    message: str, problems: Iterable[Problem], warnings: Iterable[Problem] = ()
) -> dict[str, object]:
    """Return the `extra` of a record whose text lists problems: JSON has them as fields."""
    found = {"problems": problems, "warnings": warnings}
    lists = {name: [each.as_dict() for each in listed] for name, listed in found.items() if listed}
    return {"fields": {"message": message, **lists}}


def _handler() -> _Handler | None:
    handlers = logging.getLogger("sockgw").handlers
    return next((each for each in handlers if isinstance(each, _Handler)), None)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes records to a stream, without secrets.

    A record has at least the level that the `log` block gives to its namespace or its logger.
    """

    def __init__(
        self, stream: TextIO, format: Format | None, verbose: bool, worker: int | None
    ) -> None:
        super().__init__(stream)
        self._worker = worker
        self.secrets: Iterable[Secrets] = ()
        self._format = format
        self._verbose = verbose
        self._config = LogConfig()
        self._named: set[str] = set()
        self._told: list[str] = []
        has_colours = stream.isatty() and not os.environ.get("NO_COLOR")
        self._formatters = {"text": _Text(self.mask, has_colours), "json": _Json(self.mask)}

    def is_json(self) -> bool:
        return isinstance(self.formatter, _Json)

    def configure(self, config: LogConfig) -> None:
        self._config = config
        self.setFormatter(self._formatters[self._format or config.format or "text"])
        loggers = {name for name in config.levels if not name.startswith("/")}
        for name in {"", "sockgw", *loggers, *self._named}:
            logging.getLogger(name).setLevel(self._lowest(name, name in self._named - loggers))
        self._named = loggers
        self._tell_of_options(config)

    def _lowest(self, name: str, is_gone: bool) -> int:
        """Return the level for a logger: what it says of a namespace may have a lower one."""
        if is_gone and name != "sockgw":
            return logging.NOTSET
        if not _is_own(name):
            return _NUMBERS[self._config.level_of(name).upper()]
        namespaces = [level for key, level in self._config.levels.items() if key.startswith("/")]
        levels = [self._config.level_of(name), *namespaces, *["debug"] * self._verbose]
        return min(_NUMBERS[level.upper()] for level in levels)

    def _tell_of_options(self, config: LogConfig) -> None:
        told = []
        if self._format and config.format not in (None, self._format):
            told.append(f"--log-format {self._format} wins over log.format: {config.format}")
        if self._verbose and (config.level != LogConfig().level or config.levels):
            told.append("-v wins over log.level and log.levels")
        for line in told:
            if line not in self._told:
                log.info("%s", line)
        self._told = told

    def filter(self, record: logging.LogRecord) -> bool:
        if _is_own(record.name) and not self._verbose:
            level = self._config.level_of(record.name, vars(record).get("namespace"))
            if record.levelno < _NUMBERS[level.upper()]:
                return False
        if self._worker is not None:
            record.worker = self._worker
        return bool(super().filter(record))

    def mask(self, text: str) -> str:
        for secrets in self.secrets:
            text = secrets.mask(text)
        return text

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Log why a record cannot be written, unless nothing can be."""
        error = sys.exception()
        if isinstance(error, OSError) or hasattr(record, "is_substitute"):
            return
        with suppress(Exception):
            text = f"the log call at {record.pathname}:{record.lineno} fails: {error!r}"
            substitute = {"name": record.name, "levelno": logging.ERROR, "levelname": "ERROR"}
            self.emit(logging.makeLogRecord({**substitute, "msg": text, "is_substitute": True}))


def _is_own(name: str) -> bool:
    return name == "sockgw" or name.startswith("sockgw.")


class _Masking(logging.Formatter):
    """Writes records without secrets; `mask` removes them from a text."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        super().__init__()
        self.mask = mask

    def text(self, record: logging.LogRecord) -> str:
        """The message without secrets, those in its arguments included."""
        if not _has_containers(record.args):
            return self.mask(record.getMessage())
        arguments: Any = redacted(record.args)
        return self.mask(str(record.msg) % arguments)

    def trace(self, record: logging.LogRecord) -> str:
        """The traceback, or the stack that was asked for; `""` for neither."""
        if record.exc_info and record.exc_info[0]:
            return self.mask(self.formatException(record.exc_info))
        return self.mask(record.stack_info or "")


class _Text(_Masking):
    """`18:48:03 INFO  /chat 4fZk chat  hello`: time, level, fields of the socket, message.

    A logger that is not the gateway's comes before the message. All lines of a record but the
    first are indented.
    """

    def __init__(self, mask: Callable[[str], str], colours: bool) -> None:
        super().__init__(mask)
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname:<7}"
        if self._colours:
            level = f"\033[{_COLOURS.get(record.levelname, '0')}m{level}\033[0m"
        known = vars(record)
        facts = [self.mask(str(known[name])) for name in _FACTS if name in known]
        if not _is_own(record.name) and record.name != "py.warnings":
            facts.insert(0, record.name)
        first, *more = map(_plain, self.text(record).split("\n"))
        more = [line if line.startswith("  ") else f"  {line}" for line in more]
        if trace := self.trace(record):
            more += (f"  {line}" for line in map(_plain, trace.split("\n")))
        text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level} "
        if "worker" in known:
            text += f"[{known['worker']}] "
        shown = " ".join(_plain(each)[:_LONGEST] for each in facts)
        text += f"{shown}  {first}" if shown else first
        return "\n".join([text, *more])


class _Json(_Masking):
    """One JSON object a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`.

    Then come the record's own fields and, after an exception, its `traceback`.
    """

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        known = vars(record)
        own = {key: value for key, value in known.items() if key not in _KNOWN}
        entry = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.text(record),
        }
        entry = {**entry, **{key: own[key] for key in own if key not in entry}}
        entry |= known.get("fields", {})
        if trace := self.trace(record):
            entry["traceback"] = trace
        text = json.dumps(self._value(entry), ensure_ascii=False)
        return text if text.isprintable() else "".join(map(_escaped, text))

    def _value(self, value: object, depth: int = 0) -> object:
        """Return a value as JSON can have it, without secrets."""
        match value:
            case None | bool() | int():
                return value
            case float() if isfinite(value):
                return value
            case Mapping() if depth < _DEEPEST:
                return {self.mask(str(k)): self._of(str(k), v, depth + 1) for k, v in value.items()}
            case list() | tuple() if depth < _DEEPEST:
                return [self._value(each, depth + 1) for each in value]
        return self.mask(str(redacted(value)))

    def _of(self, name: str, value: object, depth: int) -> object:
        return HIDDEN if is_secret_name(name) else self._value(value, depth)


def _has_containers(arguments: object) -> bool:
    """Tell whether arguments of a log call may have secrets by name in them."""
    if not isinstance(arguments, tuple):
        return isinstance(arguments, Mapping)
    return any(isinstance(each, Mapping | list | tuple) for each in arguments)


def _escaped(character: str) -> str:
    """Escape what some readers take for the end of a line, and what terminals obey."""
    return character if character.isprintable() else json.dumps(character)[1:-1]


def _plain(line: str) -> str:
    """Escape everything in the line that a terminal would obey."""
    if line.isprintable():
        return line
    return "".join(
        each if each.isprintable() or each == "\t" else each.encode("unicode_escape").decode()
        for each in line
    )
