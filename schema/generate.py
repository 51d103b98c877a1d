"""Writes the end of gateway.schema.json, the chains, from the built-ins; and its version.

Run `python schema/generate.py` after a change of a built-in's options or of the version.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from gateway import builtin
from gateway.loader.annotations import parameters_of

__all__ = ["FILE", "render"]

FOLDER = Path(__file__).parent
FILE = FOLDER / "gateway.schema.json"
FIRST = '    "handshake_chain": {'  # what follows is written here

Rule: TypeAlias = dict[str, Any]

NAME = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$|\$\{.*\}"
EXAMPLES = {"handshake": "session", "connection": "auth", "packet": "filter"}
"""The kinds of chains, and a name that a file may have in each."""

VARIABLE = r"\$\{.*\}"
GIVEN = {"tally"}
"""Parameters that the gateway sets; they are no options."""

_WORDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
}


def render(text: str) -> str:
    """The schema with its version and its end written anew."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text("utf-8"))["project"]
    number = project["version"]
    text = re.sub(r'"\$id": "urn:sockgw:.*?"', f'"$id": "urn:sockgw:{number}:gateway"', text)
    kept, first, _ = text.partition(FIRST)
    assert first, "the schema has lost its mark"
    written = json.dumps(_definitions(), indent=2, ensure_ascii=False)
    inner = written.removeprefix("{\n").removesuffix("\n}")
    return f"{kept}{textwrap.indent(inner, '  ')}\n  }}\n}}\n"


def _definitions() -> Rule:
    every = {f"builtin.{name}": getattr(builtin, name) for name in builtin.__all__}
    makes = {
        name: make
        for name, make in every.items()
        if make.__annotations__["return"] in ("Middleware", "HandlerOrMiddleware")
    }
    options = {name: _options(make) for name, make in makes.items()}
    choices: Rule = {"allOf": [_choice(*each) for each in options.items()]}
    chains: Rule = {}
    for kind, example in EXAMPLES.items():
        fitting = [name for name, make in makes.items() if kind in _kinds(make)]
        chains[f"{kind}_chain"] = _chain(kind, example)
        item = chains[f"{kind}_middleware"] = _middleware(kind, [example, *fitting])
        if fitting:
            # Not beside the properties: editors would offer every branch for an empty item.
            item["dependentSchemas"] = {"use": choices}
            choices = {"$ref": f"#/$defs/{kind}_middleware/dependentSchemas/use"}  # once is enough
    return {**chains, **options}


def _kinds(make: Callable[..., object]) -> Iterator[str]:
    """Yield the kinds of chains that a built-in is for, as its docstring begins with them."""
    begin, _, _ = next(_sentences(make)).lower().rpartition("middleware")
    yield from (kind for kind in EXAMPLES if kind in begin)


def _chain(kind: str, example: str) -> Rule:
    return {
        "title": f"{kind} chain",
        "description": f"{kind.capitalize()} middleware in the order it runs.",
        "type": ["array", "null"],
        "items": {"$ref": f"#/$defs/{kind}_middleware"},
        "errorMessage": "expected a list of middleware, such as [auth]",
        "examples": [[example], [{"use": "limit.Limit", "with": {"most": 20}}, example]],
    }


def _middleware(kind: str, names: list[str]) -> Rule:
    return {
        "title": f"{kind} middleware",
        "description": f"The name of {kind} middleware, or the long form.",
        "type": ["string", "object"],
        "pattern": NAME,
        "errorMessage": "expected a name such as auth, or {use: auth}",
        "examples": names,
        "required": ["use"],
        "additionalProperties": False,
        "properties": {
            "use": {
                "title": "plugin name",
                "description": f"The name of {kind} middleware: a plugin's or a built-in's.",
                "type": "string",
                "pattern": NAME,
                "errorMessage": "expected a name such as auth",
                "examples": names,
            },
            "with": {"$ref": "#/$defs/options"},
        },
    }


def _choice(name: str, rule: Rule) -> Rule:
    then: Rule = {"properties": {"with": {"$ref": f"#/$defs/{name}"}}}
    if rule["required"]:
        then["required"] = ["with"]
    return {"if": {"properties": {"use": {"const": name}}, "required": ["use"]}, "then": then}


def _options(make: Callable[..., object]) -> Rule:
    """Describe the options of a built-in as a mapping."""
    sentences = list(_sentences(make))
    properties: Rule = {}
    required = []
    for parameter in parameters_of(make):
        name = parameter.name
        if name in GIVEN:
            continue
        told = next((each for each in sentences if f"`{name}`" in each), None)
        assert told, f"the docstring of {make.__name__} does not mention `{name}`"
        properties[name] = {"description": told, **_rule(parameter.annotation)}
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
        elif parameter.default is not None:
            properties[name]["default"] = msgspec.to_builtins(parameter.default)
    return {
        "title": f"options of {make.__name__}",
        "description": sentences[0],
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": properties,
    }


def _sentences(make: Callable[..., object]) -> Iterator[str]:
    text = " ".join(inspect.cleandoc(make.__doc__ or "").split())
    yield from re.split(r"(?<=\.)\s+(?=[A-Z`])", text)


def _rule(hint: object) -> Rule:
    """The JSON Schema of an annotation, without alternatives; a number may be a variable."""
    written = msgspec.json.schema(hint, schema_hook=lambda _: {"type": "string"})
    parts = [each for each in written.get("anyOf", [written]) if each.get("type") != "null"]
    rule: Rule = {}
    for part in parts:
        rule |= {key: value for key, value in part.items() if key in ("enum", "items")}
        if kind := part.get("type"):
            rule.setdefault("type", []).append(kind)
    if "additionalProperties" in written:
        rule["additionalProperties"] = written["additionalProperties"]
    if set(rule.get("type", ())) & {"number", "integer", "boolean"}:
        error = {"errorMessage": f"expected {_WORDS[rule['type'][0]]}"}
        rule |= {"type": [*rule["type"], "string"], "pattern": VARIABLE, **error}
    kinds = rule.get("type", ())
    if len(kinds) == 1:
        rule["type"] = kinds[0]
    elif kinds:
        rule.setdefault("errorMessage", f"expected {' or '.join(_WORDS[kind] for kind in kinds)}")
    return rule


if __name__ == "__main__":
    FILE.write_text(render(FILE.read_text("utf-8")), "utf-8")
