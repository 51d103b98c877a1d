"""Writes the reference in configuration.md, below its mark, from the schema.

Run `python docs/reference.py` after a change of `schema/gateway.schema.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml

__all__ = ["PAGE", "render"]

FOLDER = Path(__file__).parent
PAGE = FOLDER / "configuration.md"
MARK = "<!-- Below: written by docs/reference.py from schema/gateway.schema.json. -->"

Rule: TypeAlias = dict[str, Any]
SCHEMA: Rule = json.loads((FOLDER.parent / "schema/gateway.schema.json").read_text())
HEADINGS = {
    "cluster.redis": "redis of a cluster",
    "cluster.nats": "nats of a cluster",
    "cluster.sentinel": "sentinel of a cluster",
    "cluster.tls": "tls of a cluster",
    "cluster.accept": "accept of a cluster",
    "namespace": "namespaces.NAME",
    "namespace_limits": "limits of a namespace",
    "route": "namespaces.NAME.routes.EVENT",
    "backend": "backends.NAME",
    "backend_headers": "headers of a backend",
    "backend_sessions": "sessions of a backend",
    "service": "services.NAME",
    "handshake_middleware": "handshake middleware, an item of a chain",
    "connection_middleware": "connection middleware, an item of a chain",
    "packet_middleware": "packet middleware, an item of a chain",
}
VARIABLE = r"\$\{.*\}"  # the text that editors let pass where a number is due
KINDS = {
    "array": "list",
    "boolean": "`true` or `false`",
    "integer": "whole number",
    "number": "number",
    "object": "mapping",
    "string": "text",
}


def render(page: str) -> str:
    """The page with its reference written anew."""
    prose, mark, _ = page.partition(MARK)
    assert mark, "the page has lost its mark"
    return f"{prose}{MARK}\n\n" + "\n".join(_reference())


def _reference() -> Iterator[str]:
    blocks = {name: rule for name, rule in SCHEMA["$defs"].items() if rule.get("properties")}
    yield from _block("Top level", SCHEMA)
    for name, rule in blocks.items():
        yield from _block(HEADINGS.get(name, name), rule)
    yield from ("## Values", "")
    for name, rule in SCHEMA["$defs"].items():
        if name not in blocks:
            yield from (f"### {rule['title']}", "", rule["description"], "", *_examples(rule))


def _block(heading: str, rule: Rule) -> Iterator[str]:
    mark = "##" if not heading.startswith("builtin.") else "###"
    yield from (f"{mark} {heading}", "", rule["description"], "")
    yield from ("| Key | Value | Default | Description |", "| --- | --- | --- | --- |")
    for key, written in rule["properties"].items():
        value = _target(written) | written
        default = _code(value["default"]) if "default" in value else ""
        yield f"| `{key}` | {_kind(written)} | {default} | {value['description']} |"
    yield from ("", *_examples(rule))


def _examples(rule: Rule) -> Iterator[str]:
    if "examples" in rule:
        examples = (_code(example) for example in rule["examples"] if example is not None)
        yield from ("For example " + ", ".join(examples) + ".", "")


def _target(rule: Rule) -> Rule:
    """The definition that a `$ref` names, or an empty one."""
    target: Rule = SCHEMA["$defs"].get(rule.get("$ref", "").removeprefix("#/$defs/"), {})
    return target


def _kind(rule: Rule) -> str:
    if "$ref" in rule:
        title = _target(rule)["title"]
        return f"[{title}](#{title.replace(' ', '-')})"
    if "enum" in rule:
        return " or ".join(map(_code, rule["enum"]))
    kinds = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
    words = [KINDS[kind] for kind in kinds if kind != "null"]
    only_variables = rule.get("pattern") == VARIABLE
    return " or ".join(word for word in words if not (only_variables and word == "text"))


def _code(value: object) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text("utf-8")), "utf-8")
