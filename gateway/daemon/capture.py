"""What a process writes past its log: prints, warnings, and exceptions that nothing caught.

Warnings and exceptions become records of the log. What is printed does so while the log is JSON,
and else goes where it would.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

__all__ = ["PRINTED", "capture"]

PRINTED = {"stdout": logging.INFO, "stderr": logging.WARNING}
"""The loggers of what is printed, and their levels."""

LONGEST = 64_000
"""Bytes of a line that is printed, after which it is written though it has no end."""

WARNINGS = logging.getLogger("py.warnings")
PYTHON = logging.getLogger("python")


def capture(is_json: Callable[[], bool]) -> None:
    """Log warnings and uncaught exceptions, and what is printed while `is_json` says so."""
    warnings.showwarning = _log_warning
    sys.excepthook = _log_uncaught
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_thread
    sys.stdout = _printed(sys.stdout, "stdout", is_json)
    sys.stderr = _printed(sys.stderr, "stderr", is_json)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if file is not None:
        file.write(warnings.formatwarning(message, category, filename, lineno, line))
        return
    near = filename.removeprefix(f"{Path.cwd()}{os.sep}")
    fields = {"file": near, "line": lineno, "category": category.__name__}
    text = f"{near}:{lineno}: {category.__name__}: {message}"
    WARNINGS.warning("%s", text, extra={"fields": fields})


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    PYTHON.critical("%s was not caught", kind.__name__, exc_info=(kind, error, trace))


def _log_thread(args: threading.ExceptHookArgs) -> None:
    if issubclass(args.exc_type, SystemExit):
        return
    error = args.exc_value or args.exc_type()
    name = args.thread.name if args.thread else "unknown"
    PYTHON.error(
        "%s ended the thread %r",
        *(args.exc_type.__name__, name),
        exc_info=(args.exc_type, error, args.exc_traceback),
    )


def _log_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    where = "?"
    with suppress(Exception):  # its `repr` is code of its author
        where = repr(unraisable.object)
    error = unraisable.exc_value or unraisable.exc_type()
    told = unraisable.err_msg or f"{unraisable.exc_type.__name__} was ignored in"
    PYTHON.error(
        *("%s: %s", told, where),
        exc_info=(unraisable.exc_type, error, unraisable.exc_traceback),
    )


def _printed(stream: TextIO, name: str, is_json: Callable[[], bool]) -> TextIO:
    """Stand in for a standard stream; libraries may ask for its `buffer` and its descriptor."""
    raw = _Printed(stream, name, is_json)
    atexit.register(raw.end)
    return io.TextIOWrapper(
        raw,
        encoding=stream.encoding,
        errors=stream.errors,
        newline="\n",
        write_through=True,
    )


class _Printed(io.RawIOBase):
    """A standard stream that logs whole lines while the log is JSON.

    What one call writes is one record, even if it has several lines.
    """

    def __init__(self, stream: TextIO, name: str, is_json: Callable[[], bool]) -> None:
        super().__init__()
        self.name = f"<{name}>"
        self.mode = "w"
        self._stream = stream
        self._log = logging.getLogger(name)
        self._level = PRINTED[name]
        self._is_json = is_json
        self._thread = threading.local()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def flush(self) -> None:
        if not self._stream.closed:
            self._stream.flush()

    def write(self, data: object) -> int:
        written = bytes(data)  # type: ignore[call-overload]
        if not self._is_json():
            self._stream.buffer.write(written)
            if self._stream.line_buffering and b"\n" in written:
                self._stream.flush()
            return len(written)
        pending: bytes = getattr(self._thread, "pending", b"") + written
        self._thread.pending = pending
        if pending.endswith(b"\n") or len(pending) > LONGEST:
            self.end()
        return len(written)

    def end(self) -> None:
        """Log what this thread has printed of a line."""
        pending: bytes = getattr(self._thread, "pending", b"")
        self._thread.pending = b""
        if text := pending.decode(errors="backslashreplace").rstrip("\n"):
            self._log.log(self._level, "%s", text)
