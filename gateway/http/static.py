"""Pages: files that are answered from memory. No request opens a file, so no path leads out.

Only whole pages are sent: a request for a range gets all of it, as RFC 9110, section 14.2, allows.
"""

from __future__ import annotations

import gzip
import mimetypes
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

from gateway.http.exchange import Connection
from gateway.http.request import Request
from gateway.http.response import Answer

__all__ = ["Page", "Pages", "Static", "make_page"]

TYPES = {
    ".avif": "image/avif",
    ".css": "text/css",
    ".htm": "text/html",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
"""Content types that differ between versions of Python, or that pages need most."""

UNKNOWN = "application/octet-stream"

COMPRESSIBLE = re.compile(r"text/.*|.*(json|xml|javascript|wasm)|font/(otf|ttf)|image/x-icon")

GAIN = 0.9
"""The share of its size that a page may keep when it is compressed; else it is sent as it is."""

COMMON = "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n"
VARY = "Vary: Accept-Encoding\r\n"

NOT_ALLOWED = Answer(
    405,
    "Allow: GET, HEAD\r\nContent-Type: text/plain; charset=utf-8\r\n",
    b"405: Method Not Allowed",
)

_ZERO = re.compile(r"q=0(\.0*)?")


class Form(NamedTuple):
    """A page as it is sent: its entity tag, the answer with it, and the one for who has it."""

    tag: str
    whole: Answer
    unchanged: Answer


class Page(NamedTuple):
    """A page and its digest; `zipped` is `None` where compression gains little."""

    digest: str
    plain: Form
    zipped: Form | None

    def answer(self, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a request with these header fields."""
        form = self.plain
        if self.zipped is not None and _accepts_gzip(headers.get("accept-encoding", "")):
            form = self.zipped
        known = headers.get("if-none-match")
        return form.unchanged if known and _names(known, form.tag) else form.whole


Pages: TypeAlias = Mapping[str, Page]
"""Pages by path. An `index.html` is also the page of its folder, whose path ends in a slash."""


class Static:
    """Answers requests with pages. Paths below `reserved`, which ends in a slash, have none.

    `pages` are those that are served now.
    """

    def __init__(self, reserved: str) -> None:
        self.pages: Pages = MappingProxyType({})
        self._reserved = None if reserved == "/" else reserved

    def answers(self, request: Request, connection: Connection) -> bool:
        """Answer a request if there is a page for it; tell whether there is."""
        path = request.path
        page = self.pages.get(path)
        is_folder = page is None and f"{path}/" in self.pages
        if (self._reserved and path.startswith(self._reserved)) or not (page or is_folder):
            return False
        if request.method not in ("GET", "HEAD"):
            connection.answer(NOT_ALLOWED)
        elif page is None:
            connection.answer(_redirect(request))
        else:
            connection.answer(page.answer(request.headers))
        return True


def make_page(name: str, data: bytes, digest: str) -> Page:
    """Make a page of a file and the hexadecimal digest of its `data`; the name has its type."""
    kind = _content_type(name)
    packed = gzip.compress(data, mtime=0) if COMPRESSIBLE.fullmatch(kind) else data
    pays = len(packed) < GAIN * len(data)
    own = f"Content-Type: {kind}{'; charset=utf-8' if kind.startswith('text/') else ''}\r\n"
    fields, tag = COMMON + VARY * pays, digest[:32]
    return Page(
        digest,
        plain=_form(f'"{tag}"', fields, own, data),
        zipped=_form(f'"{tag}-gzip"', fields, f"{own}Content-Encoding: gzip\r\n", packed)
        if pays
        else None,
    )


def _form(tag: str, fields: str, own: str, body: bytes) -> Form:
    tagged = f"ETag: {tag}\r\n"
    return Form(tag, Answer(200, fields, body, own=own + tagged), Answer(304, fields, own=tagged))


def _redirect(request: Request) -> Answer:
    """Send a client to the same path with a slash at its end, with its query."""
    _, mark, query = request.url.partition("?")
    location = f"Location: {quote(request.path)}/{mark}{query}\r\n"
    return Answer(301, "Cache-Control: no-cache\r\n", own=location)


@cache
def _types() -> mimetypes.MimeTypes:
    """Return Python's own table: that of the machine would make one project serve two types."""
    types = mimetypes.MimeTypes()
    for ending, kind in TYPES.items():
        types.add_type(kind, ending)
    return types


def _content_type(name: str) -> str:
    kind, encoding = _types().guess_type(name)
    return UNKNOWN if kind is None or encoding else kind  # an archive is sent as such


def _accepts_gzip(field: str) -> bool:
    """Tell what `Accept-Encoding` says of gzip (RFC 9110, section 12.5.3)."""
    accepted = {"*": False}
    for part in field.lower().split(","):
        coding, *parameters = (each.strip() for each in part.split(";"))
        accepted[coding] = not any(map(_ZERO.fullmatch, parameters))
    return accepted.get("gzip", accepted["*"])


def _names(field: str, tag: str) -> bool:
    """Tell whether `If-None-Match` names a tag (RFC 9110, section 13.1.2)."""
    tags = (each.strip().removeprefix("W/") for each in field.split(","))
    return field.strip() == "*" or tag in tags
