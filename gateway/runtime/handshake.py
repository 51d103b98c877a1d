"""Handshakes: each asks for a session, and the handshake chain accepts or refuses it."""

from __future__ import annotations

import asyncio

from gateway.context import HandshakeContext
from gateway.errors import Reject
from gateway.runtime.blueprint import Blueprint
from gateway.runtime.chain import nothing
from gateway.runtime.outcome import (
    FAULTS,
    RETURNED,
    is_cancelled,
    log_fault,
    reason_of,
    refused_by,
)

__all__ = ["INTERNAL", "refusal", "why_refused"]

INTERNAL = Reject("internal", "internal error", status=500)
REFUSED = Reject("refused", "connection refused")
CANCELLED = Reject("cancelled", "the gateway reloads or stops: try again", status=503)


def why_refused(ctx: HandshakeContext, blueprint: Blueprint, reject: Reject) -> str:
    """The reason why a handshake was refused, for the log; "" if there is none to tell."""
    if reject is INTERNAL or reject is CANCELLED:
        return ""
    reason = RETURNED if reject is REFUSED else f": HTTP {reject.status}{reason_of(reject)}"
    return refused_by(ctx, blueprint.handshake_links, reason)


async def refusal(ctx: HandshakeContext, blueprint: Blueprint) -> Reject | None:
    """Run a handshake through the chain; `None` if every middleware has let it pass."""
    assert blueprint.handshake is not None
    ctx._end = nothing
    try:
        await blueprint.handshake(ctx)
    except Reject as reject:
        return reject
    except (*FAULTS, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            return CANCELLED
        log_fault(ctx, "in a handshake", error)
        return INTERNAL
    is_through = ctx._at == len(blueprint.handshake_links)
    return None if is_through else REFUSED
