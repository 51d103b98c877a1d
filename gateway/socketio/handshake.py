"""Handshakes on their way from the engine to the handshake chain and back."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from gateway.api import Handshake
from gateway.context import HandshakeContext
from gateway.engineio.handshake import Gate, PendingHandshake
from gateway.errors import Reject
from gateway.runtime.blueprint import Generation
from gateway.runtime.handshake import INTERNAL, refusal, why_refused
from gateway.runtime.live import Live
from gateway.runtime.outcome import error_payload, level_of, log_fault

__all__ = ["Handshakes"]


class Handshakes:
    """Runs handshakes through the handshake chain of the generation in `live`."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def find_gate(self) -> Gate | None:
        """The gate that new handshakes have to pass; `None` without handshake middleware."""
        generation = self._live.current
        if generation is None or generation.blueprint.handshake is None:
            return None
        return partial(self._begin, generation)

    def _begin(
        self, generation: Generation, pending: PendingHandshake
    ) -> asyncio.Task[None] | None:
        request = pending.request
        handshake = Handshake(
            query=request.query,
            headers=request.headers,
            address=pending.address,
            url=request.url,
            time=time.time(),
            secure=pending.is_secure,
        )
        ctx = HandshakeContext(handshake, generation.service, generation.gateway)
        return self._live.spawn(generation, _answer(ctx, generation, pending))


async def _answer(ctx: HandshakeContext, generation: Generation, pending: PendingHandshake) -> None:
    """Run one handshake through its chain, and answer it, whatever ends the chain."""
    reject: Reject | None = INTERNAL
    try:
        reject = await refusal(ctx, generation.blueprint)
    finally:
        if reject is None:
            pending.accept(ctx.headers.encode(), ctx.data)
        else:
            why = why_refused(ctx, generation.blueprint, reject)
            _refuse(ctx, pending, reject, why)


def _refuse(ctx: HandshakeContext, pending: PendingHandshake, reject: Reject, why: str) -> None:
    fields = ctx.headers.encode()
    try:
        pending.refuse(reject.status, fields, error_payload(reject), why, level_of(why))
    except (TypeError, ValueError) as error:
        log_fault(ctx, "in the data of a Reject", error)
        pending.refuse(INTERNAL.status, fields, error_payload(INTERNAL))
