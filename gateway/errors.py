"""The errors, and the audience of each.

    GatewayError                 anything sockgw raises on purpose
    |-- ConfigError              the operator: every problem of the configuration, with its place
    |-- PluginError              the operator: a plugin does not load, resolve or fit
    |-- Reject                   the client: a plugin's "no", with a code
    `-- UsageError               the plugin author: the API was used in a way that cannot work

Any other exception from a plugin is a bug in that plugin: it is logged with its traceback, and the
client sees the code `internal` and no detail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any

__all__ = [
    "ConfigError",
    "GatewayError",
    "Place",
    "PluginError",
    "Problem",
    "Reject",
    "UsageError",
    "did_you_mean",
]

_ERRORS = frozenset(status for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` when a known word is near, else `""`."""
    near = get_close_matches(word, sorted(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; line and column count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing the operator has to fix.

    `path` is the dotted path in the configuration (`namespaces./chat.routes.chat`), or "" if the
    problem concerns the whole file. `message` says what is wrong and what to write instead.
    `excerpt` shows the source and points into it; "" shows nothing. A warning refuses nothing.
    """

    place: Place
    path: str
    message: str
    excerpt: str = ""
    is_warning: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"

    @property
    def text(self) -> str:
        """The problem without its place."""
        kind = "warning: " if self.is_warning else ""
        where = f"{self.path}: " if self.path else ""
        return f"{kind}{where}{self.message}"

    @property
    def shown(self) -> str:
        """The problem and, on lines of its own, its excerpt."""
        return f"{self}\n{self.excerpt}" if self.excerpt else str(self)

    def as_dict(self) -> dict[str, str | int]:
        """Return the problem as JSON has it: `file`, `line`, `column`, `path` and `message`.

        One with an excerpt has its `excerpt`, too.
        """
        excerpt = {"excerpt": self.excerpt} if self.excerpt else {}
        return {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "path": self.path,
            "message": self.message,
            **excerpt,
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Problem:
        """Return the problem that `as_dict` has written.

        Raises `LookupError`, `TypeError` or `ValueError` for anything else.
        """
        texts = [facts[key] for key in ("file", "path", "message")]
        texts.append(facts.get("excerpt", ""))
        if not all(isinstance(each, str) for each in texts):
            raise TypeError(facts)
        file, path, message, excerpt = texts
        return cls(Place(file, int(facts["line"]), int(facts["column"])), path, message, excerpt)


class GatewayError(Exception):
    """Base class of every error sockgw raises on purpose."""


class ConfigError(GatewayError):
    """The configuration is invalid.

    `problems` has all its problems, `warnings` all its warnings, each sorted by place.
    """

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = tuple(sorted(set(problems)))
        self.warnings = tuple(sorted(set(warnings)))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class PluginError(GatewayError):
    """A plugin does not load, resolve or fit.

    `place` is a position in the plugin's file if there is one to name. `None` means that the
    mistake is in the configuration that names the plugin.
    """

    def __init__(self, message: str, place: Place | None = None) -> None:
        self.message = message
        self.place = place
        super().__init__(message)


class Reject(GatewayError):
    """Refuses a connection or a packet; raised by middleware and handlers.

    The client of a refused connection gets `connect_error` with `message`, and with `code` (and
    `data`, if given) in its `data`. A refused packet is answered with
    `{"error": {"code", "message", "data"}}`.

    `code` is a short word for programs, `message` a sentence for people, `data` any value that can
    be sent. `status` is the HTTP status of a refused handshake, which has no other answer yet;
    raises `UsageError` unless it is one of an error.
    """

    def __init__(
        self, code: str, message: str = "", data: object = None, *, status: int = 403
    ) -> None:
        if status not in _ERRORS:
            raise UsageError(f"status {status} is no HTTP status of an error, 400 to 511")
        self.code = code
        self.message = message or code
        self.data = data
        self.status = status
        super().__init__(code, self.message)

    def __str__(self) -> str:
        return self.message if self.message == self.code else f"{self.code}: {self.message}"


class UsageError(GatewayError):
    """A plugin used the API in a way that cannot work, such as calling `next()` twice."""
