"""Shutdown: packets finish, clients are disconnected, chains unwind, services close."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from gateway.daemon.listener import Listener
from gateway.engineio.engine import Engine
from gateway.engineio.receiver import NOBODY
from gateway.engineio.session import Session
from gateway.engineio.transports import CLOSE_LIMIT
from gateway.http.connection import HttpServer
from gateway.runtime.live import Live
from gateway.socketio.server import Server

__all__ = ["CHAINS", "let_go", "shut_down"]

log = logging.getLogger("sockgw.server")

CHAINS = 10.0
"""Time for chains whose sockets are gone and for packets that arrived late, in seconds."""

PACE = 0.001
"""Longest time between closing two clients, in seconds: they should not all reconnect at once."""

EASY_PACE = 0.01
"""The same while another process serves already, so that nobody waits for them."""

PAUSE = 0.01
"""Time between two looks at what clients still do, in seconds."""


async def let_go(server: Server, http: HttpServer, timeout: float, window: float) -> None:
    """Let all clients go to the process that has taken the listening socket over.

    They are served until then, and spread over up to `window` seconds. A session is closed while
    nothing that its client asked for is under way, at most `timeout` seconds later than due.
    """
    engine, limit = server.engine, time.monotonic() + window + timeout
    count = len(engine.sessions)
    http.is_leaving = True
    pace = min(EASY_PACE, window / max(1, len(engine.sessions)))
    while time.monotonic() < limit:
        open_ones = [each for each in engine.sessions.values() if each.receiver is not NOBODY]
        if not open_ones and http.is_at_rest:
            break
        await _close_at_rest(open_ones, server.is_at_rest, pace, limit)
        await asyncio.sleep(PAUSE)
    _log_counts(log.info, "clients", (count, "let go"))


async def _close_at_rest(
    sessions: Sequence[Session],
    is_at_rest: Callable[[Session], bool],
    pace: float,
    limit: float,
) -> None:
    """Close sessions at rest, `pace` seconds apart, and the others once `limit` has passed."""
    due = time.monotonic()
    while sessions:
        busy = []
        for session in sessions:
            if not is_at_rest(session) and time.monotonic() < limit:
                busy.append(session)
                continue
            session.close("server shutting down")
            due += pace
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        sessions = busy
        if busy:
            await asyncio.sleep(PAUSE)


async def shut_down(
    server: Server,
    listener: Listener,
    timeout: float,
    window: float,
    tell: Callable[[], Awaitable[None]],
) -> None:
    """Shut down in this order; each step that has something to do logs a line.

    No new client is accepted. Packets in flight get `timeout` seconds, then their handlers are
    cancelled. Sessions are closed, spread over up to `window` seconds; their clients reconnect to
    another server. `tell` tells others of that. Connection chains unwind. Services close in reverse
    order.
    """
    live, engine = server.live, server.engine
    say = log.info if live.current else log.debug
    start = time.monotonic()
    engine.accepting = False
    # A polling client may need a new connection for each request, even to send its acks.
    if not any(session.transport == "polling" for session in engine.sessions.values()):
        await listener.stop_accepting()
    await _finish_packets(live, timeout, say)
    chains = live.chains
    await _disconnect_clients(engine, window, say)
    await listener.stop_accepting()
    await engine.shutdown()
    await tell()
    await _release(live, chains, say)
    await listener.close()
    say("stopped after %.1f s", time.monotonic() - start)


async def _finish_packets(live: Live, timeout: float, say: Callable[..., None]) -> None:
    count = live.packets
    if count:
        say("packets: waiting up to %g s for %d; a second signal ends it at once", timeout, count)
    cancelled = await live.drain(timeout)
    _log_counts(say, "packets", (count - cancelled, "finished"), _cancelled(cancelled, timeout))


async def _disconnect_clients(engine: Engine, window: float, say: Callable[..., None]) -> None:
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
    gone = len(sessions) - missed
    _log_counts(
        say, "clients", (gone, "disconnected"), (missed, "did not fetch their last packets")
    )


async def _release(live: Live, chains: int, say: Callable[..., None]) -> None:
    packets, services = live.packets, live.services
    cancelled = await live.unwind(CHAINS)
    late = (packets, "late packets waited for"), _cancelled(cancelled, CHAINS)
    _log_counts(say, "connection chains", (chains, "unwound"), *late)
    await live.close(CHAINS)
    _log_counts(say, "services", (services - live.services, "closed"))


def _cancelled(count: int, limit: float) -> tuple[int, str]:
    return count, f"cancelled after {limit:g} s"


def _log_counts(say: Callable[..., None], what: str, *counts: tuple[int, str]) -> None:
    """Log the counts that are not zero, if there are any."""
    if text := ", ".join(f"{count} {how}" for count, how in counts if count):
        say("%s: %s", what, text)
