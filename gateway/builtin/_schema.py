"""JSON Schemas of arguments, for `builtin.validate` and for a route's `schema`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from time import perf_counter
from typing import Any, TypeAlias

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from gateway import Reject, Value
from gateway.builtin._keywords import TooMuch, bounded, cheap_first, references

__all__ = [
    "COST",
    "MAX_VALUES",
    "ArgumentsSchema",
    "BadSchema",
    "Cost",
    "unknown_keywords",
    "with_steps",
]

Steps: TypeAlias = tuple[str | int, ...]

_NEWEST = "https://json-schema.org/draft/2020-12/schema"
_LONGEST = 120

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_BOUNDS = (
    ("minItems", "maxItems"),
    ("minLength", "maxLength"),
    ("minProperties", "maxProperties"),
    ("minimum", "maximum"),
)
_BY_NAME = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_KEYWORDS = {
    *Draft202012Validator.VALIDATORS,
    *("$anchor", "$comment", "$defs", "$id", "$schema", "contentEncoding", "contentMediaType"),
    *("default", "deprecated", "description", "else", "examples", "maxContains", "minContains"),
    *("readOnly", "then", "title", "writeOnly"),
}
MAX_VALUES = 5_000
"""Values in the arguments of one packet that are checked, unless an option says otherwise.

jsonschema takes about 10 us for each.
"""


@dataclass(slots=True)
class Cost:
    """What all checks of this process took: their number, those that refused, and seconds."""

    checks: int = 0
    refused: int = 0
    seconds: float = 0.0


COST = Cost()


class BadSchema(ValueError):
    """An invalid schema; `path` has the keys and positions that lead to the mistake."""

    def __init__(self, path: Steps, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(path, message)


class ArgumentsSchema:
    """A check of an event's arguments.

    A schema is for the list of arguments; a list of schemas has one for each, and requires as many.
    They are of draft 2020-12 unless `$schema` says otherwise, and can only refer to parts of
    themselves. Arguments of more than `max_values` values are refused unseen, counting those in
    arrays and objects. Raises `BadSchema`.
    """

    __slots__ = ("_max_values", "_validator")

    def __init__(self, written: object, max_values: int = MAX_VALUES) -> None:
        self._max_values = max_values
        schema = _of_each(written) if isinstance(written, list) else written
        if not isinstance(schema, dict):
            raise BadSchema((), "expected a JSON Schema, or a list of one for each argument")
        try:
            self._validator = _validator(schema)
        except BadSchema as error:
            path = error.path[1:] if isinstance(written, list) else error.path
            raise BadSchema(path, error.message) from None

    def check(self, args: list[Value]) -> None:
        """Raise `Reject` with the first mistake in these arguments, and its place."""
        start = perf_counter()
        mistake = self._mistake(args)
        COST.seconds += perf_counter() - start
        COST.checks += 1
        if mistake is not None:
            COST.refused += 1
            raise Reject("bad_request", mistake)

    def _mistake(self, args: list[Value]) -> str | None:
        if _has_more(args, self._max_values):
            return f"args: more than {self._max_values} values"
        references.set(self._max_values // 2 + 100)  # following one costs what two values do
        try:
            error = next(self._validator.iter_errors(args), None)
        except RecursionError:  # the client nests deeply, and the schema refers to itself
            return "args: nested too deeply"
        except TooMuch:
            return "args: too much to check"
        return None if error is None else _describe(error)


def with_steps(root: str, path: Iterable[str | int]) -> str:
    """Format a path below `root`, such as `args[0].x`."""
    return root + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in path)


def _has_more(args: list[Value], values: int) -> bool:
    """Tell whether there are more than so many values in the arguments."""
    waiting: list[Any] = [args]
    while waiting:
        each = waiting.pop()
        values -= len(each)
        if values < 0:
            return True
        members = each.values() if isinstance(each, dict) else each
        waiting += [member for member in members if isinstance(member, dict | list)]
    return False


def _of_each(schemas: list[object]) -> dict[str, object]:
    count = {"minItems": len(schemas), "maxItems": len(schemas)}
    return {"prefixItems": schemas, **count} if schemas else {**count}


def _validator(schema: dict[str, Any]) -> Validator:
    kind = _kind(schema.get("$schema", _NEWEST))
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise BadSchema(tuple(error.absolute_path), _fault(error)) from None
    _check_references(schema)
    _check_bounds(schema)
    return bounded(kind)(cheap_first(schema), registry=Registry())  # empty: nothing is fetched


def _fault(error: SchemaError) -> str:
    if list(error.absolute_path)[-1:] != ["type"]:
        return f"not a JSON Schema: {error.message}"
    near = get_close_matches(str(error.instance), _TYPES, n=1)
    guess = f", did you mean {near[0]!r}?" if near else f"; types: {', '.join(_TYPES)}"
    return f"not a JSON Schema: there is no type {error.instance!r}{guess}"


def _check_bounds(schema: dict[str, Any]) -> None:
    """Refuse a least that is above its most: no value would fit."""
    for path, part in _parts(schema, ()):
        for least, most in _BOUNDS:
            low, high = part.get(least), part.get(most)
            if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
                raise BadSchema((*path, least), f"nothing fits: {least!r} is above {most!r}")


def unknown_keywords(schema: object) -> Iterator[tuple[Steps, str]]:
    """Yield the keywords that are near to one of draft 2020-12, and that one."""
    for path, part in _parts(schema, ()):
        if path[-1:] and path[-1] in _BY_NAME:
            continue  # its keys are names
        for key in part.keys() - _KEYWORDS:
            for near in get_close_matches(str(key), _KEYWORDS, n=1, cutoff=0.8):
                yield (*path, key), near


def _parts(schema: object, path: Steps) -> Iterator[tuple[Steps, Mapping[str, Any]]]:
    """Yield every mapping of a schema, and its path, but not those that are values."""
    if isinstance(schema, Mapping):
        yield path, schema
        parts: Iterable[tuple[str | int, object]] = schema.items()
    else:
        parts = enumerate(schema) if isinstance(schema, list) else ()
    for key, part in parts:
        if key not in ("const", "default", "enum", "examples"):
            yield from _parts(part, (*path, key))


def _kind(draft: object) -> type[Validator]:
    unknown: Any = None  # the default treats an unknown draft as the newest
    kind = validator_for({"$schema": draft}, default=unknown) if isinstance(draft, str) else None
    if kind is None:
        raise BadSchema(("$schema",), f"expected a draft of JSON Schema such as {_NEWEST}")
    return kind


def _check_references(schema: dict[str, Any]) -> None:
    """Check references now; otherwise only the first packet would find a broken one."""
    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    resolver = Registry().with_resource("", resource).resolver("")
    for path, reference in _references(schema, ()):
        try:
            resolver.lookup(reference)
        except (Unresolvable, ValueError):  # an invalid URL
            raise BadSchema(path, f"the schema has no {reference!r} to refer to") from None


def _references(schema: object, path: Steps) -> Iterator[tuple[Steps, str]]:
    if isinstance(schema, Mapping):
        if isinstance(reference := schema.get("$ref"), str):
            yield (*path, "$ref"), reference
        parts: Iterable[tuple[str | int, object]] = schema.items()
    else:
        parts = enumerate(schema) if isinstance(schema, list) else ()
    for key, part in parts:
        yield from _references(part, (*path, key))


def _describe(error: ValidationError) -> str:
    """Describe the place and the mistake, without sending a large argument back."""
    reason = error.message
    if reason.startswith(" "):
        reason = f"{error.instance!r}{reason}"
    if len(reason) > _LONGEST:
        reason = f"does not fit {error.validator} {error.validator_value!r}"[:_LONGEST]
    return f"{with_steps('args', error.absolute_path)[:_LONGEST]}: {reason}"
