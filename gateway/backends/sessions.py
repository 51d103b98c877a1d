"""What the backends of a process are told of its sockets, from one configuration to the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import time
from typing import Any

from gateway.api import Socket
from gateway.backends.backend import HttpBackend
from gateway.backends.spool import Spool
from gateway.backends.spool_copy import Copies, SpoolCopy
from gateway.backends.spool_file import SpoolError, SpoolFolder
from gateway.backends.telling import Sockets, Teller
from gateway.config import SessionsConfig
from gateway.errors import ConfigError

__all__ = ["Home", "Sessions"]

log = logging.getLogger("sockgw.backend")

FINISH = 2.0
"""Seconds in which what waits is told when the process stops; the next one tells what is left."""


@dataclass(frozen=True, slots=True)
class Home:
    """A gateway, by its YAML, and the folder for the spools that have none of their own.

    That is `None` for a user without a home.
    """

    file: Path
    spools: Path | None


class Sessions:
    """The tellers of a process, by the names of their backends.

    `sockets` returns the sockets that are there.
    """

    def __init__(self, home: Home, sockets: Sockets) -> None:
        self.tellers: dict[str, Teller] = {}
        self._copies: Copies | None = None
        self._home, self._sockets = home, sockets
        self._ending: set[asyncio.Task[None]] = set()

    def use(self, copies: Copies) -> None:
        """Keep copies of all spools there, for other machines. To be called before any other."""
        self._copies = copies
        copies.look = self.look
        copies.beat = partial(self._each_copy, SpoolCopy.check)
        copies.arrived = partial(self._each_copy, SpoolCopy.anew)

    async def prepare(self, backends: Mapping[str, HttpBackend]) -> dict[str, Spool]:
        """Open the spools that these backends need and that are not open; by name.

        Raises `ConfigError` at the place of one that cannot be used.
        """
        opened: dict[str, Spool] = {}
        try:
            for name, backend in backends.items():
                config = backend.config.sessions
                if config is not None and not self._has(name, self._path(name, config)):
                    opened[name] = await self._opened(name, config)
        except BaseException:
            await self.discard(opened)
            raise
        return opened

    async def discard(self, opened: Mapping[str, Spool]) -> None:
        """Close spools that `prepare` has opened and nobody needs."""
        for spool in opened.values():
            await spool.close()

    def swap(self, backends: Mapping[str, HttpBackend], opened: Mapping[str, Spool]) -> None:
        """Tell these backends from now on; `opened` are the spools that `prepare` has opened."""
        told = {name: each for name, each in backends.items() if each.config.sessions is not None}
        for name in self.tellers.keys() - told.keys():
            self._end(_dropped(self.tellers.pop(name)))
        for name, backend in told.items():
            former, spool = self.tellers.get(name), opened.get(name)
            if former is not None and spool is None:
                former.use(backend)
                continue
            assert spool is not None
            if former is not None:
                spool.follow(former.spool, former.stop)
            self.tellers[name] = Teller(backend, spool, self._sockets, former)

    def accepted(self, socket: Socket) -> None:
        """Note that a socket is there."""
        for teller in self.tellers.values():
            teller.accepted(socket)

    def left(self, socket: Socket, reason: str) -> None:
        """Note that a socket is gone; `reason` is one of Socket.IO's."""
        for teller in self.tellers.values():
            teller.left(socket, reason)

    def look(self) -> None:
        """Look for what processes that have ended did not tell."""
        for teller in self.tellers.values():
            teller.look()

    async def finish(self) -> None:
        """Tell what waits, as far as that is soon done, and close the spools."""
        await asyncio.gather(*(_finished(each) for each in self.tellers.values()), *self._ending)
        self.tellers.clear()

    def _each_copy(self, do: Callable[[SpoolCopy], None]) -> None:
        for spool in [each.spool for each in self.tellers.values()]:
            if spool.copy is not None:
                do(spool.copy)
                spool.write_soon()

    def _has(self, name: str, path: Path | None) -> bool:
        teller = self.tellers.get(name)
        return teller is not None and teller.spool.folder.path == path

    def _path(self, name: str, config: SessionsConfig) -> Path | None:
        return config.spool.folder or (self._home.spools and self._home.spools / name)

    async def _opened(self, name: str, config: SessionsConfig) -> Spool:
        path = self._path(name, config)
        if path is None:
            text = "there is no home folder to keep the spool in: write spool: {folder: ...}"
            raise ConfigError([config.spool.at.problem(text)])
        folder = SpoolFolder(path, f"{self._home.file}, backend {name}")
        copy = SpoolCopy(self._copies, name) if self._copies is not None else None
        spool = Spool(name, folder, config.spool, copy)
        try:
            await spool.open(time(), tell="disconnect" in config.notify)
        except SpoolError as error:
            raise ConfigError([config.spool.at.problem(str(error))]) from error
        return spool

    def _end(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _finished(teller: Teller) -> None:
    await teller.finish(FINISH)
    await teller.spool.close()


async def _dropped(teller: Teller) -> None:
    """End a teller whose backend is not told of sockets any more."""
    await teller.stop()
    count = await teller.spool.drop()
    log.log(
        logging.WARNING if count else logging.INFO,
        "backend %s is not told of sockets any more: %d messages that waited are dropped",
        *(teller.spool.name, count),
    )
