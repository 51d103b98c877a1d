"""Header fields and cookies that plugins add to the answer to a handshake.

What a client's data could turn into a second field or a second answer is refused where the plugin
sets it: https://www.rfc-editor.org/rfc/rfc9110#section-5.5
"""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from typing import Literal, TypeVar

from gateway.errors import UsageError

__all__ = ["AnswerHeaders", "SameSite"]

SameSite = Literal["strict", "lax", "none"]
"""The requests from other sites that a browser adds a cookie to."""

LARGEST = 8192
"""Bytes of all fields together: proxies refuse answers with larger heads."""

_TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_TEXT = re.compile(r"[\t\x20-\x7e]*")
_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")  # RFC 6265, section 4.1.1
_COOKIE_ATTRIBUTE = re.compile(r"[\x20-:<-\x7e]*")

_OURS = frozenset(
    {
        *("cache-control", "connection", "content-encoding", "content-length", "content-type"),
        *("date", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
_OUR_PREFIXES = ("access-control-allow-", "access-control-max-", "proxy-", "sec-websocket-")

K = TypeVar("K")


class AnswerHeaders(MutableMapping[str, str]):
    """Header fields by name, in any case, and cookies.

    Setting one that would break the answer raises `UsageError`.
    """

    __slots__ = ("_cookies", "_fields")

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}
        self._cookies: dict[tuple[str, str, str | None], str] = {}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()].partition(": ")[2].removesuffix("\r\n")

    def __setitem__(self, name: str, value: str) -> None:
        key = _checked_name(name).lower()
        if _TEXT.fullmatch(value) is None:
            raise UsageError(f"header {name!r}: a value is printable ASCII on one line")
        self._keep(self._fields, key, f"{name}: {value.strip()}\r\n")

    def __delitem__(self, name: str) -> None:
        del self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self)}>"

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        max_age: int | None,
        path: str,
        domain: str | None,
        secure: bool,
        http_only: bool,
        same_site: SameSite,
    ) -> None:
        """Set a cookie, in place of one with the same name, path and domain.

        `max_age` is in seconds; with `None` it lasts until the browser is closed.
        """
        if _TOKEN.fullmatch(name) is None:
            raise UsageError(f"{name!r} cannot be the name of a cookie")
        if _COOKIE_VALUE.fullmatch(value) is None:
            raise UsageError(f"cookie {name!r}: encode its value, with urllib.parse.quote for one")
        for attribute in (path, domain or "", same_site):
            if _COOKIE_ATTRIBUTE.fullmatch(attribute) is None:
                raise UsageError(f"cookie {name!r}: {attribute!r} would end its attribute")
        parts = [
            f"{name}={value}",
            *([f"Max-Age={int(max_age)}"] if max_age is not None else ()),
            *([f"Domain={domain}"] if domain is not None else ()),
            f"Path={path}",
            *(["Secure"] if secure else ()),
            *(["HttpOnly"] if http_only else ()),
            f"SameSite={same_site.capitalize()}",
        ]
        self._keep(self._cookies, (name, path, domain), f"Set-Cookie: {'; '.join(parts)}\r\n")

    def encode(self) -> str:
        """The fields as they are sent, each with its line end."""
        return "".join((*self._fields.values(), *self._cookies.values()))

    def _keep(self, lines: dict[K, str], key: K, line: str) -> None:
        size = len(self.encode()) - len(lines.get(key, "")) + len(line)
        if size > LARGEST:
            raise UsageError(f"the headers and cookies of an answer may have {LARGEST} bytes")
        lines[key] = line


def _checked_name(name: str) -> str:
    if _TOKEN.fullmatch(name) is None:
        raise UsageError(f"{name!r} cannot be the name of a header")
    lower = name.lower()
    if lower == "set-cookie":
        raise UsageError("set cookies with set_cookie()")
    if lower in _OURS or lower.startswith(_OUR_PREFIXES):
        raise UsageError(f"the gateway sets {name!r} itself")
    return name
