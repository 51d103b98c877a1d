"""A gateway.yaml and all that it includes, as one document: plain data, and where it stands."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, Union

from gateway.config.document import parse
from gateway.config.model import At
from gateway.config.node import ListNode, MappingNode, Node, ScalarNode, merge
from gateway.config.scalars import Plain
from gateway.config.secrets import Secrets, secrets_in
from gateway.config.words import HIDDEN, KeyPath, dotted, shown
from gateway.errors import Place, Problem

__all__ = ["Data", "Document", "read"]

Data: TypeAlias = Union[Plain, "list[Data]", "dict[str, Data]"]


@dataclass(frozen=True, slots=True)
class Document:
    """What the YAML files say together, not yet validated.

    `files` are those that were read, the main one first; `sought` is what was looked for, files
    that values refer to among it, each as a folder and a glob in it. `values` and `keys` tell
    where each value and each key stands, `secrets` which values are not to be shown. `problems`
    are those found so far; with any, `data` may be incomplete.
    """

    files: tuple[Path, ...]
    sought: tuple[tuple[Path, str], ...]
    data: dict[str, Data]
    values: Mapping[KeyPath, Place]
    keys: Mapping[KeyPath, Place]
    secrets: Secrets
    problems: tuple[Problem, ...]

    def at(self, *path: str | int) -> At:
        """Where a value stands."""
        return At(dotted(path), self.values[path])

    def around(self, *path: str | int) -> At:
        """Where a value stands, or the innermost block around it."""
        while path not in self.values:
            path = path[:-1]
        return self.at(*path)

    def key_at(self, *path: str | int) -> At:
        """Where the key of a value stands."""
        return At(dotted(path), self.keys[path])

    def shown(self, value: object, *path: str | int) -> str:
        """The value that stands at a path, in one short line; a secret is not shown."""
        return HIDDEN if path in self.secrets.paths else shown(value)


def read(file: Path, environ: Mapping[str, str], beside: Path | None = None) -> Document:
    """Read a file and what it includes. Raises nothing: what cannot be read is a problem.

    Files that values refer to are relative to the folder `beside`, by default that of `file`.
    """
    reader = _Reader(environ, file.parent if beside is None else beside)
    main = _Source(file, At("", Place(str(file))), {os.path.realpath(file): str(file)})
    root, included = reader.read(main)
    for source in included:  # grows while it is read
        part, more = reader.read(source)
        root = merge(root, part, reader.problems)
        included += more
    values: dict[KeyPath, Place] = {}
    keys: dict[KeyPath, Place] = {}
    filled: dict[KeyPath, tuple[str, ...]] = {}
    data = _unfold(root, (), values, keys, filled)
    assert isinstance(data, dict)
    sought = ((file.parent, glob.escape(file.name)), *reader.sought)
    secrets = secrets_in(data, filled)
    problems = tuple(reader.problems)
    return Document(tuple(reader.files), sought, data, values, keys, secrets, problems)


def _unfold(
    node: Node,
    path: KeyPath,
    values: dict[KeyPath, Place],
    keys: dict[KeyPath, Place],
    filled: dict[KeyPath, tuple[str, ...]],
) -> Data:
    values[path] = node.place
    if isinstance(node, ScalarNode):
        if node.secrets:
            filled[path] = node.secrets
        return node.value
    rest = values, keys, filled
    if isinstance(node, ListNode):
        return [_unfold(item, (*path, at), *rest) for at, item in enumerate(node.items)]
    keys.update({(*path, key): entry.place for key, entry in node.entries.items()})
    return {key: _unfold(entry.value, (*path, key), *rest) for key, entry in node.entries.items()}


@dataclass(frozen=True, slots=True)
class _Source:
    """A file to read, where it is asked for, and what led to it (real path to name)."""

    file: Path
    at: At
    chain: Mapping[str, str]


class _Reader:
    """Reads the files one by one and remembers which."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.files: list[Path] = []
        self.sought: list[tuple[Path, str]] = []
        self.problems: list[Problem] = []
        self._environ = environ
        self._folder = folder
        self._asked: dict[str, At] = {}

    def read(self, source: _Source) -> tuple[MappingNode, list[_Source]]:
        """What one file says by itself, and the files it includes."""
        root = MappingNode(Place(str(source.file)), {})
        text = self._text(source)
        if text is not None:
            parsed = parse(text, str(source.file), self._environ, self._folder)
            root = parsed.root
            self.problems += parsed.problems
            self.sought += ((path.parent, glob.escape(path.name)) for path in parsed.files)
        entries = dict(root.entries)
        include = entries.pop("include", None)
        included = list(self._included(include.value, source)) if include else []
        return MappingNode(root.place, entries), included

    def _text(self, source: _Source) -> str | None:
        try:
            text = source.file.read_bytes().decode("utf-8-sig")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self.problems.append(source.at.problem(f"cannot read {str(source.file)!r}: {reason}"))
            return None
        except UnicodeDecodeError as error:
            *lines, last = error.object[: error.start].split(b"\n")
            place = Place(str(source.file), len(lines) + 1, len(last.decode()) + 1)
            self.problems.append(Problem(place, "", "this is not UTF-8; save the file as UTF-8"))
            return None
        self.files.append(source.file)
        return text

    def _included(self, node: Node, source: _Source) -> Iterator[_Source]:
        for name, at in self._names(node):
            self.sought.append((source.file.parent, name))
            for file in _matches(source.file.parent, name):
                real = os.path.realpath(file)
                wrong = self._refusal(real, file, at, source)
                if wrong:
                    self.problems.append(at.problem(wrong))
                else:
                    yield _Source(file, at, {**source.chain, real: str(file)})

    def _names(self, node: Node) -> Iterator[tuple[str, At]]:
        """What stands under `include:`, one name or a list of them."""
        nodes = enumerate(node.items) if isinstance(node, ListNode) else [(None, node)]
        for index, item in nodes:
            at = At("include" if index is None else f"include[{index}]", item.place)
            if not isinstance(item, ScalarNode) or not isinstance(item.value, str | None):
                message = "expected a file or a list of files, such as conf.d/*.yaml"
                self.problems.append(at.problem(message))
            elif item.value is not None:
                yield item.value, at

    def _refusal(self, real: str, file: Path, at: At, source: _Source) -> str | None:
        if real in source.chain:
            circle = " -> ".join([*source.chain.values(), str(file)])
            return f"files include each other: {circle}"
        first = self._asked.setdefault(real, at)
        return None if first is at else f"{str(file)!r} is included twice, first at {first.place}"


def _matches(folder: Path, name: str) -> list[Path]:
    """The files of a glob. A plain name stands for itself, whether the file is there or not."""
    if not any(sign in name for sign in "*?["):
        return [folder / name]
    found = (folder / match for match in glob.glob(name, root_dir=folder, recursive=True))
    return sorted(filter(os.path.isfile, found))
