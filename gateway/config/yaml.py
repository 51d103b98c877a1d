"""YAML text to a tree in which every part knows its place. The only file that knows PyYAML.

PyYAML reads the events; what they mean is decided here, because its own constructor lets the
last of two equal keys win, reads values as YAML 1.1 does and drops every place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import yaml
from yaml.reader import ReaderError

from gateway.config.messages import HIDDEN, KeyPath, dotted, shown
from gateway.config.references import Filled
from gateway.errors import Place, Problem

__all__ = [
    "Entry",
    "ListNode",
    "MappingNode",
    "Node",
    "Parsed",
    "Plain",
    "ScalarNode",
    "merge",
    "parse",
    "typed",
]


Plain: TypeAlias = str | int | float | bool | None
"""A value that is neither a mapping nor a list."""

_WORDS: dict[str, Plain] = {
    **dict.fromkeys(("null", "Null", "NULL", "~"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

# Bounded, because Python refuses to print or to read an int of more than 4300 digits.
_INTEGER = re.compile(r"[-+]?[0-9]{1,99}", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]{1,99}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,99}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def typed(text: str) -> Plain:
    """Read unquoted text as null, a boolean, a number or else text, as YAML 1.2 does.

    `yes`, `on`, `12:30`, `2024-01-31` and `1_000` are text; YAML 1.1 has other ideas.
    (YAML 1.2.2, section 10.3.2.)
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return int(text, base=0)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):  # a hash such as 12e5678 is text
        return float(text)
    if _INFINITY.fullmatch(text):
        return float(text.replace(".", ""))
    return text


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """Text, a number, a boolean or null.

    `secrets` are the pieces that came from references. `is_reference` is true for text in quotes
    that was nothing but references: between brackets there is no other way to write them. `written`
    is the text before references were filled in, `None` if there are none.
    """

    place: Place
    value: Plain
    secrets: tuple[str, ...] = ()
    is_reference: bool = False
    written: str | None = None


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
    """Merge two mappings, recursively. Any other key in both is a problem."""
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
    """Make the problem of one key in two places."""
    return Problem(second.place, dotted(path), f"key given twice, first at {first.place}")


DEPTH = 64
"""Levels of mappings and lists: far more than any gateway needs, far less than Python's stack."""

REPEATS = 100_000
"""Values that aliases may repeat: nine lines of nested aliases can mean a billion values."""

_UNSENDABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Parsed:
    """The tree of one YAML file, and its problems.

    The mapping is empty when the text is not YAML, and a value with a problem of its own is null.
    """

    root: MappingNode
    problems: tuple[Problem, ...]


def parse(text: str, file: str, fill: Callable[[str], Filled]) -> Parsed:
    """Read the text of one YAML file; `fill` fills in the references of a scalar."""
    problems: list[Problem] = []
    root = MappingNode(Place(file), {})
    try:
        root = _Composer(_events(text, file), file, fill, problems).document()
    except _SyntaxError as error:
        problems.append(error.problem)
    return Parsed(root, tuple(problems))


class _SyntaxError(Exception):
    """The text cannot be read any further."""

    def __init__(self, place: Place, message: str) -> None:
        self.problem = Problem(place, "", message)
        super().__init__(self.problem)


def _events(text: str, file: str) -> list[yaml.Event]:
    try:
        loader = yaml.SafeLoader(text)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        place = Place(file, line, error.position - text.rfind("\n", 0, error.position))
        character = f"U+{ord(text[error.position]):04X}"
        raise _SyntaxError(place, f"the character {character} is not allowed in YAML") from None
    try:
        return list(iter(loader.get_event, None))
    except yaml.MarkedYAMLError as error:
        start, stop = _place(file, error.context_mark), _place(file, error.problem_mark)
        message, began = explain(f"{error.context or ''} {error.problem}".strip(), start.line)
        raise _SyntaxError(start if began else stop, message) from None
    except (ValueError, OverflowError):  # PyYAML hands the number of "\UFFFFFFFF" to chr() as is
        place = _place(file, loader.get_mark())
        raise _SyntaxError(place, "this escape names no character") from None


class _Mark(Protocol):
    """PyYAML's marks count from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


def _place(file: str, mark: _Mark | None) -> Place:
    return Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)


class _Composer:
    """Builds the tree from the events. At an alias it goes back and reads the anchor's again."""

    def __init__(
        self,
        events: list[yaml.Event],
        file: str,
        fill: Callable[[str], Filled],
        problems: list[Problem],
    ) -> None:
        self._events = events
        self._file = file
        self._fill = fill
        self._problems = problems
        self._at = 0
        self._anchors: dict[str, int] = {}
        self._aliases = 0  # how many we are inside of
        self._repeats = 0

    def document(self) -> MappingNode:
        root: Node = ScalarNode(Place(self._file), None)
        if isinstance(self._events[1], yaml.DocumentStartEvent):
            self._at = 2
            root = self._node(())
            self._end()
        if isinstance(root, MappingNode):
            return root
        if isinstance(root, ListNode) or root.value is not None:
            got = "a list"
            if isinstance(root, ScalarNode):
                got = HIDDEN if root.secrets else shown(root.value)
            message = f"expected keys with values, such as 'namespaces:', got {got}"
            self._report(root.place, (), message)
        return MappingNode(root.place, {})

    def _end(self) -> None:
        after = self._events[self._at + 1]
        if isinstance(after, yaml.DocumentStartEvent):
            place = _place(self._file, after.start_mark)
            self._report(place, (), "a second document starts here; write one document a file")

    def _report(self, place: Place, path: KeyPath, message: str) -> None:
        merged = tuple(key for key in path if key != "<<")
        self._problems.append(Problem(place, dotted(merged), message))

    def _node(self, path: KeyPath) -> Node:
        start = self._at
        event = self._events[start]
        place = _place(self._file, event.start_mark)
        self._bound(place, path)
        self._at += 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place, path)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        self._check_tag(event.tag, place, path)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, place, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(place, path)
        else:
            node = self._mapping(place, path)
        if event.anchor and self._anchors.setdefault(event.anchor, start) != start:
            self._report(place, path, f"the anchor '&{event.anchor}' is given twice")
        return node

    def _bound(self, place: Place, path: KeyPath) -> None:
        if len(path) > DEPTH:
            raise _SyntaxError(place, f"nested more than {DEPTH} levels deep")
        if self._aliases:
            self._repeats += 1
        if self._repeats > REPEATS:
            raise _SyntaxError(place, f"aliases repeat more than {REPEATS} values")

    def _alias(self, event: yaml.AliasEvent, place: Place, path: KeyPath) -> Node:
        start = self._anchors.get(event.anchor or "")
        if start is None:
            self._report(place, path, f"no anchor '&{event.anchor}' above this alias")
            return ScalarNode(place, None)
        back, self._at = self._at, start
        self._aliases += 1
        node = self._node(path)
        self._aliases -= 1
        self._at = back
        return node

    def _scalar(self, event: yaml.ScalarEvent, place: Place, path: KeyPath) -> ScalarNode:
        filled = self._fill(event.value)
        for message in filled.wrong:
            self._report(place, path, message)
        unquoted, _ = event.implicit
        missing = unquoted and not event.value
        if filled.wrong or missing or not self._check_text(filled.text, place, path):
            return ScalarNode(place, None)
        # A secret in a file may happen to be all digits, and is text nevertheless.
        is_typed = unquoted and not filled.names_a_file
        value = typed(filled.text) if is_typed else filled.text
        is_reference = filled.is_whole and not unquoted
        written = event.value if "${" in event.value else None
        return ScalarNode(place, value, filled.secrets, is_reference, written)

    def _list(self, place: Place, path: KeyPath) -> ListNode:
        items: list[Node] = []
        while not self._ends(yaml.SequenceEndEvent):
            items.append(self._node((*path, len(items))))
        return ListNode(place, tuple(items))

    def _mapping(self, place: Place, path: KeyPath) -> MappingNode:
        entries: dict[str, Entry] = {}
        while not self._ends(yaml.MappingEndEvent):
            key, at = self._key(path)
            new = Entry(at, self._node((*path, key)))
            old = entries.setdefault(key, new)
            if old is not new:
                self._problems.append(twice((*path, key), old, new))
        self._inherit(entries, path)
        return MappingNode(place, entries)

    def _ends(self, kind: type[yaml.Event]) -> bool:
        if not isinstance(self._events[self._at], kind):
            return False
        self._at += 1
        return True

    def _key(self, path: KeyPath) -> tuple[str, Place]:
        event = self._events[self._at]
        place = _place(self._file, event.start_mark)
        if not isinstance(event, yaml.ScalarEvent):
            raise _SyntaxError(place, "a key is text; put it in quotes")
        self._at += 1
        self._check_tag(event.tag, place, path)
        self._check_text(event.value, place, path)
        return event.value, place

    def _inherit(self, entries: dict[str, Entry], path: KeyPath) -> None:
        """Add the keys of `<<: *base` or `<<: [*one, *two]`; own keys win, then earlier ones."""
        merged = entries.pop("<<", None)
        if merged is None:
            return
        bases = merged.value.items if isinstance(merged.value, ListNode) else (merged.value,)
        for base in bases:
            if isinstance(base, MappingNode):
                for key, entry in base.entries.items():
                    entries.setdefault(key, entry)
            else:
                self._report(base.place, path, "'<<' takes a mapping or a list of mappings")

    def _check_tag(self, tag: str | None, place: Place, path: KeyPath) -> None:
        if tag is not None:
            short = tag.replace("tag:yaml.org,2002:", "!!")
            advice = "put text that starts with '!' in quotes"
            self._report(place, path, f"the tag {shown(short)} has no meaning here; {advice}")

    def _check_text(self, text: str, place: Place, path: KeyPath) -> bool:
        found = _UNSENDABLE.search(text)
        if found:
            self._report(place, path, f"the character U+{ord(found[0]):04X} is not allowed in text")
        return not found


_INDENT = "indent the keys of a mapping alike, and the items of a list"

# Patterns in what PyYAML says, and what we say: first of mistakes to show where the thing began,
_BEGAN = {
    r"could not find expected ':'": "a key without ':'; write 'key: value'",
    r"flow sequence .* got '<stream end>'": "this '[' is never closed",
    r"flow mapping .* got '<stream end>'": "this '{{' is never closed",
    r"scanning a quoted scalar": "this quote is never closed",
    r"scanning an alias": "text that starts with '*' must be in quotes",
    r"scanning an anchor": "text that starts with '&' must be in quotes",
    r"(?:scanning|parsing) a tag|undefined tag handle": (
        "text that starts with '!' must be in quotes"
    ),
    r"scanning a block scalar": "after '|' or '>' the text starts on the next line, indented",
}
# then of mistakes to show where reading stopped.
_STOPPED = {
    r"mapping values are not allowed": (
        "a ':' is not allowed here; indent the keys of a mapping alike, write a space after each "
        "':', and put text that holds ': ' in quotes"
    ),
    r"sequence entries are not allowed": "a list cannot start here; start it on the next line",
    r"mapping keys are not allowed": "text that starts with '? ' must be in quotes",
    r"found character '\\t' that cannot": "a tab cannot indent; use spaces",
    r"found character ('.') that cannot": "text that starts with {0} must be in quotes",
    r"expected <block end>, but found '(?:-|\?|<block .*)'": (
        f"this does not line up with what is above it; {_INDENT}"
    ),
    r"expected <block end>": "the value ended before this; put the whole in quotes, or indent it",
    r"expected '<document start>'": f"this does not belong to what is above it; {_INDENT}",
    r"expected ('.' or '.'), but got '{'": (
        "expected {0}, got '{{'; between brackets put '${{VAR}}' in quotes"
    ),
    r"expected ('.' or '.'), but got": (
        "expected {0} before this; is the bracket opened in line {line} closed?"
    ),
    r"expected the node content, but found '<stream end>'": "the file ends too early",
    r"expected the node content, but found (.*)": "expected a value, got {0}",
    r"found unknown escape character '(.*)'": (
        r"'\{0}' is no escape; use single quotes, or write '\\' for a backslash"
    ),
    r"expected escape sequence of (\d+)": "expected {0} hexadecimal digits",
}


def explain(said: str, line: int) -> tuple[str, bool]:
    """Explain PyYAML's error; tell whether to point at where the mistake began, in `line`."""
    for sentences in (_BEGAN, _STOPPED):
        for pattern, sentence in sentences.items():
            found = re.search(pattern, said)
            if found:
                return sentence.format(*found.groups(), line=line), sentences is _BEGAN
    return f"not valid YAML: {said}", False
