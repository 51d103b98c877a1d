"""Outcomes: how a packet or a connection ended, and the error that its client gets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType

from gateway.api import Context
from gateway.errors import Reject
from gateway.runtime.blueprint import Route

__all__ = [
    "BUSY",
    "FAULTS",
    "OUTCOMES",
    "cancelled",
    "connect_error_data",
    "error_payload",
    "late",
    "log_fault",
    "outcome_of",
    "unanswered",
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
"""Outcomes that packets are counted by; codes of plugins count as `rejected`."""

BUSY = Reject("busy", "too much to do", {"retry_after": 1})
"""The refusal of sockets and packets when the gateway is overloaded. Seconds."""

FAULTS = (Exception, SystemExit)
"""Exceptions that a plugin may raise without ending the daemon."""

_PACKAGE = Path(__file__).parent.parent
_OURS = tuple(
    str(_PACKAGE / part)
    for part in ("api.py", "compiler.py", "runtime", "socketio", "engineio", "http")
)


def outcome_of(ctx: Context, error: BaseException) -> Reject:
    """The outcome of an exception that a plugin raised; one that is no `Reject` is logged."""
    if isinstance(error, Reject):
        return error
    what = "connecting" if ctx.event == "connect" else f"event {ctx.event!r}"
    log_fault(ctx, f"in {what}", error)
    return Reject("internal", "internal error")


def cancelled(ctx: Context, error: asyncio.CancelledError) -> Reject:
    """The outcome of a packet that was cancelled.

    Its socket is still there, so the ack is owed even though the handler did not get to it.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return late(ctx)
    return outcome_of(ctx, error)


def unanswered(ctx: Context, route: Route, links: int) -> Reject | None:
    """The outcome of a packet without a reply; `links` is the length of its chain."""
    if ctx._at < links:
        return Reject("dropped", f"event '{ctx.event}' was dropped")
    if route.handler is None:
        return Reject("unknown_event", f"no route for event '{ctx.event}'")
    return None


def late(ctx: Context) -> Reject:
    """The outcome of a packet that took too long."""
    return Reject("timeout", f"event '{ctx.event}' took too long")


def error_payload(reject: Reject) -> dict[str, object]:
    """A refused packet's error, as its client gets it."""
    error: dict[str, object] = {"code": reject.code, "message": reject.message}
    if reject.data is not None:
        error["data"] = reject.data
    return error


def connect_error_data(reject: Reject) -> dict[str, object]:
    """The data of a `connect_error`; its message is sent beside it."""
    error = error_payload(reject)
    del error["message"]
    return error


def log_fault(ctx: Context, where: str, error: BaseException) -> None:
    """Log what a plugin raised, without the gateway's frames.

    `where` completes `NameError in ...`.
    """
    trace = _without_ours(error.__traceback__)
    ctx.log.error("%s %s", type(error).__name__, where, exc_info=(type(error), error, trace))


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    if trace is None:
        return None
    rest = _without_ours(trace.tb_next)
    frame = trace.tb_frame
    if frame.f_code.co_filename.startswith(_OURS):
        return rest
    return TracebackType(rest, frame, trace.tb_lasti, trace.tb_lineno)
