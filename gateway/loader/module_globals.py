"""Globals of plugin files that functions change while clients are served.

Beside other workers each has its own, which their author may not know. Found in the syntax alone,
and rather too few than too many: a list, dict, set, counter or plain value that a module binds, and
that an `async def`, or a function that one mentions, changes. What is done while modules are
imported, such as registering by a decorator, does not count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gateway.errors import Place, Problem
from gateway.loader.plugin_loader import import_base
from gateway.loader.sources import Source, Sources

__all__ = ["global_doubts"]

OWN = re.compile("cache|lock|memo|task", re.IGNORECASE)
"""Names of what each worker is meant to have for itself."""

MAKERS = frozenset(
    {"Counter", "OrderedDict", "count", "defaultdict", "deque", "dict", "list", "set"}
)
DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
CHANGERS = frozenset(
    {
        *("add", "append", "appendleft", "clear", "difference_update", "discard", "extend"),
        *("extendleft", "insert", "intersection_update", "pop", "popitem", "popleft", "remove"),
        *("reverse", "rotate", "setdefault", "sort", "subtract", "symmetric_difference_update"),
        "update",
    }
)
ENTERING = frozenset({"__aenter__", "__aexit__"})
"""Async functions in which a service of each worker sets up what is its own."""

ADVICE = "share it in a database or a service with 'scope: node', or use rooms and socket.data"

Name = tuple[str, str]
"""A global: its module and its name there."""

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


def global_doubts(sources: Sources) -> Iterator[Problem]:
    """Yield a warning for each global that handlers change, at the line that binds it."""
    files = {
        each.module: file
        for each in sources.files.values()
        if (file := _read(each, sources)) is not None
    }
    changes: dict[Name, _Change] = {}
    for each in sorted(_changes(files), key=lambda change: change.place):
        changes.setdefault(each.name, each)
    for module, file in files.items():
        for name, bound in file.bound.items():
            change = changes.get((module, name))
            if change is None or (bound.is_plain and not change.rebinds) or OWN.search(name):
                continue
            at = change.place
            line = f"line {at.line}" if at.file == bound.place.file else f"{at.file}:{at.line}"
            message = f"each worker has its own {name!r}, which {line} changes; {ADVICE}"
            yield Problem(bound.place, "", message, is_warning=True)


@dataclass(frozen=True, slots=True)
class _Bound:
    """Where a module binds a name; `is_plain` if that is to a value that only rebinding changes."""

    place: Place
    is_plain: bool


@dataclass(frozen=True, slots=True)
class _Change:
    """A line that changes a global; `rebinds` if it binds the name to another value."""

    name: Name
    place: Place
    rebinds: bool


@dataclass(slots=True)
class _Function:
    """A function: the names it mentions, and what it changes."""

    name: str
    starts: bool
    mentions: set[str] = field(default_factory=set)
    changes: list[_Change] = field(default_factory=list)


@dataclass(slots=True)
class _File:
    bound: dict[str, _Bound]
    functions: list[_Function]


def _changes(files: Mapping[str, _File]) -> Iterator[_Change]:
    """Yield what async functions change, and the functions that they may call."""
    functions = [each for file in files.values() for each in file.functions]
    reached = [each for each in functions if each.starts]
    while reached:
        yield from (change for each in reached for change in each.changes)
        mentioned = {name for each in reached for name in each.mentions}
        functions = [each for each in functions if each not in reached]
        reached = [each for each in functions if each.name in mentioned]


def _read(source: Source, sources: Sources) -> _File | None:
    try:
        tree = ast.parse(source.data, source.path)
    except Exception:  # importing it tells what is wrong
        return None
    reader = _Reader(source, _imports(tree, source, sources))
    reader.read(tree, ())
    return _File(dict(_bound(tree, source.path)), reader.functions)


def _bound(tree: ast.Module, path: str) -> Iterator[tuple[str, _Bound]]:
    """Yield the names that a module binds to what can be changed."""
    for node in tree.body:
        match node:
            case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), _, value):
                pass
            case _:
                continue
        place = Place(path, node.lineno, node.col_offset + 1)
        if isinstance(value, ast.Constant) and value.value is not None:
            yield name, _Bound(place, is_plain=True)
        elif isinstance(value, DISPLAYS) or (isinstance(value, ast.Call) and _makes(value)):
            yield name, _Bound(place, is_plain=False)


def _makes(call: ast.Call) -> bool:
    """True of `dict()`, `collections.deque()` and the like; not of a `defaultdict` of locks."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in MAKERS and not any(OWN.search(ast.unparse(each)) for each in call.args)


def _imports(tree: ast.Module, source: Source, sources: Sources) -> dict[str, Name]:
    """The names that a file imports from other plugin files; of a module, with the name ""."""
    package = source.module if source.is_package else source.module.rpartition(".")[0]
    found: dict[str, Name] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            base = import_base(node, package)
            for alias in node.names:
                module = f"{base}.{alias.name}"
                is_module = module in sources.files
                found[alias.asname or alias.name] = (
                    (module, "") if is_module else (base, alias.name)
                )
        elif isinstance(node, ast.Import):
            found |= {each.asname: (each.name, "") for each in node.names if each.asname}
    return found


class _Reader:
    """Reads the functions of a file; `imports` are those of other plugin files."""

    def __init__(self, source: Source, imports: Mapping[str, Name]) -> None:
        self.functions: list[_Function] = []
        self._source = source
        self._imports = imports

    def read(self, scope: ast.AST, hidden: tuple[frozenset[str], ...]) -> None:
        """Read the functions in a scope; `hidden` are the local names of those around it."""
        for node in _own(scope):
            if isinstance(node, AnyFunction):
                self._function(node, hidden)

    def _function(self, node: AnyFunction, hidden: tuple[frozenset[str], ...]) -> None:
        starts = isinstance(node, ast.AsyncFunctionDef) and node.name not in ENTERING
        function = _Function(node.name, starts)
        declared = {
            name for each in _own(node) if isinstance(each, ast.Global) for name in each.names
        }
        hidden = (*(names - declared for names in hidden), _locals(node) - declared)
        for each in _own(node):
            if isinstance(each, ast.Name):
                function.mentions.add(each.id)
            elif isinstance(each, ast.Attribute):
                function.mentions.add(each.attr)
            for target, rebinds in _changed(each, declared):
                name = self._global(target, frozenset().union(*hidden))
                if name is not None:
                    place = Place(self._source.path, target.lineno, target.col_offset + 1)
                    function.changes.append(_Change(name, place, rebinds))
        self.functions.append(function)
        self.read(node, hidden)

    def _global(self, target: ast.expr, hidden: frozenset[str]) -> Name | None:
        """The global behind `name`, `name[key]` or `module.name`, or `None`."""
        while isinstance(target, ast.Subscript):
            target = target.value
        if isinstance(target, ast.Name) and target.id not in hidden:
            return self._imports.get(target.id, (self._source.module, target.id))
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            module, name = self._imports.get(target.value.id, ("", "?"))
            if not name and target.value.id not in hidden:
                return module, target.attr
        return None


def _changed(node: ast.AST, declared: set[str]) -> Iterator[tuple[ast.expr, bool]]:
    """Yield what a node changes, and whether it is bound to another value."""
    match node:
        case ast.Call(ast.Attribute(target, method)) if method in CHANGERS:
            yield target, False
        case ast.Call(ast.Name("next"), [target]):
            yield target, False
        case ast.Subscript(ctx=ast.Store() | ast.Del()):
            yield node, False
        case ast.Attribute(ctx=ast.Store()):
            yield node, True
        case ast.Name(name, ast.Store()) if name in declared:
            yield node, True


def _locals(node: AnyFunction) -> frozenset[str]:
    """The names that a function binds."""
    names = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
    for each in _own(node):
        if isinstance(each, ast.arg):  # of a lambda
            names.add(each.arg)
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            names.add(each.id)
        elif isinstance(each, AnyFunction | ast.ClassDef):
            names.add(each.name)
        elif isinstance(each, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in each.names}
        elif isinstance(each, ast.ExceptHandler) and each.name:
            names.add(each.name)
    return frozenset(names)


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes in the body of a scope, and functions in it, but nothing inside those."""
    waiting: list[ast.AST] = list(getattr(scope, "body", ()))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, AnyFunction):
            waiting += ast.iter_child_nodes(node)
