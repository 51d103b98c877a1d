"""Globals that functions change: found in the syntax of plugin files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.loader import global_doubts, read_sources
from tests.gateway_files import write


def found(folder: Path, **plugins: str) -> list[str]:
    """The names of the globals that are warned of."""
    write(folder, "", **plugins)
    problems = list(global_doubts(read_sources([folder / "plugins"])))
    assert all(each.is_warning for each in problems)
    return [each.message.split("'")[1] for each in problems]


CHANGED = [
    ("it = []", "it.append(1)"),
    ("it: list[int] = list()", "it[0] = 1"),
    ("it = {}", "it[1] = 2"),
    ("it = {}", "del it[1]"),
    ("it = {}", "it[1] += 2"),
    ("it = {}", "it[1][2].append(3)"),
    ("it = {}", "it.setdefault(1, []).append(2)"),
    ("it = dict(a=1)", "it |= {}; it.update(b=2)\n    global it"),
    ("it = {1, 2}", "it.discard(1)"),
    ("it = set()", "it.add(1)"),
    ("it = [each for each in range(3)]", "it.pop()"),
    ("import collections\nit = collections.defaultdict(set)", "it[1].add(2)"),
    ("from collections import Counter\nit = Counter()", "it[1] += 1"),
    ("from collections import deque\nit = deque(maxlen=3)", "it.appendleft(1)"),
    ("import itertools\nit = itertools.count()", "return next(it)"),
    ("it = 0", "global it\n    it += 1"),
    ("it = False", "global it\n    it = True"),
    ("it = []", "global it\n    it = [1]"),
    ("it = []", "def inner(): it.append(1)\n    inner()"),
    ("it = []", "[it.append(each) for each in range(3)]"),
    ("it = []", "if ctx:\n        with ctx:\n            it.append(1)"),
]
UNCHANGED = [
    ("it = []", "return it[0], len(it), [*it]"),
    ("it = {}", "return it.get(1), 1 in it, it.items()"),
    ("it = None", "global it\n    it = object()"),
    ("it = 0", "it = 1"),
    ("it = []", "it = []; it.append(1)"),
    ("it = []", "for it in ctx: it.append(1)"),
    ("it = []", "with ctx as it: it.append(1)"),
    ("it = []", "(lambda it: it.append(1))([])"),
    ("it = []", "import it\n    it.append(1)"),
    ("it = []", "ctx.it.append(1); ctx.socket.data['it'] = 1"),
    ("it = object()", "it.append(1); it[1] = 2"),
    ("it_cache = {}", "it_cache[1] = 2"),
    ("background_tasks = set()", "background_tasks.add(1)"),
    ("from collections import defaultdict\nit = defaultdict(asyncio.Lock)", "it[1].add(2)"),
]


@pytest.mark.parametrize(("bound", "changed"), CHANGED)
def test_a_global_that_a_handler_changes(tmp_path: Path, bound: str, changed: str) -> None:
    assert found(tmp_path, own=f"{bound}\nasync def go(ctx):\n    {changed}\n") == ["it"]


@pytest.mark.parametrize(("bound", "unchanged"), UNCHANGED)
def test_what_no_handler_changes(tmp_path: Path, bound: str, unchanged: str) -> None:
    assert not found(tmp_path, own=f"{bound}\nasync def go(ctx):\n    {unchanged}\n")


def test_a_parameter_hides_a_global(tmp_path: Path) -> None:
    assert not found(tmp_path, own="it = []\nasync def go(ctx, it=()): it.append(1)")


def test_a_local_of_the_function_around_hides_a_global(tmp_path: Path) -> None:
    own = """
    it = []
    def limit():
        it = []
        async def check(ctx, next):
            it.append(1)
        return check
    """
    assert not found(tmp_path, own=own)


def test_middleware_in_a_factory_and_methods_of_classes_count(tmp_path: Path) -> None:
    own = """
    one, other = [], []
    first = []
    second = []
    def limit():
        async def check(ctx, next):
            first.append(1)
        return check
    class Chat:
        async def index(self, ctx):
            second.append(1)
    """
    assert found(tmp_path, own=own) == ["first", "second"]


def test_a_function_counts_if_an_async_one_mentions_it(tmp_path: Path) -> None:
    own = """
    handlers = {}
    log = []
    seen = []
    def register(function):
        handlers[function.__name__] = function
        return function
    def note(text):
        log.append(text)
        see(text)
    def see(text):
        seen.append(text)
    @register
    async def go(ctx):
        note("go")
    """
    assert found(tmp_path, own=own) == ["log", "seen"]


def test_what_a_service_sets_up_is_its_own(tmp_path: Path) -> None:
    own = """
    open = {}
    class Service:
        async def __aenter__(self):
            open["here"] = self
        async def __aexit__(self, *error):
            open.clear()
    """
    assert not found(tmp_path, own=own)


def test_the_globals_of_another_file(tmp_path: Path) -> None:
    state = "a = []\nb = []\nc = 0\nd = []\ndef enter(): d.append(1)\ne = []"
    own = """
    from . import _state
    from ._state import a as names, e
    import plugins._state as same
    async def go(ctx):
        names.append(1)
        _state.b.append(1)
        _state.c += 1
        same.enter()
        return e
    """
    assert found(tmp_path, own=own, _state=state) == ["a", "b", "c", "d"]


def test_a_file_with_wrong_syntax_has_another_problem(tmp_path: Path) -> None:
    assert not found(tmp_path, own="it = [")
