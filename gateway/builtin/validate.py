"""`builtin.validate`: checks arguments of events against JSON Schemas."""

from __future__ import annotations

from gateway import Context, Middleware, Next
from gateway.builtin._schema import ArgumentsSchema, BadSchema, with_steps

__all__ = ["validate"]


def validate(events: dict[str, object]) -> Middleware:
    """Packet middleware with a JSON Schema for each of the `events` to check.

    A schema is for the list of the event's arguments; a list of schemas has one for each argument,
    and requires as many. The client gets `bad_request` with the first mistake and its place.
    Schemas are of draft 2020-12 unless `$schema` says otherwise, and can only refer to parts of
    themselves.
    """
    schemas = {event: _schema(event, written) for event, written in events.items()}

    async def check(ctx: Context, next: Next) -> None:
        if ctx.event in schemas:
            schemas[ctx.event].check(ctx.args)
        await next()

    return check


def _schema(event: str, written: object) -> ArgumentsSchema:
    try:
        return ArgumentsSchema(written)
    except BadSchema as error:
        where = with_steps(f"option 'events.{event}'", error.path)
        raise ValueError(f"{where}: {error.message}") from None
