"""A plugin's fault, as its author wants to see it: the traceback without the gateway's frames."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from gateway.api import Context

__all__ = ["FAULTS", "log_fault"]

FAULTS = (Exception, SystemExit)
"""What a plugin may raise and must not end the daemon with."""

_PACKAGE = Path(__file__).parent.parent
_OURS = tuple(
    str(_PACKAGE / part) for part in ("api.py", "compiler.py", "runtime", "socketio", "engineio")
)


def log_fault(ctx: Context, where: str, error: BaseException) -> None:
    """Log what a plugin raised; `where` completes `NameError in ...`."""
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
