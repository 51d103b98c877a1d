"""Verdicts: why a packet or a socket is not what its client wanted, and how it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.api import Context
from gateway.errors import Reject
from gateway.runtime.blueprint import Route
from gateway.runtime.fault import log_fault

__all__ = [
    "BUSY",
    "OUTCOMES",
    "arguments",
    "cancelled",
    "error_of",
    "late",
    "told",
    "unanswered",
    "verdict_on",
]

OUTCOMES = (
    "ok",
    "unknown_event",
    "bad_request",
    "dropped",
    "timeout",
    "internal",
    "busy",
    "rejected",
)
"""What becomes of packets; a plugin's own codes are `rejected`."""

BUSY = Reject("busy", "too much to do", {"retry_after": 1})
"""To sockets and to packets, past what the gateway can do; seconds."""


def verdict_on(ctx: Context, error: BaseException) -> Reject:
    """What an exception of a plugin comes to; one that is no `Reject` is logged."""
    if isinstance(error, Reject):
        return error
    what = "connecting" if ctx.event == "connect" else f"event {ctx.event!r}"
    log_fault(ctx, f"in {what}", error)
    return Reject("internal", "internal error")


def cancelled(ctx: Context, error: asyncio.CancelledError) -> Reject:
    """The socket is still there, so its ack is owed even though the handler did not get to it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return late(ctx)
    return verdict_on(ctx, error)


def unanswered(ctx: Context, route: Route) -> Reject | None:
    """What became of a packet whose chain has ended without a reply."""
    if not ctx._ended:
        return Reject("dropped", f"event '{ctx.event}' was dropped")
    if route.handler is None:
        return Reject("unknown_event", f"no route for event '{ctx.event}'")
    return None


def late(ctx: Context) -> Reject:
    """A packet that took too long."""
    return Reject("timeout", f"event '{ctx.event}' took too long")


def arguments(reply: object) -> Sequence[object]:
    """The arguments of the ack that carries a reply."""
    if reply is None:
        return ()
    return reply if isinstance(reply, tuple) else (reply,)


def error_of(verdict: Reject) -> dict[str, object]:
    """A verdict on a packet, as clients are told it."""
    error: dict[str, object] = {"code": verdict.code, "message": verdict.message}
    if verdict.data is not None:
        error["data"] = verdict.data
    return error


def told(verdict: Reject) -> dict[str, object]:
    """The data of a `connect_error`, which has a message besides."""
    error = error_of(verdict)
    del error["message"]
    return error
