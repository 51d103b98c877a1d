"""Outcomes of packets and connections, and the errors that their clients get."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType

from gateway.context import Context, HandshakeContext
from gateway.errors import Reject
from gateway.runtime.blueprint import Route
from gateway.runtime.cancellation import Cause
from gateway.runtime.chain import AnyContext, Link
from gateway.runtime.connection import ConnectionContext

__all__ = [
    "BUSY",
    "FAULTS",
    "OUTCOMES",
    "RETURNED",
    "TooManySockets",
    "cancelled",
    "connect_error_data",
    "error_payload",
    "is_cancelled",
    "is_fault",
    "level_of",
    "log_fault",
    "outcome_of",
    "reason_of",
    "refused_by",
    "unanswered",
    "unsendable",
]

OUTCOMES = (
    "ok",
    "unknown_event",
    "bad_request",
    "dropped",
    "timeout",
    "cancelled",
    "internal",
    "busy",
    "rejected",
)
"""Outcomes by which packets are counted; a plugin's own codes count as `rejected`."""

BUSY = Reject("busy", "too much to do", {"retry_after": 1})
"""The refusal of sockets and packets under overload; `retry_after` is in seconds."""

RETURNED = " returned without calling next(); to refuse on purpose, raise Reject"
"""The reason, for the log, of a refusal without an exception."""

FAULTS = (Exception, SystemExit)
"""Exceptions that a plugin may raise without ending the daemon; see `is_fault` for others."""

_PACKAGE = Path(__file__).parent.parent
_OURS = tuple(
    str(_PACKAGE / part)
    for part in (
        "api.py",
        "users.py",
        "compiler.py",
        "headers.py",
        "runtime",
        "socketio",
        "engineio",
        "http",
    )
)
_BUILT_IN = (str(_PACKAGE / "builtin"),)


class TooManySockets(Reject):
    """Refuses one more socket of a user. The log has the limit already."""


def is_fault(error: BaseException, chain: FrameType | None) -> bool:
    """Tell whether an exception, caught in a chain's frame, is a plugin's to answer for.

    `KeyboardInterrupt` ends the daemon. `GeneratorExit` may be the interpreter's, which throws it
    into a coroutine that it closes; such a coroutine must end and not await anything.
    """
    if isinstance(error, GeneratorExit):
        return chain is not None and _runs(chain)
    return not isinstance(error, asyncio.CancelledError | KeyboardInterrupt)


def _runs(chain: FrameType) -> bool:
    """Tell whether a coroutine's frame is run by its task."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # the loop has ended
        return False
    return task is not None and getattr(task.get_coro(), "cr_frame", None) is chain


def outcome_of(ctx: Context, error: BaseException) -> Reject:
    """The outcome of an exception that a plugin raised; it is logged unless it is a `Reject`."""
    if isinstance(error, Reject):
        return error
    if isinstance(ctx, ConnectionContext):
        where = "after the client left" if ctx.has_left else "in connecting"
    else:
        where = f"in event {ctx.event!r}"
    log_fault(ctx, where, error)
    return Reject("internal", "internal error")


def reason_of(error: BaseException) -> str:
    """The reason, for the log, of a refusal by an exception; "" for one that is logged itself.

    Notes that were added to a `Reject` are for the log only.
    """
    if not isinstance(error, Reject) or isinstance(error, TooManySockets):
        return ""
    notes: Sequence[str] = getattr(error, "__notes__", ())
    return f": {error}" + "".join(f" ({note})" for note in notes)


def refused_by(ctx: AnyContext, links: Sequence[Link[AnyContext]], reason: str) -> str:
    """The middleware that let nobody pass, and its reason; "" if there is none to log."""
    name = links[min(ctx._at, len(links) - 1)].name
    return f"middleware {name!r}{reason}" if reason else ""


def level_of(why: str) -> int:
    """The level at which a refusal is logged: a forgotten `next()` lets nobody pass, ever."""
    return logging.WARNING if why.endswith(RETURNED) else logging.INFO


def cancelled(ctx: Context, by: Cause) -> Reject:
    """The outcome of a packet that was cancelled.

    Its socket is still there, so it still gets an ack.
    """
    if by == "timeout":
        return Reject("timeout", f"event '{ctx.event}' took too long")
    return Reject("cancelled", f"event '{ctx.event}' was cancelled by a {by}")


def is_cancelled() -> bool:
    """True if somebody has cancelled the running task, rather than a task that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def unsendable(ctx: Context, error: Exception) -> Reject:
    """The outcome that replaces a `Reject` whose data cannot be sent; the fault is logged."""
    log_fault(ctx, "in the data of a Reject", error)
    return Reject("internal", "internal error")


def unanswered(ctx: Context, route: Route) -> Reject | None:
    """The outcome of a packet without a reply; `None` if its handler ran."""
    if ctx._at < route.length:
        return Reject("dropped", f"event '{ctx.event}' was dropped")
    if route.handler is None:
        return Reject("unknown_event", f"no route for event '{ctx.event}'")
    return None


def error_payload(reject: Reject) -> dict[str, object]:
    """The error of a refused packet, as sent to the client."""
    error: dict[str, object] = {"code": reject.code, "message": reject.message}
    if reject.data is not None:
        error["data"] = reject.data
    return error


def connect_error_data(reject: Reject) -> dict[str, object]:
    """The data of a `connect_error`, which has the message in another field."""
    error = error_payload(reject)
    del error["message"]
    return error


def log_fault(ctx: Context | HandshakeContext, where: str, error: BaseException) -> None:
    """Log an exception of a plugin, without the gateway's frames in its traceback.

    `where` follows the exception, as in `NameError in connecting`.
    """
    trace = _without_ours(error.__traceback__)
    ctx.log.error("%s %s", type(error).__name__, where, exc_info=(type(error), error, trace))


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    if trace is None:
        return None
    rest = _without_ours(trace.tb_next)
    frame = trace.tb_frame
    if _is_in(trace, _OURS):
        return rest
    if rest is not None and _is_in(trace, _BUILT_IN) and _is_in(trace.tb_next, _OURS):
        return rest  # a built-in that has called next()
    return TracebackType(rest, frame, trace.tb_lasti, trace.tb_lineno)


def _is_in(trace: TracebackType | None, folders: tuple[str, ...]) -> bool:
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(folders)
