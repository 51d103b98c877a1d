"""The shape of a gateway.yaml. The only file that knows jsonschema, and where the schema lies.

The schema says what is expected in its `errorMessage`s, which editors show as well. It holds no
`anyOf` and no `oneOf`: a mistake in one of those has as many messages as branches.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from gateway.config.include import Document
from gateway.config.messages import KeyPath, expected, guess, shown
from gateway.config.yaml import Plain, typed
from gateway.errors import Problem

__all__ = ["problems", "schema_text", "with_types"]

INSTALLED = Path(__file__).parents[1] / "schema" / "gateway.schema.json"
CHECKOUT = Path(__file__).parents[2] / "schema" / "gateway.schema.json"


def schema_text() -> str:
    """The schema as it is shipped, for editors and other tools."""
    return (INSTALLED if INSTALLED.is_file() else CHECKOUT).read_text("utf-8")


def problems(document: Document) -> Iterator[Problem]:
    """Yield the problems the schema finds in a document, in no order."""
    for error in _validator().iter_errors(document.data):
        yield from _explain(error, document)


def with_types(document: Document) -> Document:
    """Read references in quotes as numbers or booleans, where text is wrong and those are right.

    Between brackets references must be in quotes: `server: {port: "${PORT:-3210}"}`.
    """
    right: dict[KeyPath, Plain] = {}
    errors = _validator().iter_errors(document.data) if document.references else ()
    for error in errors:
        path, rule = tuple(error.absolute_path), error.schema
        if path in document.references and _is_right_unquoted(rule, error.instance):
            right[path] = typed(str(error.instance))
    return replace(document, data=_with(document.data, (), right)) if right else document


def _with(data: Any, path: KeyPath, values: Mapping[KeyPath, Plain]) -> Any:
    """Copy data with other values at some paths."""
    if isinstance(data, dict):
        return {key: _with(value, (*path, key), values) for key, value in data.items()}
    if isinstance(data, list):
        return [_with(value, (*path, at), values) for at, value in enumerate(data)]
    return values.get(path, data)


def _explain(error: ValidationError, document: Document) -> Iterator[Problem]:
    path = tuple(error.absolute_path)
    instance: Any = error.instance
    rule: Any = error.schema
    if error.validator == "additionalProperties":
        free = rule.get("patternProperties", {})
        unknown = instance.keys() - rule["properties"]
        for key in (each for each in unknown if not any(re.search(x, each) for x in free)):
            message = f"unknown key {shown(key)}{guess(key, rule['properties'])}"
            yield document.key_at(*path, key).problem(message)
    elif error.validator == "required":
        for key in rule["required"]:
            if key not in instance:
                wanted = expected(_resolved(rule["properties"][key]))
                message = f"key {key!r} is missing; {wanted}"
                yield document.at(*path).problem(message)
    elif error.validator == "uniqueItems":
        for index, item in enumerate(instance):
            if item in instance[:index]:
                text = document.shown(item, *path, index)
                yield document.at(*path, index).problem(f"{text} is given twice")
    else:
        is_key = "propertyNames" in error.absolute_schema_path
        at = document.key_at(*path, instance) if is_key else document.at(*path)
        text = shown(instance) if is_key else document.shown(instance, *path)
        yield at.problem(f"{expected(rule)}, got {text}{_hint(rule, instance)}")


_NO_SPACE = re.compile(r"([\w./*-]+):[^\s:]+")


def _resolved(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    name = rule.get("$ref", "").removeprefix("#/$defs/")
    return {**_schema()["$defs"][name], **rule} if name else rule


def _hint(rule: Mapping[str, Any], instance: object) -> str:
    """Suggest a blank, other quotes or a list, when that makes the text right."""
    if instance == "*" and rule.get("title") == "origin":
        return '; for any page write cors_origins: "*"'
    found = _NO_SPACE.fullmatch(str(instance))
    if found and rule.get("type") in ("object", ["object", "null"]):
        is_key = found[1] in rule.get("properties", ()) or rule["additionalProperties"]
        return "; write a space after the ':'" if is_key else ""
    return "; leave out the quotes" if _is_right_unquoted(rule, instance) else ""


def _is_right_unquoted(rule: Any, instance: object) -> bool:
    unquoted = typed(instance) if isinstance(instance, str) else instance
    return unquoted != instance and _validator().evolve(schema=rule).is_valid(unquoted)


@cache
def _schema() -> Mapping[str, Any]:
    return dict(json.loads(schema_text()))


@cache
def _validator() -> Draft202012Validator:
    types = Draft202012Validator.TYPE_CHECKER.redefine("number", _is_number)
    # What only editors need: options are checked against the plugin itself.
    rules: Any = {"pattern": _pattern, "dependentSchemas": _nothing}
    extended: Any = extend(Draft202012Validator, rules, type_checker=types)  # type: ignore[no-untyped-call]
    validator: Draft202012Validator = extended(_schema())
    return validator


def _is_number(_: object, instance: object) -> bool:
    """`.inf` and `.nan` are numbers to YAML, but neither durations nor sizes."""
    return type(instance) is int or (type(instance) is float and math.isfinite(instance))


def _nothing(*_: object) -> tuple[ValidationError, ...]:
    return ()


def _pattern(
    validator: object, pattern: str, instance: object, rule: object
) -> Iterator[ValidationError]:
    """Match the whole text, as `$` alone would let a line break through.

    The patterns let `${VAR}` pass, so that editors do; here every variable is filled in already.
    """
    if isinstance(instance, str) and ("${" in instance or not re.fullmatch(pattern, instance)):
        yield ValidationError("")
