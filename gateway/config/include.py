"""A gateway.yaml and all that it includes, as one document: plain data and its places."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias, Union

from gateway.config.files import FileReader, FileRecord, is_special
from gateway.config.messages import HIDDEN, KeyPath, dotted, shown
from gateway.config.model import At
from gateway.config.references import fill
from gateway.config.secrets import Secrets, secrets_in, without_secrets
from gateway.config.yaml import ListNode, MappingNode, Node, Plain, ScalarNode, merge, parse
from gateway.errors import Place, Problem
from gateway.limits import LARGEST_FILE

__all__ = ["Data", "Document", "read"]

Data: TypeAlias = Union[Plain, "list[Data]", "dict[str, Data]"]


@dataclass(frozen=True, slots=True)
class Document:
    """The merged content of the YAML files, not yet validated.

    `written` is `data` before references are filled in, without secrets. `files` are the YAML files
    that were read and their content, the main one first. `record` has
    everything that was looked for, including globs, missing files and files that values refer to.
    `values` and `keys` are the places of each value and each key; `secrets` are the values that
    must not be shown. `references` are the paths of text in quotes that was nothing but references.
    `problems` are those found so far; with any, `data` may be incomplete. `doubtful` are the
    plugins and namespaces of which a part was left out. Files that values name are relative to
    `folder`.
    """

    files: Mapping[Path, bytes]
    record: FileRecord
    data: dict[str, Data]
    written: Data
    values: Mapping[KeyPath, Place]
    keys: Mapping[KeyPath, Place]
    secrets: Secrets
    references: frozenset[KeyPath]
    problems: tuple[Problem, ...]
    folder: Path
    doubtful: frozenset[KeyPath] = frozenset()

    def at(self, *path: str | int) -> At:
        """Return the path and place of a value."""
        return At(dotted(path), self.values[path])

    def around(self, *path: str | int) -> At:
        """Return the place of a value, or of the innermost block around it."""
        while path not in self.values:
            path = path[:-1]
        return self.at(*path)

    def key_at(self, *path: str | int) -> At:
        """Return the path of a value and the place of its key."""
        return At(dotted(path), self.keys[path])

    def shown(self, value: object, *path: str | int) -> str:
        """Return the value at a path as one short line, masked if it is a secret."""
        return HIDDEN if path in self.secrets.paths else shown(value)


def read(file: Path, environ: Mapping[str, str], beside: Path | None = None) -> Document:
    """Read a file and what it includes. Raises nothing: what cannot be read is a problem.

    Files that values refer to are relative to the folder `beside`, by default that of `file`.
    """
    folder = file.parent if beside is None else beside
    reader = _Reader(environ, folder)
    main = _Source(file, At("", Place(str(file))), {os.path.realpath(file): str(file)})
    root, included = reader.read(main)
    waiting = deque(included)
    while waiting:
        part, included = reader.read(waiting.popleft())
        root = merge(root, part, reader.problems)
        waiting += included
    values: dict[KeyPath, Place] = {}
    keys: dict[KeyPath, Place] = {}
    filled: dict[KeyPath, tuple[str, ...]] = {}
    data = _unfold(root, (), values, keys, filled)
    assert isinstance(data, dict)
    return Document(
        files=reader.files,
        record=reader.record,
        data=data,
        written=_written(root, ()),
        values=values,
        keys=keys,
        secrets=secrets_in(data, filled),
        references=frozenset(_references(root, ())),
        problems=tuple(reader.problems),
        folder=folder,
    )


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


def _written(node: Node, path: KeyPath) -> Data:
    """What the files say, the same on all machines whatever variables they have set."""
    if isinstance(node, ListNode):
        return [_written(item, (*path, at)) for at, item in enumerate(node.items)]
    if isinstance(node, MappingNode):
        return {key: _written(entry.value, (*path, key)) for key, entry in node.entries.items()}
    return without_secrets(path, node.value if node.written is None else node.written)


def _references(node: Node, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(node, ScalarNode):
        if node.is_reference:
            yield path
    elif isinstance(node, ListNode):
        for at, item in enumerate(node.items):
            yield from _references(item, (*path, at))
    else:
        for key, entry in node.entries.items():
            yield from _references(entry.value, (*path, key))


@dataclass(frozen=True, slots=True)
class _Source:
    """A file to read, the place that names it, and the files on the way to it by real path."""

    file: Path
    at: At
    chain: Mapping[str, str]


class _Reader:
    """Reads the YAML files one by one and collects their problems."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.files: dict[Path, bytes] = {}
        self.problems: list[Problem] = []
        self._reader = FileReader()
        self._fill = partial(fill, environ=environ, folder=folder, reader=self._reader)
        self._asked: dict[str, At] = {}

    @property
    def record(self) -> FileRecord:
        return self._reader.record

    def read(self, source: _Source) -> tuple[MappingNode, list[_Source]]:
        """Return the content of one file by itself, and the files it includes."""
        root = MappingNode(Place(str(source.file)), {})
        text = self._text(source)
        if text is not None:
            parsed = parse(text, str(source.file), self._fill)
            root = parsed.root
            self.problems += parsed.problems
        entries = dict(root.entries)
        include = entries.pop("include", None)
        included = list(self._included(include.value, source)) if include else []
        return MappingNode(root.place, entries), included

    def _text(self, source: _Source) -> str | None:
        try:
            data = self._read(source)
            text = data.decode("utf-8-sig")
        except OSError as error:
            reason = error.strerror.lower() if error.strerror else str(error)
            self.problems.append(source.at.problem(f"cannot read {str(source.file)!r}: {reason}"))
            return None
        except UnicodeDecodeError as error:
            *lines, last = error.object[: error.start].split(b"\n")
            place = Place(str(source.file), len(lines) + 1, len(last.decode()) + 1)
            self.problems.append(Problem(place, "", "this is not UTF-8; save the file as UTF-8"))
            return None
        self.files[source.file] = data
        return text

    def _read(self, source: _Source) -> bytes:
        """Read a file. Raises `OSError`, also for one that is too large or may have no end."""
        is_main = len(source.chain) == 1  # which may be a pipe, as in `sockgw check <(...)`
        if not is_main and is_special(source.file):
            self._reader.refuse(source.file)
            raise OSError("not a file")
        data = self._reader.read(source.file)
        if len(data) > LARGEST_FILE:
            raise OSError(f"larger than {LARGEST_FILE // 1_000_000} MB")
        return data

    def _included(self, node: Node, source: _Source) -> Iterator[_Source]:
        for name, at in self._names(node):
            for file in self._matches(source.file.parent, name, at):
                real = os.path.realpath(file)
                wrong = self._refusal(real, file, at, source)
                if wrong:
                    self.problems.append(at.problem(wrong))
                else:
                    yield _Source(file, at, {**source.chain, real: str(file)})

    def _names(self, node: Node) -> Iterator[tuple[str, At]]:
        """Yield the names under `include:`, which may be one name or a list."""
        nodes = enumerate(node.items) if isinstance(node, ListNode) else [(None, node)]
        for index, item in nodes:
            at = At("include" if index is None else f"include[{index}]", item.place)
            if not isinstance(item, ScalarNode) or not isinstance(item.value, str | None):
                message = "expected a file or a list of files, such as conf.d/*.yaml"
                self.problems.append(at.problem(message))
            elif item.value is not None:
                yield item.value, at

    def _matches(self, folder: Path, name: str, at: At) -> Sequence[Path]:
        """List the files of a glob. A plain name means that file, whether or not it is there."""
        if not any(sign in name for sign in "*?["):
            return [folder / name]
        try:
            return self._reader.glob(folder, name)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self.problems.append(at.problem(f"cannot list {error.filename or name!r}: {reason}"))
            return []

    def _refusal(self, real: str, file: Path, at: At, source: _Source) -> str | None:
        if real in source.chain:
            circle = " -> ".join([*source.chain.values(), str(file)])
            return f"files include each other: {circle}"
        first = self._asked.setdefault(real, at)
        return None if first is at else f"{str(file)!r} is included twice, first at {first.place}"
