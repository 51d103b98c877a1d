"""`builtin.validate`: checks arguments of events against JSON Schemas."""

from __future__ import annotations

from gateway import Context, Middleware, Next
from gateway.builtin._schema import MAX_VALUES, ArgumentsSchema, BadSchema, with_steps

__all__ = ["validate"]


def validate(events: dict[str, object], max_values: int = MAX_VALUES) -> Middleware:
    """Packet middleware with a JSON Schema for each of the `events` to check.

    A schema is for the list of the event's arguments; a list of schemas has one for each argument,
    and requires as many. The client gets `bad_request` with the first mistake and its place, or
    because its arguments have more than `max_values` values, counting those in arrays and objects.
    Schemas are of draft 2020-12 unless `$schema` says otherwise, and can only refer to parts of
    themselves.
    """
    if max_values <= 0:
        raise ValueError("option 'max_values' must be more than 0")
    schemas = {event: _schema(event, each, max_values) for event, each in events.items()}

    async def check(ctx: Context, next: Next) -> None:
        if ctx.event in schemas:
            schemas[ctx.event].check(ctx.args)
        await next()

    return check


def _schema(event: str, written: object, max_values: int) -> ArgumentsSchema:
    try:
        return ArgumentsSchema(written, max_values)
    except BadSchema as error:
        where = with_steps(f"option 'events.{event}'", error.path)
        raise ValueError(f"{where}: {error.message}") from None
