"""The end: what is under way is finished, clients are told, chains unwind, services close."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from gateway.daemon.listener import Listener
from gateway.engineio.engine import Engine
from gateway.engineio.session import CLOSE_LIMIT
from gateway.runtime.live import Live
from gateway.socketio.server import Server

__all__ = ["CHAINS", "shut_down"]

log = logging.getLogger("sockgw.server")

CHAINS = 10.0
"""Seconds that chains get after their sockets are gone, and packets that came during the end."""

PACE = 0.001
"""Seconds between two clients that are told to go, so that they do not all come back at once."""

PAUSE = 0.01
"""Seconds between two looks at whether clients on polling have asked for their last packets."""


async def shut_down(server: Server, listener: Listener, drain: float, window: float) -> None:
    """End in this order; each step that has something to do is a line in the log.

    Nobody new is taken. Packets under way get `drain` seconds, then their handlers are cancelled.
    Clients are told, spread over `window` seconds if there are that many, by the end of their
    session: so they come back by themselves, to whoever serves then. Connection chains unwind.
    Services close, the last started first.
    """
    live, engine = server.live, server.engine
    say = log.info if live.current else log.debug
    start = time.monotonic()
    engine.accepting = False
    # A client on polling may need a new connection for every request, the one for its acks too.
    if not any(session.transport == "polling" for session in engine.sessions.values()):
        await listener.stop_accepting()
    await _finish_packets(live, drain, say)
    chains = live.chains
    await _tell_clients(engine, window, say)
    await listener.stop_accepting()
    await engine.shutdown()
    await _release(live, chains, say)
    await listener.close()
    say("stopped after %.1f s", time.monotonic() - start)


async def _finish_packets(live: Live, drain: float, say: Callable[..., None]) -> None:
    count = live.packets
    if count:
        say("packets: waiting up to %g s for %d; a second signal ends it at once", drain, count)
    cancelled = await live.drain(drain)
    _tell(say, "packets", (count - cancelled, "finished"), _cancelled(cancelled, drain))


async def _tell_clients(engine: Engine, window: float, say: Callable[..., None]) -> None:
    sessions, start = list(engine.sessions.values()), time.monotonic()
    window = min(window, PACE * len(sessions))
    for number, session in enumerate(sessions):
        due = start + window * number / len(sessions)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        session.close("server shutting down")
    limit = time.monotonic() + CLOSE_LIMIT
    while engine.sessions and time.monotonic() < limit:  # noqa: ASYNC110
        await asyncio.sleep(PAUSE)
    missed = len(engine.sessions)
    told = len(sessions) - missed
    _tell(say, "clients", (told, "told to go"), (missed, "did not ask for their last packets"))


async def _release(live: Live, chains: int, say: Callable[..., None]) -> None:
    packets, services = live.packets, live.services
    cancelled = await live.unwind(CHAINS)
    late = (packets, "late packets waited for"), _cancelled(cancelled, CHAINS)
    _tell(say, "connection chains", (chains, "unwound"), *late)
    await live.close(CHAINS)
    _tell(say, "services", (services - live.services, "closed"))


def _cancelled(count: int, limit: float) -> tuple[int, str]:
    return count, f"cancelled after {limit:g} s"


def _tell(say: Callable[..., None], what: str, *counts: tuple[int, str]) -> None:
    """Say how many of what; of what there was nothing, nothing."""
    if told := ", ".join(f"{count} {how}" for count, how in counts if count):
        say("%s: %s", what, told)
