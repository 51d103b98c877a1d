"""Tells a backend of the sockets that come and go, and in between of those that are there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import uniform
from secrets import token_hex
from time import monotonic, time
from typing import Any, Literal, TypeAlias

from gateway.api import Socket
from gateway.backends.backend import HttpBackend
from gateway.backends.request import rfc3339
from gateway.backends.spool import Spool
from gateway.backends.spool_copy import GATEWAY_LOST
from gateway.backends.spool_file import Change
from gateway.base64json import dumps, loads
from gateway.config import SessionsConfig
from gateway.errors import Reject

__all__ = ["Sockets", "Teller"]

log = logging.getLogger("sockgw.backend")

BATCH = 100
"""Messages in one request."""

ALIVE_BATCH = 1000
"""Sockets in one request that tells which are there."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds until a request is sent again: the first time, and after many. Half of it is random."""

LOOK = 10.0
"""Seconds between two looks for processes that have ended."""

CATCH_UP = 100
"""Sockets that are looked at in one turn of the loop."""

Kind: TypeAlias = Literal["connect", "disconnect"]
Sockets: TypeAlias = Callable[[], Sequence[Socket]]


class Teller:
    """Tells one backend of the sockets of this process, one request at a time.

    Everything goes through the spool, so what is told is on disk. `sockets` returns those that are
    there. `told` and `retries` count messages and requests. `former` is a teller with another
    spool, whose work this one goes on with.
    """

    def __init__(
        self, backend: HttpBackend, spool: Spool, sockets: Sockets, former: Teller | None = None
    ) -> None:
        self.backend, self.spool = backend, spool
        self.told: int = former.told if former else 0
        self.retries: int = former.retries if former else 0
        self.present: dict[str, str] = former.present if former else {}  # namespaces, by ids
        self._returning: dict[str, _Return] = former._returning if former else {}
        self._returned: dict[str, _Return] = former._returned if former else {}
        self._sockets = sockets
        self._batch: list[tuple[int, bytes]] = []
        self._failures = 0
        now = monotonic()
        self._try_at, self._look_at, self._alive_at = now, now, now + self._config.alive
        self._catching_up: asyncio.Task[None] | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())
        if spool.copy is not None:
            spool.copy.reaped = self._tell_anew
        self._cover()
        _copy(self.spool, self._config)

    @property
    def _config(self) -> SessionsConfig:
        config = self.backend.config.sessions
        assert config is not None
        return config

    @property
    def is_done(self) -> bool:
        """True if nothing waits, or if the backend does not take it."""
        return not (self.spool.entries or self._batch) or self._failures > 0

    def use(self, backend: HttpBackend) -> None:
        """Tell this backend from now on: that of another configuration."""
        former, self.backend = self._config, backend
        config = self._config
        self.spool.bounds = config.spool
        if config.alive != former.alive:
            self._alive_at = monotonic() + config.alive
        _copy(self.spool, self._config)
        if config.namespaces != former.namespaces:
            self._cover()
        self._try_at = monotonic()
        self.spool.changed.set()

    def accepted(self, socket: Socket) -> None:
        """Note that a socket is there."""
        if not self._covers(socket.namespace) or socket.id in self.present:
            return
        self.present[socket.id] = socket.namespace
        message = _message("connect", socket) if "connect" in self._config.notify else None
        self.spool.add(Change(socket.id, message, _message("disconnect", socket, GATEWAY_LOST)))

    def left(self, socket: Socket, reason: str) -> None:
        """Note that a socket is gone; `reason` is one of Socket.IO's."""
        if self.present.pop(socket.id, None) is None:
            return
        is_told = "disconnect" in self._config.notify
        self._returning.pop(socket.id, None)
        since = self._returned.pop(socket.id, None)
        message = _message("disconnect", socket, reason, since) if is_told else None
        self.spool.add(Change(socket.id, message, None))

    def look(self) -> None:
        """Look for processes that have ended: there is likely to be one."""
        self._look_at = monotonic()
        self.spool.changed.set()

    async def finish(self, timeout: float) -> None:
        """Tell what waits, for so many seconds at most, unless the backend does not take it."""
        await self.spool.flush()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self.is_done and not self._task.done():
                    self.spool.changed.set()
                    await asyncio.sleep(0.01)
        await self.stop()

    async def stop(self) -> None:
        """Tell nothing more."""
        tasks = [each for each in (self._task, self._catching_up) if each is not None]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def _covers(self, namespace: str) -> bool:
        covered = self._config.namespaces
        return not covered or namespace in covered

    def _cover(self) -> None:
        """Tell of sockets that are there already, a few at a time, and forget those of no more."""
        for socket in [each for each, name in self.present.items() if not self._covers(name)]:
            del self.present[socket]
            self._returning.pop(socket, None)
            self._returned.pop(socket, None)
            self.spool.add(Change(socket, None, None))
        self._catch_up()

    def _catch_up(self) -> None:
        """Tell of sockets that are there, or tell of them anew, a few at a time."""

        async def catch_up() -> None:
            sockets = self._sockets()
            for start in range(0, len(sockets), CATCH_UP):
                for socket in sockets[start : start + CATCH_UP]:
                    if socket.connected:
                        self.accepted(socket)
                    if (since := self._returning.pop(socket.id, None)) is not None:
                        self._returned[socket.id] = since
                        message = _message("connect", socket, None, since)
                        lost = _message("disconnect", socket, GATEWAY_LOST, since)
                        self.spool.add(Change(socket.id, message, lost))
                await asyncio.sleep(0)

        if self._catching_up is not None:
            self._catching_up.cancel()
        self._catching_up = asyncio.get_running_loop().create_task(catch_up())

    def _tell_anew(self) -> None:
        """Tell of the sockets that are there once more: others have told their ends."""
        if self.spool.copy is not None and "connect" in self._config.notify:
            since = _Return(self.spool.copy.epoch, rfc3339(time()))
            self._returning |= dict.fromkeys(self.present, since)
            self._catch_up()

    # The way to the backend

    async def _run(self) -> None:
        while True:
            self.spool.changed.clear()
            try:
                is_busy = await self._once()
            except Exception:
                log.exception("a fault in the gateway itself")
                self._try_at, is_busy = monotonic() + LONGEST_PAUSE, False
            if not is_busy:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._due() - monotonic()):
                        await self.spool.changed.wait()

    def _due(self) -> float:
        """The time at which there is something to do, if nothing changes before."""
        is_paused = monotonic() < self._try_at
        return min(self._look_at, self._try_at if is_paused else self._alive_at)

    async def _once(self) -> bool:
        """Do the next thing; return whether there may be another one."""
        now = monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK
            await self.spool.adopt(time(), tell="disconnect" in self._config.notify)
        if now < self._try_at:
            return False
        if now >= self._alive_at:
            self._alive_at = now + self._config.alive * uniform(0.9, 1)
            return await self._tell_alive()
        return await self._tell_next()

    async def _tell_next(self) -> bool:
        """Tell the messages that have waited for longest; they stay one request until told."""
        if self._batch:
            self.retries += 1
        else:
            self._batch = await self.spool.next(BATCH)
        if not self._batch:
            return False
        messages: list[Any] = [loads(body) for _, body in self._batch]
        first, last = messages[0], messages[-1]
        facts = {
            "type": "sessions",
            "id": f"{first['id']}-{len(messages)}",
            "time": last["time"],
            "messages": messages,
        }
        if await self._is_told(facts):
            ended = [each["socket"]["id"] for each in messages if each["type"] == "disconnect"]
            self.spool.forget(self._batch[-1][0], ended)
            self.told += len(messages)
            self._batch = []
        return self._failures == 0

    async def _tell_alive(self) -> bool:
        """Tell which sockets are there; a request that fails is not repeated."""
        known = [*self.present]
        for start in range(0, len(known), ALIVE_BATCH):
            batch = known[start : start + ALIVE_BATCH]
            facts = {
                "type": "alive",
                "id": f"msg_{token_hex(12)}",
                "time": rfc3339(time()),
                "every_ms": round(self._config.alive * 1000),
                "sockets": [each for each in batch if each in self.present],
            }
            if not await self._is_told(facts):
                return False
        return True

    async def _is_told(self, facts: dict[str, object]) -> bool:
        try:
            await self.backend.tell(self._config.path, facts)
        except Reject as reject:
            self._fail(reject)
            return False
        if self._failures:
            log.info("backend %s is told of sockets again", self.spool.name)
        self._failures = 0
        return True

    def _fail(self, reject: Reject) -> None:
        pause = min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
        after = reject.data.get("retry_after", 0) if isinstance(reject.data, dict) else 0
        asked = min(after, 2 * LONGEST_PAUSE) if isinstance(after, int | float) else 0
        self._try_at = monotonic() + max(pause * uniform(0.5, 1), asked)
        if not self._failures:
            log.warning(
                "backend %s: %s%s does not take messages about sockets: %s: they wait",
                *(self.spool.name, self.backend.config.shown, self._config.path, reject.code),
            )
        self._failures += 1


def _copy(spool: Spool, config: SessionsConfig) -> None:
    """Have ends copied for other machines, if they are told."""
    if spool.copy is not None:
        spool.copy.want("disconnect" in config.notify)
        spool.write_soon()


@dataclass(frozen=True, slots=True)
class _Return:
    """When a member came back that others had taken for lost, and its epoch from then on."""

    epoch: int
    time: str


def _message(
    kind: Kind, socket: Socket, reason: str | None = None, since: _Return | None = None
) -> bytes:
    """What a backend is told of a socket that comes or goes now."""
    user = socket.user
    facts: dict[str, object] = {
        "type": kind,
        # a socket has but one of each, unless its member has come back
        "id": f"{kind}-{socket.id}" if since is None else f"{kind}-{socket.id}.{since.epoch}",
        "time": rfc3339(time()),
        "namespace": socket.namespace,
        "socket": {
            "id": socket.id,
            "user": None if user is None else user.encode(errors="replace").decode(),
            "address": socket.handshake.address,
        },
        "connected_at": rfc3339(socket.handshake.time) if since is None else since.time,
    }
    if reason is not None:
        facts["reason"] = reason
    return dumps(facts)
