"""`builtin.validate`: holds the arguments of events to JSON Schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from gateway import Context, Middleware, Next, Reject

__all__ = ["validate"]

_LONGEST = 120


def validate(events: dict[str, object]) -> Middleware:
    """Packet middleware: a JSON Schema for each event that is to be checked.

    A schema is for the list of the event's arguments; a list of schemas is one for each argument,
    and asks for as many. Of what does not fit the first problem is told, with `bad_request`, and
    where it is. Schemas are of draft 2020-12 unless `$schema` says otherwise; they refer to
    nothing outside themselves.
    """
    validators = {event: _validator(event, schema) for event, schema in events.items()}

    async def check(ctx: Context, next: Next) -> None:
        validator = validators.get(ctx.event)
        if validator is not None and (fault := _first_fault(validator, ctx.args)):
            raise Reject("bad_request", fault)
        await next()

    return check


def _first_fault(validator: Validator, args: Any) -> str | None:
    try:
        error = next(validator.iter_errors(args), None)
    except RecursionError:  # the client's doing, where a schema refers to itself
        return "args: nested too deeply"
    return None if error is None else _told(error)


def _validator(event: str, written: object) -> Validator:
    where = f"option 'events.{event}'"
    schema = _of_each(written) if isinstance(written, list) else written
    if not isinstance(schema, dict):
        raise ValueError(f"{where} must be a JSON Schema, or a list of one for each argument")
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        place = _path(where, error)
        raise ValueError(f"{place} is no JSON Schema: {error.message}") from None
    _check_references(where, schema)
    return kind(schema, registry=Registry())  # an empty one: nothing is fetched


def _of_each(schemas: list[object]) -> dict[str, object]:
    count = {"minItems": len(schemas), "maxItems": len(schemas)}
    return {**count, "prefixItems": schemas} if schemas else {**count}


def _told(error: ValidationError) -> str:
    """Where and why, without sending a large argument back."""
    reason = error.message
    if len(reason) > _LONGEST:
        reason = f"does not fit {error.validator} {error.validator_value!r}"[:_LONGEST]
    return f"{_path('args', error)[:_LONGEST]}: {reason}"


def _path(root: str, error: Any) -> str:
    steps = (f"[{each}]" if isinstance(each, int) else f".{each}" for each in error.absolute_path)
    return root + "".join(steps)


def _check_references(where: str, schema: dict[str, object]) -> None:
    """A reference that leads nowhere would be found by the first packet only."""
    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    resolver = Registry().with_resource("", resource).resolver("")
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            message = f"{where}: the schema has no {reference!r} to refer to"
            raise ValueError(message) from None


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part)
