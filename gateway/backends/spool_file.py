"""The files of a spool: messages for one backend that wait, and the sockets that are there.

Each process of a gateway has a file of its own in the folder, a database of SQLite that it keeps
locked. The system unlocks it when the process ends, however that happens. Then another process of
the gateway, or the next one, takes the messages, and tells the ends of the sockets.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeAlias

from gateway.backends.request import rfc3339
from gateway.base64json import loads
from gateway.config import SpoolConfig

__all__ = [
    "Change",
    "CopyState",
    "Ends",
    "Place",
    "SpoolError",
    "SpoolFile",
    "SpoolFolder",
    "Taken",
    "end_in",
]

log = logging.getLogger("sockgw.backend")

PATIENCE = 10.0
"""Seconds to wait for other processes that look at the folder."""

TABLES = """
CREATE TABLE IF NOT EXISTS messages (n INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS here (socket TEXT PRIMARY KEY, lost TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copy (name TEXT NOT NULL, whole INTEGER NOT NULL);
"""
"""`lost` is the message about a socket's end that is sent if its process tells of none.

`copy` has a row if there is one elsewhere, see `CopyState`. No `n` is used twice: those up to the
last that was told are passed over.
"""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SpoolError(Exception):
    """A folder that cannot be used; the text says why."""


class Taken(Exception):
    """A file that another process has."""


@dataclass(frozen=True, slots=True)
class Change:
    """A message about a socket, `None` for none, and its `lost`; with `None` it is not there."""

    socket: str
    message: bytes | None
    lost: bytes | None


@dataclass(frozen=True, slots=True)
class CopyState:
    """The name of the copy of a file's ends, `""` for none, and if all of them are in it."""

    name: str = ""
    is_whole: bool = False


Ends: TypeAlias = Sequence[tuple[str, bytes]]
"""Messages about the ends of sockets, by the ids of these."""

Place: TypeAlias = str | int
"""Where ends are read from: behind a socket that is there, or behind a message."""


def end_in(body: bytes) -> str | None:
    """Return the socket whose end a message is about, `None` for any other message."""
    message: Any = loads(body)
    return message["socket"]["id"] if message.get("type") == "disconnect" else None


class SpoolFile:
    """The file of one process, which has it alone until `close`. For one thread at a time.

    `entries` and `bytes` are what waits, `dropped_ends` the sockets whose ends were dropped.
    `copy` is what it says of its copy. Raises `Taken`, `sqlite3.Error` and `OSError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped_ends: deque[str] = deque()
        with suppress(FileExistsError):  # opening one that exists would give up locks on it
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        path.chmod(0o600)
        self._database = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            # WAL without shared memory: the lock is held, and a commit waits for no disk.
            for key in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL"):
                self._database.execute(f"PRAGMA {key}").close()
            self._database.executescript(f"BEGIN EXCLUSIVE; {TABLES} COMMIT;")
            self.entries, self.bytes = self._waiting("1")
            row = self._database.execute("SELECT name, whole FROM copy").fetchone()
            self.copy = CopyState(row[0], is_whole=bool(row[1])) if row else CopyState()
        except BaseException as error:
            self._database.close()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise Taken from None
            raise

    @property
    def is_empty(self) -> bool:
        """True if nothing waits, and no socket is there."""
        return not self.entries and not self._one("SELECT count(*) FROM here")[0]

    def write(
        self,
        changes: Sequence[Change],
        told: int,
        bounds: SpoolConfig,
        copy: CopyState | None = None,
    ) -> int:
        """Take up changes, and forget the messages up to number `told`.

        Returns how many were dropped: the oldest, as many as are too many. `copy` is what it says
        of its copy from now on.
        """
        with self._transaction():
            count, size = self._waiting(f"n <= {told}")
            entries, waiting = self.entries - count, self.bytes - size
            self._database.execute("DELETE FROM messages WHERE n <= ?", (told,))
            for change in changes:
                if change.message is not None:
                    entries, waiting = entries + 1, waiting + len(change.message)
                self._write(change)
            dropped, size = self._excess(entries, waiting, bounds)
            if copy is not None and copy != self.copy:
                self._database.execute("DELETE FROM copy")
                row = copy.name, int(copy.is_whole)
                self._database.execute("INSERT INTO copy VALUES (?, ?)", row)
        self.copy = copy or self.copy
        self.entries, self.bytes = entries - dropped, waiting - size
        return dropped

    def read(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return the messages behind number `after`, the oldest first."""
        text = "SELECT n, body FROM messages WHERE n > ? ORDER BY n LIMIT ?"
        return self._database.execute(text, (after, limit)).fetchall()

    def ends(self, told: int, after: Place, limit: int) -> tuple[Ends, Place | None]:
        """Return ends behind a place, `""` at first, and the next place, `None` for no more.

        They are of the sockets that are there, then those that wait: the messages up to number
        `told` do not.
        """
        if isinstance(after, str):
            text = "SELECT socket, lost FROM here WHERE socket > ? ORDER BY socket LIMIT ?"
            here = self._database.execute(text, (after, limit)).fetchall()
            next_ = here[-1][0] if len(here) == limit else 0
            return [(socket, lost.encode()) for socket, lost in here], next_
        rows = self.read(max(after, told), limit)
        ends = [(socket, body) for _, body in rows if (socket := end_in(body)) is not None]
        return ends, rows[-1][0] if len(rows) == limit else None

    def clear(self) -> None:
        """Forget all: others have told it."""
        with self._transaction():
            self._database.execute("DELETE FROM messages")
            self._database.execute("DELETE FROM here")
        self.entries = self.bytes = 0

    def end_all(self, at: float, *, tell: bool) -> None:
        """End all sockets: the process that had them is gone, which was found `at` that time."""
        text = "SELECT CAST(json_set(lost, '$.time', ?) AS BLOB) FROM here"
        with self._transaction():
            if tell:
                self._database.execute(f"INSERT INTO messages (body) {text}", (rfc3339(at),))
            self._database.execute("DELETE FROM here")
        self.entries, self.bytes = self._waiting("1")

    def absorb(self, other: SpoolFile, bounds: SpoolConfig) -> int:
        """Take up all that is in another file; returns how many messages were dropped."""
        with self._transaction():
            rows = other._database.execute("SELECT body FROM messages ORDER BY n")
            self._database.executemany("INSERT INTO messages (body) VALUES (?)", rows)
            rows = other._database.execute("SELECT socket, lost FROM here")
            self._database.executemany("INSERT OR REPLACE INTO here VALUES (?, ?)", rows)
            self._database.execute("UPDATE copy SET whole = 0")
            entries, waiting = self._waiting("1")
            dropped, size = self._excess(entries, waiting, bounds)
        self.copy = replace(self.copy, is_whole=False)
        self.entries, self.bytes = entries - dropped, waiting - size
        return dropped

    def close(self) -> None:
        """Let others have the file."""
        self._database.close()

    def delete(self) -> None:
        """Close the file and delete it."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _write(self, change: Change) -> None:
        if change.message is not None:
            self._database.execute("INSERT INTO messages (body) VALUES (?)", (change.message,))
        if change.lost is not None:
            row = change.socket, change.lost.decode()
            self._database.execute("INSERT OR REPLACE INTO here VALUES (?, ?)", row)
        else:
            self._database.execute("DELETE FROM here WHERE socket = ?", (change.socket,))

    def _excess(self, entries: int, waiting: int, bounds: SpoolConfig) -> tuple[int, int]:
        """Delete the oldest messages that are too many; return how many, and their bytes."""
        dropped = size = last = 0
        rows = self._database.execute("SELECT n, body FROM messages ORDER BY n")
        while entries - dropped > bounds.entries or waiting - size > bounds.bytes:
            last, body = rows.fetchone()
            dropped, size = dropped + 1, size + len(body)
            if (socket := end_in(body)) is not None:
                self.dropped_ends.append(socket)
        rows.close()
        if dropped:
            self._database.execute("DELETE FROM messages WHERE n <= ?", (last,))
        return dropped, size

    def _waiting(self, which: str) -> tuple[int, int]:
        return self._one(
            f"SELECT count(*), coalesce(sum(length(body)), 0) FROM messages WHERE {which}"
        )

    def _one(self, text: str) -> tuple[int, int]:
        found: tuple[int, int] = self._database.execute(text).fetchone()
        return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise


class SpoolFolder:
    """The folder with the spools of one backend, a file for each process of the gateway `owner`.

    Its methods block.
    """

    def __init__(self, path: Path, owner: str) -> None:
        self.path, self._owner = path, owner

    def take(self, *, is_copied: bool = False) -> SpoolFile:
        """Return the first file that no process has. Raises `SpoolError`.

        With `is_copied`, those that have a copy are left: who ends their sockets claims it first.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._turn() as note:
                self._claim(note)
                for number in count(1):
                    with suppress(Taken):
                        file = self._opened(self.path / f"{number}.sqlite")
                        if not (is_copied and file.copy.name):
                            return file
                        file.close()
        except OSError as error:
            raise SpoolError(f"{self.path} cannot be used: {error.strerror}") from error
        except sqlite3.Error as error:
            raise SpoolError(f"{self.path} cannot be used: {error}") from error
        raise AssertionError

    def copies(self, own: SpoolFile) -> list[str]:
        """Return the names of the copies of files whose processes have ended."""
        found: list[str] = []

        def note(state: CopyState) -> bool:
            found.append(state.name)
            return False

        for _ in self.ended(own, note):
            pass
        return [name for name in found if name]

    def ended(
        self, own: SpoolFile, is_due: Callable[[CopyState], bool] = lambda copy: True
    ) -> Iterator[SpoolFile]:
        """Yield the files of processes that have ended; each is deleted behind its turn.

        Those that are not due, by what they say of their copy, stay.
        """
        if self._files() == [own.path]:
            return
        with self._turn():
            for path in self._files():
                if path == own.path:
                    continue
                with suppress(Taken):
                    file = self._opened(path)
                    if not is_due(file.copy):
                        file.close()
                        continue
                    try:
                        yield file
                    except BaseException:
                        file.close()
                        raise
                    file.delete()

    def give_back(self, file: SpoolFile) -> None:
        """Close a file, and delete it if it is empty."""
        with self._turn():
            if file.is_empty:
                file.delete()
            else:
                file.close()

    def _files(self) -> list[Path]:
        return sorted(self.path.glob("[0-9]*.sqlite"))

    def _opened(self, path: Path) -> SpoolFile:
        """Open a file; one that is damaged is put aside."""
        try:
            return SpoolFile(path)
        except sqlite3.Error as error:
            if error.sqlite_errorcode not in _DAMAGED:
                raise
        log.error("%s is damaged: it is now %s.damaged, and what was in it is not told", path, path)
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                os.replace(f"{path}{suffix}", f"{path}{suffix}.damaged")
        return SpoolFile(path)

    def _claim(self, note: int) -> None:
        """Note whose the folder is. Raises `SpoolError` if another gateway uses it."""
        owner = os.pread(note, 4096, 0).decode(errors="replace")
        if owner not in ("", self._owner) and any(map(_is_taken, self._files())):
            raise SpoolError(f"{self.path} is in use by {owner}: each backend needs its own folder")
        os.ftruncate(note, 0)
        os.pwrite(note, self._owner.encode(), 0)

    @contextmanager
    def _turn(self) -> Iterator[int]:
        """Keep other processes from looking for files; gives the descriptor of the note."""
        note = os.open(self.path / "owner", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            limit = monotonic() + PATIENCE
            while True:
                try:
                    fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if monotonic() > limit:
                        raise
                    sleep(0.01)
                else:
                    break
            yield note
        finally:
            os.close(note)


def _is_taken(path: Path) -> bool:
    try:
        SpoolFile(path).close()
    except Taken:
        return True
    except sqlite3.Error:
        return False
    return False
