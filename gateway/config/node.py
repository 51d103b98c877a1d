"""What was written and where: YAML as a tree in which every part knows its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from gateway.config.scalars import Plain
from gateway.config.words import KeyPath, dotted
from gateway.errors import Place, Problem

__all__ = ["Entry", "ListNode", "MappingNode", "Node", "ScalarNode", "merge", "twice"]


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """Text, a number, a boolean or null.

    `secrets` are the pieces of it that references brought.
    """

    place: Place
    value: Plain
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListNode:
    """A YAML sequence."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, with its own place, and its value."""

    place: Place
    value: Node


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A YAML mapping; its keys are the text as written."""

    place: Place
    entries: Mapping[str, Entry]


Node: TypeAlias = ScalarNode | ListNode | MappingNode


def merge(
    first: MappingNode, second: MappingNode, problems: list[Problem], path: KeyPath = ()
) -> MappingNode:
    """Both mappings in one, mappings in them likewise. Any other key in both is a problem."""
    entries = dict(first.entries)
    for key, new in second.entries.items():
        old = entries.setdefault(key, new)
        if old is new:
            continue
        if isinstance(old.value, MappingNode) and isinstance(new.value, MappingNode):
            merged = merge(old.value, new.value, problems, (*path, key))
            entries[key] = Entry(old.place, merged)
        else:
            problems.append(twice((*path, key), old, new))
    return MappingNode(first.place, entries)


def twice(path: KeyPath, first: Entry, second: Entry) -> Problem:
    """The problem of one key in two places."""
    return Problem(second.place, dotted(path), f"key given twice, first at {first.place}")
