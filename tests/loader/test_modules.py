from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.resources
import inspect
import linecache
import pickle
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from gateway.loader import load_plugins

if TYPE_CHECKING:
    from .conftest import Folder


def target(folder: Folder, name: str) -> Any:
    return folder.resolve(name).target


def plugin_modules() -> dict[str, ModuleType]:
    return {name: each for name, each in sys.modules.items() if name.startswith("plugins")}


# Imports


@pytest.mark.parametrize(
    "statement",
    [
        "from .helper import x",
        "from plugins.helper import x",
        "from . import helper; x = helper.x",
        "import plugins.helper; x = plugins.helper.x",
        "import plugins.helper as helper; x = helper.x",
        "from plugins import helper; x = helper.x",
        "from .helper import *",
        "import importlib; x = importlib.import_module('.helper', __package__).x",
    ],
)
def test_files_import_each_other(folder: Folder, statement: str) -> None:
    folder.write({"helper.py": "x = 7", "chat.py": f"{statement}\ndef index(): return x"})
    assert target(folder, "chat.index")() == 7


def test_nested_folders_are_subpackages(folder: Folder) -> None:
    folder.write(
        {
            "rooms/lobby.py": "from ..base import x\nfrom .deep.hall import y\nz = (x, y)",
            "rooms/deep/hall.py": "from plugins import base\ny = base.x + 1",
            "base.py": "x = 1",
            "chat.py": "from .rooms import lobby\ndef index(): return lobby.z",
        }
    )
    assert target(folder, "chat.index")() == (1, 2)


def test_underscore_files_are_imported_only_by_others(folder: Folder) -> None:
    folder.write({"_script.py": "raise SystemExit", "_helper.py": "x = 7"})
    folder.write({"chat.py": "from ._helper import x\ndef index(): return x"})
    assert folder.problems() == []
    assert target(folder, "chat.index")() == 7


def test_circular_imports_work_as_ever(folder: Folder) -> None:
    folder.write(
        {
            "a.py": "from . import b\ndef index(): return b.index()",
            "b.py": "import plugins.a as a\ndef index(): return a.__name__",
        }
    )
    assert target(folder, "a.index")() == "plugins.a"


def test_string_annotations_of_dataclasses_resolve(folder: Folder) -> None:
    folder.write(
        {
            "chat.py": """
                from __future__ import annotations
                from dataclasses import dataclass, field, fields
                from typing import ClassVar, get_type_hints

                @dataclass
                class Message:
                    seen: ClassVar[int] = 0
                    text: str
                    after: Message | None = None

                HINTS = get_type_hints(Message)

                def index():
                    return [each.name for each in fields(Message)], HINTS["after"] == Message | None
            """
        }
    )
    assert target(folder, "chat.index")() == (["text", "after"], True)


def test_type_checking_imports_are_not_run(folder: Folder) -> None:
    folder.write(
        {
            "chat.py": """
                from typing import TYPE_CHECKING
                if TYPE_CHECKING:
                    from .missing import Nothing
                def index() -> "Nothing": return 1
            """
        }
    )
    assert folder.problems() == []


def test_modules_know_their_file_and_their_resources(folder: Folder) -> None:
    folder.write({"rooms/page.html": "<p>", "rooms/lobby.py": "def index(): return __file__"})
    plugins = folder.install()
    assert plugins.resolve("rooms.lobby.index").target() == str(folder.path / "rooms/lobby.py")
    assert importlib.resources.files("plugins.rooms").joinpath("page.html").read_text() == "<p>"
    assert sys.modules["plugins"].__file__ == str(folder.path / "__init__.py")


def test_builtin_import_of_other_modules_is_untouched(folder: Folder) -> None:
    folder.write({"chat.py": "import json, os.path\ndef index(): import base64; return base64"})
    import base64

    assert target(folder, "chat.index")() is base64


def test_what_is_not_in_the_reading_cannot_be_imported(folder: Folder) -> None:
    """A file that is saved later belongs to the next reading."""
    plugins = folder.install({"chat.py": "def index():\n  from . import late"})
    folder.write({"late.py": ""})
    with pytest.raises(ImportError, match="cannot import name 'late' from 'plugins'"):
        plugins.resolve("chat.index").target()
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'plugins\.late'"):
        importlib.import_module("plugins.late")


def test_no_bytecode_is_written(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    folder.load({"chat.py": "x = 1", "rooms/lobby.py": "x = 1"})
    assert list(folder.path.rglob("*.pyc")) == []


# One reading after the other


def test_quick_edits_of_the_same_size_are_all_seen(folder: Folder) -> None:
    for number in range(10, 30):
        folder.write({"helper.py": f"x = {number}"})
        folder.write({"chat.py": "from .helper import x\ndef index(): return x"})
        assert target(folder, "chat.index")() == number


async def test_old_functions_keep_the_old_code(folder: Folder) -> None:
    """Also where they import it while they run, long after the new code was installed."""
    folder.write(
        {
            "helper.py": "def say(): return 'old'",
            "_lazy.py": "word = 'old'",
            "chat.py": """
                from . import helper

                async def index(entered, ready):
                    entered.set()
                    await ready.wait()
                    from ._lazy import word
                    import plugins.helper as again
                    from plugins.helper import say
                    return helper.say(), word, again.say(), say()
            """,
        }
    )

    entered, ready = asyncio.Event(), asyncio.Event()
    old = folder.install().resolve("chat.index").target
    in_flight = asyncio.create_task(old(entered, ready))
    await entered.wait()
    folder.write({"helper.py": "def say(): return 'new'", "_lazy.py": "word = 'new'"})
    new = folder.install().resolve("chat.index").target
    ready.set()
    assert await in_flight == ("old",) * 4
    assert await old(entered, ready) == ("old",) * 4
    assert await new(entered, ready) == ("new",) * 4


def test_module_imported_late_is_imported_once(folder: Folder) -> None:
    folder.write({"_late.py": "", "chat.py": "def index():\n  from . import _late; return _late"})
    plugins = folder.install()
    index: Any = plugins.resolve("chat.index").target
    late = index()
    folder.install({"_late.py": "new = 1"})
    assert index() is late


def test_old_code_in_threads_keeps_the_old_code_while_new_code_loads(folder: Folder) -> None:
    folder.write(
        {"helper.py": "x = 0", "chat.py": "def index():\n  from .helper import x; return x"}
    )
    old: Any = folder.install().resolve("chat.index").target
    seen: set[object] = set()
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            try:
                seen.add(old())
            except BaseException as error:
                seen.add(repr(error))

    thread = threading.Thread(target=call)
    thread.start()
    for number in range(1, 10):
        assert folder.install({"helper.py": f"x = {number}"}).problems == ()
    done.set()
    thread.join()
    assert seen == {0}


def test_classes_are_new_and_each_reading_agrees_with_itself(folder: Folder) -> None:
    folder.write(
        {
            "base.py": "class Base: pass",
            "chat.py": "from .base import Base\nclass Chat(Base): pass\n"
            "def index():\n  from .base import Base; return issubclass(Chat, Base)",
        }
    )
    old, new = folder.load(), folder.load()
    assert old.resolve("base.Base").target is not new.resolve("base.Base").target
    assert old.resolve("chat.index").target() is True


# sys.modules


def test_loading_leaves_sys_modules_as_they_were(folder: Folder) -> None:
    installed = folder.install({"chat.py": "x = 1"})
    before, finders = plugin_modules(), list(sys.meta_path)
    assert set(before) == {"plugins", "plugins.chat"}
    folder.load({"chat.py": "x = 2", "more.py": ""})
    folder.load({"chat.py": "x = "})
    folder.load({"chat.py": "from .more import nothing"})
    assert plugin_modules() == before
    assert sys.meta_path == finders
    assert installed.problems == ()


def test_import_in_another_thread_meets_every_finder(folder: Folder) -> None:
    undo = folder.load({"chat.py": "x = 1"}).install()
    finders = list(sys.meta_path)
    walk = iter(sys.meta_path)
    met = [next(walk), next(walk)]
    undo()
    assert [*met, *walk] == finders
    assert sys.meta_path == finders[1:]


def test_install_can_be_taken_back(folder: Folder) -> None:
    assert plugin_modules() == {}
    first = folder.load({"chat.py": "x = 1"})
    undo_first = first.install()
    module = sys.modules["plugins.chat"]
    undo_second = folder.load({"chat.py": "x = 2"}).install()
    assert sys.modules["plugins.chat"].x == 2
    undo_second()
    undo_second()
    assert sys.modules["plugins.chat"] is module
    first.install()()
    assert sys.modules["plugins.chat"] is module
    undo_first()
    assert plugin_modules() == {}


def test_module_imported_the_ordinary_way_comes_back(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write({"chat.py": "x = 1"})
    monkeypatch.syspath_prepend(folder.path.parent)
    ordinary = importlib.import_module("plugins.chat")
    try:
        undo = folder.load({"chat.py": "x = 2"}).install()
        assert importlib.import_module("plugins.chat").x == 2
        undo()
        assert sys.modules["plugins.chat"] is ordinary
    finally:
        for name in plugin_modules():
            del sys.modules[name]


def test_folder_that_is_no_longer_listed_leaves_sys_modules(
    folder: Folder, make_folder: Callable[[str], Folder]
) -> None:
    shared = make_folder("shared").write({"more.py": ""})
    folder.write({"chat.py": ""})
    undo_both = load_plugins([folder.path, shared.path]).install()
    undo_one = load_plugins([folder.path]).install()
    assert "shared.more" not in sys.modules
    undo_one()
    assert "shared.more" in sys.modules
    undo_both()


def test_installed_classes_can_be_pickled(folder: Folder) -> None:
    folder.write({"chat.py": "class Chat:\n  pass"})
    chat: Any = folder.install().resolve("chat.Chat").target
    assert type(pickle.loads(pickle.dumps(chat()))) is chat


# Memory


def test_dropped_readings_are_collected(folder: Folder) -> None:
    folder.write(
        {
            "_late.py": "x = 1",
            "helper.py": "from typing import Optional\n"
            "class Store:\n  def get(self): pass\n"
            "Maybe = Optional[Store]",
            "chat.py": """
                from __future__ import annotations
                from dataclasses import dataclass
                from .helper import Store

                @dataclass
                class Message:
                    text: str
                    next: Message | None = None

                async def index(ctx, message: Message): from . import _late
            """,
        }
    )
    references: list[weakref.ref[ModuleType]] = []
    for number in range(100):
        folder.install({"_late.py": f"x = {number}"}).resolve("chat.index")
        references += [weakref.ref(each) for each in plugin_modules().values()]
    folder._undo.pop_all()  # each holds the former reading
    gc.collect()
    alive = [module for each in references if (module := each()) is not None]
    last = plugin_modules()
    assert len(references) == 300
    assert len(alive) == len(last) == 3
    assert all(last[module.__name__] is module for module in alive)
    sys.meta_path[0]._leave()


def test_failed_readings_are_collected(folder: Folder) -> None:
    folder.write({"chat.py": "import sys\nclass Chat: pass\nsys.chat = Chat\nraise ValueError"})
    folder.load()
    reference = weakref.ref(sys.chat)
    del sys.chat
    gc.collect()
    assert reference() is None


# Lines


def test_tracebacks_show_the_lines_that_run(folder: Folder) -> None:
    """Whatever an editor has done to the file since."""
    plugins = folder.install({"chat.py": "def index():\n  return 1 / 0  # as it was read\n"})
    (folder.path / "chat.py").write_text("# broken half-way\n\n\n\n")
    index: Any = plugins.resolve("chat.index").target
    with pytest.raises(ZeroDivisionError) as caught:
        index()
    shown = "".join(traceback.format_exception(caught.value))
    assert f'{folder.path}/chat.py", line 2, in index\n    return 1 / 0  # as it was read' in shown
    assert inspect.getsource(index) == "def index():\n  return 1 / 0  # as it was read\n"


def test_lines_of_the_former_reading_come_back(folder: Folder) -> None:
    plugins = folder.install({"chat.py": "def index(): return 'one'\n"})
    folder.load({"chat.py": "\n\n\ndef index(): return 'two'\n"}).install()()
    assert inspect.getsource(plugins.resolve("chat.index").target) == (
        "def index(): return 'one'\n"
    )


def test_lines_go_with_their_reading(folder: Folder) -> None:
    folder.load({"chat.py": "x = 1"}).install()()
    assert str(folder.path / "chat.py") not in linecache.cache


def test_loader_tells_the_source_that_was_read(folder: Folder) -> None:
    folder.install({"chat.py": "x = 1"})
    folder.write({"chat.py": "x = 2"})
    for name, source in ("plugins", ""), ("plugins.chat", "x = 1"):
        assert sys.modules[name].__spec__.loader.get_source(name) == source


# Problems


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\ny = (x +\n", "2:5: cannot import: SyntaxError: '(' was never closed"),
        ("x = 1\n  y = 2\n", "2:2: cannot import: IndentationError: unexpected indent"),
        (
            "x = 1\n\ny = 1 + nothing\n",
            "3:9: cannot import: NameError: name 'nothing' is not defined",
        ),
        ("import sys\ndel sys.modules[__name__]", "1:1: cannot import: KeyError: 'plugins.chat'"),
        ("raise SyntaxError", "1:1: cannot import: SyntaxError"),
        ("raise SystemExit(3)", "1:1: cannot import: SystemExit: 3"),
        ("import sys\nsys.exit()", "2:1: cannot import: SystemExit"),
        ("raise KeyboardInterrupt", "1:1: cannot import: KeyboardInterrupt"),
        ("raise ValueError('one\\ntwo')", "1:1: cannot import: ValueError: one"),
        ("import asyncio\nraise asyncio.CancelledError", "2:1: cannot import: CancelledError"),
        (
            "def f(): f()\nf()",
            "1:10: cannot import: RecursionError: maximum recursion depth exceeded",
        ),
        ("import nowhere", "1:1: cannot import: ModuleNotFoundError: No module named 'nowhere'"),
        (
            "from . import nowhere",
            "1:1: cannot import: ImportError: cannot import name 'nowhere' from 'plugins'",
        ),
        (
            "x = 1\0",
            "1:1: cannot import: SyntaxError: source code string cannot contain null bytes",
        ),
        ("# coding: foo\n", "1:1: cannot import: SyntaxError: unknown encoding: foo"),
        (
            "class E(Exception):\n  def __str__(self): return 1 / 0\nraise E",
            "3:1: cannot import: E",
        ),
        ("import json\njson.loads('{')", None),
        ("compile('x =', '<text>', 'exec')", "1:1: cannot import: SyntaxError: invalid syntax"),
    ],
)
def test_file_that_cannot_be_imported_is_a_problem_at_its_line(
    folder: Folder, source: str, expected: str | None
) -> None:
    expected = expected or (
        "2:1: cannot import: JSONDecodeError: "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )
    folder.write({"chat.py": source, "fine.py": "async def index(ctx): pass"})
    assert folder.problems() == [f"chat.py:{expected}".replace("FILE", "__init__.py")]
    assert folder.resolve("fine.index").name == "fine.index"


def test_file_that_is_not_utf_8_is_a_problem(folder: Folder) -> None:
    folder.write({"chat.py": b"# fine\nx = '\xff'\n"})
    (problem,) = folder.load().problems
    assert problem.place.file == str(folder.path / "chat.py")
    words = "Non-UTF-8 code" if sys.version_info >= (3, 14) else "codec can't decode byte 0xff"
    assert words in problem.message


def test_source_nested_too_deep_is_a_problem(folder: Folder) -> None:
    folder.write({"chat.py": "x = " + "-" * 100_000 + "1"})
    (problem,) = folder.load().problems
    assert str(problem).startswith(f"{folder.path}/chat.py:1:1: cannot import: ")


def test_warning_turned_error_is_a_problem(folder: Folder) -> None:
    """These tests run with warnings as errors."""
    folder.write({"chat.py": "x = 1\nif x is 1: pass\n"})
    folder.write({"talk.py": "import warnings\nwarnings.warn('do not', DeprecationWarning)\n"})
    chat, talk = folder.problems()
    assert chat.startswith('chat.py:2:4: cannot import: SyntaxError: "is" with ')
    assert talk == "talk.py:2:1: cannot import: DeprecationWarning: do not"


def test_helpers_mistake_is_told_once_and_at_the_helper(folder: Folder) -> None:
    folder.write({"_helper.py": "\nx = y", "_syntax.py": "x =", "_null.py": "x = 1\0"})
    folder.write(dict.fromkeys(["e.py", "f.py"], "\nfrom ._null import x"))
    folder.write(dict.fromkeys(["a.py", "b.py"], "from ._helper import x"))
    folder.write(dict.fromkeys(["c.py", "d.py"], "from ._syntax import x"))
    assert folder.problems() == [
        "_helper.py:2:5: cannot import: NameError: name 'y' is not defined",
        "_null.py:1:1: cannot import: SyntaxError: source code string cannot contain null bytes",
        "_syntax.py:1:4: cannot import: SyntaxError: invalid syntax",
    ]


def test_package_that_fails_is_told_once(folder: Folder) -> None:
    folder.write({"rooms/__init__.py": "1 / 0", "rooms/a.py": "", "rooms/b.py": ""})
    assert folder.problems() == [
        "rooms/__init__.py:1:1: cannot import: ZeroDivisionError: division by zero"
    ]


def test_all_problems_are_told_at_once(folder: Folder) -> None:
    folder.write({"a.py": "x =", "b.py": "raise SystemExit", "my-c.py": ""})
    assert [each.partition(":")[0] for each in folder.problems()] == ["a.py", "b.py", "my-c.py"]


def test_what_a_file_in_a_package_would_hide_is_a_problem(folder: Folder) -> None:
    folder.write({"rooms/__init__.py": "async def join(ctx): pass", "rooms/join.py": ""})
    assert folder.problems() == [
        "rooms/join.py:1:1: rooms/__init__.py has a 'join' as well; rename one"
    ]


def test_package_may_offer_its_files_when_asked(folder: Folder) -> None:
    folder.write({"rooms/__init__.py": "def __getattr__(name): raise OSError"})
    folder.write({"rooms/join.py": "async def join(ctx): pass"})
    assert folder.problems() == []


def test_package_may_offer_what_its_file_of_that_name_defines(folder: Folder) -> None:
    folder.write({"rooms/__init__.py": "from .join import join"})
    folder.write({"rooms/join.py": "async def join(ctx): pass"})
    assert folder.problems() == []
    assert folder.resolve("rooms.join").target.__module__ == "plugins.rooms.join"
    assert folder.resolve("rooms.join.join").name == "rooms.join.join"


def test_half_written_file_keeps_the_running_code(folder: Folder) -> None:
    index: Any = folder.install({"chat.py": "def index(): return 'kept'"}).resolve("chat.index")
    with suppress(Exception):
        folder.load({"chat.py": "def index(): retu"})
    assert index.target() == "kept"
    assert sys.modules["plugins.chat"].index is index.target


def test_relative_paths_survive_a_change_of_folder(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write({"chat.py": "def index(): return __file__"})
    monkeypatch.chdir(folder.path.parent)
    plugins = load_plugins([Path("plugins")])
    assert plugins.resolve("chat.index").target() == str(folder.path / "chat.py")


PIPX = "; sockgw is installed by pipx: add the package with 'pipx inject sockgw"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("import nowhere", f"'nowhere'{PIPX} nowhere'"),
        ("import nowhere.deep", f"'nowhere'{PIPX} nowhere'"),
        ("import json.nowhere", "'json.nowhere'"),
    ],
)
def test_a_missing_package_is_added_with_pipx_where_pipx_installed_sockgw(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, named: str
) -> None:
    (tmp_path / "pipx_metadata.json").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    folder.write({"chat.py": source})
    [problem] = folder.problems()
    assert problem == f"chat.py:1:1: cannot import: ModuleNotFoundError: No module named {named}"
