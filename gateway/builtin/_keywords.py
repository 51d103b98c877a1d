"""Keywords of JSON Schema that stay cheap whatever a client sends.

jsonschema compares the items of `uniqueItems` in pairs, collects every mistake of every branch of
`anyOf`, and makes a new validator for each item of an array. These keywords accept and refuse the
same values, but for the two bounds below.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeAlias

from jsonschema import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

__all__ = ["LONGEST_MATCHED", "MOST_UNEVALUATED", "TooMuch", "bounded", "cheap_first", "references"]

LONGEST_MATCHED = 1_000
"""Characters of a text that `pattern` is tried on, unless the schema has a `maxLength` beside it.

Many innocent patterns take time by the square of the length.
"""

MOST_UNEVALUATED = 1_000
"""Members of a value that has `unevaluatedItems` or `unevaluatedProperties`.

jsonschema looks each of them up in a list of the others.
"""

references: ContextVar[int] = ContextVar("references")
"""References that the running check may still follow.

A schema that refers to itself twice doubles the work with each level of the arguments.
"""

_CHEAP = frozenset(
    [
        "type",
        "required",
        "maxItems",
        "minItems",
        "maxLength",
        "minLength",
        "maxProperties",
        "minProperties",
    ]
)
_BY_NAME = frozenset(
    ["properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"]
)
_VALUES = frozenset(["const", "enum", "default", "examples"])
_IDS = ("$id", "id")

_Errors: TypeAlias = Iterator[ValidationError]
_Keyword: TypeAlias = Callable[[Any, Any, Any, Any], _Errors | None]


class TooMuch(Exception):
    """A check takes more work than it may."""


def cheap_first(schema: Any) -> Any:
    """Copy a schema, with the keywords first that bound the work of the others."""
    if isinstance(schema, list):
        return [cheap_first(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    parts = sorted(schema.items(), key=lambda part: part[0] not in _CHEAP)
    return {key: _part(key, part) for key, part in parts}


def _part(key: str, part: Any) -> Any:
    if key in _VALUES:
        return part
    if key in _BY_NAME and isinstance(part, dict):
        return {name: cheap_first(each) for name, each in part.items()}
    return cheap_first(part)


@cache
def bounded(kind: type[Validator]) -> type[Validator]:
    """Make a validator class like `kind`, of which each keyword is cheap.

    A check raises `TooMuch` when it follows more than `references`. A message that begins with a
    space lacks the value that it is about.
    """
    ours: dict[str, Callable[[_Keyword], _Keyword]] = {
        "anyOf": lambda _: _any_of,
        "oneOf": lambda _: _one_of,
        "uniqueItems": lambda _: _unique_items,
        "items": _items,
        "pattern": _unless(_long_text),
        "patternProperties": _unless(_long_key),
        "additionalProperties": _unless(_long_key),
        "unevaluatedItems": _unless(_many_members),
        "unevaluatedProperties": _unless(_many_members),
        "multipleOf": _multiple_of,
        "$ref": _counted,
        "$dynamicRef": _counted,
        "$recursiveRef": _counted,
    }
    theirs: Mapping[str, Any] = kind.VALIDATORS
    keywords: Any = {key: make(theirs[key]) for key, make in ours.items() if key in theirs}
    made: type[Validator] = extend(kind, keywords)  # type: ignore[no-untyped-call]
    return made


def _fits(validator: Any, schema: Any, instance: Any) -> bool:
    if isinstance(schema, dict) and "$ref" not in schema:
        # Most branches are for another type, and making the message costs more than to see that.
        wanted = schema.get("type")
        if isinstance(wanted, str) and not validator.is_type(instance, wanted):
            return False
    return next(validator.descend(instance, schema), None) is None


def _any_of(validator: Any, branches: Sequence[Any], instance: Any, _: Any) -> _Errors:
    if not any(_fits(validator, each, instance) for each in branches):
        yield ValidationError(" is not valid under any of the given schemas")


def _one_of(validator: Any, branches: Sequence[Any], instance: Any, _: Any) -> _Errors:
    fitting = [each for each in branches if _fits(validator, each, instance)]
    if not fitting:
        yield ValidationError(" is not valid under any of the given schemas")
    elif len(fitting) > 1:
        first, *others = fitting
        schemas = ", ".join(map(repr, [*others, first]))
        yield ValidationError(f" is valid under each of {schemas}")


def _unique_items(validator: Any, wanted: Any, instance: Any, _: Any) -> _Errors:
    if wanted and validator.is_type(instance, "array") and len(instance) > 1:
        seen: set[Hashable] = set()
        for item in instance:
            key = _canonical(item)
            if key in seen:
                yield ValidationError(" has non-unique elements")
                return
            seen.add(key)


def _canonical(value: object) -> Hashable:
    """Make a key that is equal for equal JSON: 1 and 1.0 are, 1 and true are not.

    Numbers become text, because a client can choose numbers that have all the same hash.
    """
    match value:
        case bool() | None | str() | bytes():
            return value
        case list():
            return ("list", *map(_canonical, value))
        case dict():
            return frozenset((key, _canonical(each)) for key, each in value.items())
        case float() if value.is_integer():
            return ("number", f"{int(value):x}")
        case int():
            return ("number", f"{value:x}")
    return ("number", repr(value))


def _items(keyword: _Keyword) -> _Keyword:
    def items(validator: Any, schema: Any, instance: Any, around: Any) -> _Errors:
        is_near = isinstance(schema, dict) and not any(key in schema for key in _IDS)
        if not is_near or not validator.is_type(instance, "array"):
            yield from keyword(validator, schema, instance, around) or ()
            return
        one = validator.evolve(schema=schema)
        first = len(around.get("prefixItems", ()))
        for index in range(first, len(instance)):
            for error in one.iter_errors(instance[index]):
                error.path.appendleft(index)
                yield error

    return items


def _unless(refusal: Callable[[Any, Any], str | None]) -> Callable[[_Keyword], _Keyword]:
    """Have a keyword refuse an instance, given the schema around it, before it is checked."""

    def guard(keyword: _Keyword) -> _Keyword:
        def guarded(validator: Any, part: Any, instance: Any, around: Any) -> _Errors:
            refused = refusal(instance, around)
            if refused is not None:
                yield ValidationError(refused)
                return
            yield from keyword(validator, part, instance, around) or ()

        return guarded

    return guard


def _long_text(instance: Any, around: Any) -> str | None:
    is_text = isinstance(instance, str)
    if not is_text or len(instance) <= LONGEST_MATCHED or "maxLength" in around:
        return None
    without = "the most for a 'pattern' without a 'maxLength'"
    return f"longer than {LONGEST_MATCHED} characters, {without}"


def _long_key(instance: Any, around: Any) -> str | None:
    is_matched = "patternProperties" in around and isinstance(instance, dict)
    if not is_matched or all(len(key) <= LONGEST_MATCHED for key in instance):
        return None
    return f"a key is longer than {LONGEST_MATCHED} characters, the most for 'patternProperties'"


def _many_members(instance: Any, around: Any) -> str | None:
    if not isinstance(instance, list | dict) or len(instance) <= MOST_UNEVALUATED:
        return None
    what = "items" if isinstance(instance, list) else "properties"
    return f"more than {MOST_UNEVALUATED} {what}, the most for 'unevaluated{what.title()}'"


def _multiple_of(keyword: _Keyword) -> _Keyword:
    def multiple_of(validator: Any, factor: Any, instance: Any, around: Any) -> _Errors:
        try:
            yield from keyword(validator, factor, instance, around) or ()
        except (OverflowError, ValueError):  # infinite, or no float has this number
            yield ValidationError(f" is not a multiple of {factor}")

    return multiple_of


def _counted(keyword: _Keyword) -> _Keyword:
    def counted(validator: Any, target: Any, instance: Any, around: Any) -> _Errors:
        left = references.get() - 1
        if left < 0:
            raise TooMuch
        references.set(left)
        yield from keyword(validator, target, instance, around) or ()

    return counted
