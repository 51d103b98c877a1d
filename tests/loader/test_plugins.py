from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Place, PluginError
from gateway.loader import BrokenPlugin, PluginSet, load_plugins

if TYPE_CHECKING:
    from .conftest import Folder

ASYNC = "async def {}(ctx): pass\n"
MANAGER = "from contextlib import asynccontextmanager\n"
QUIET = """
import functools
def quiet(f):
  @functools.wraps(f)
  def call(*args): return f(*args)
  return call
"""


def refusal(plugins: PluginSet, name: str) -> str:
    with pytest.raises(PluginError) as caught:
        plugins.resolve(name)
    assert not isinstance(caught.value, BrokenPlugin)
    return caught.value.message


# Names


@pytest.mark.parametrize(
    ("name", "full", "module", "attribute"),
    [
        ("chat.index", "chat.index", "plugins.chat", "index"),
        ("auth", "auth.auth", "plugins.auth", "auth"),
        ("auth.auth", "auth.auth", "plugins.auth", "auth"),
        ("rooms.lobby.join", "rooms.lobby.join", "plugins.rooms.lobby", "join"),
        ("rooms.enter", "rooms.enter", "plugins.rooms", "enter"),
        ("rooms", "rooms.rooms", "plugins.rooms", "rooms"),
    ],
)
def test_name_is_module_and_attribute(
    folder: Folder, name: str, full: str, module: str, attribute: str
) -> None:
    folder.write(
        {
            "chat.py": ASYNC.format("index"),
            "auth.py": ASYNC.format("auth"),
            "rooms/__init__.py": ASYNC.format("enter") + ASYNC.format("rooms"),
            "rooms/lobby.py": ASYNC.format("join"),
        }
    )
    plugin = folder.resolve(name)
    assert plugin.name == full
    assert plugin.method is None
    assert plugin.target.__module__ == module
    assert plugin.target.__qualname__ == attribute


def test_name_of_a_method_gives_class_and_method(folder: Folder) -> None:
    folder.write({"rooms/chat.py": "class Chat:\n  async def index(self, ctx): pass"})
    plugin = folder.resolve("rooms.chat.Chat.index")
    assert plugin.target.__qualname__ == "Chat"
    assert plugin.method == "index"
    assert plugin.place == Place(str(folder.path / "rooms/chat.py"), 2, 3)


def test_inherited_method_counts(folder: Folder) -> None:
    folder.write({"base.py": "class Base:\n  async def index(self, ctx): pass"})
    folder.write({"chat.py": "from .base import Base\nclass Chat(Base): pass"})
    plugin = folder.resolve("chat.Chat.index")
    assert plugin.target.__qualname__ == "Chat"
    assert plugin.place == Place(str(folder.path / "base.py"), 2, 3)


def test_imported_plugin_is_placed_where_it_is_written(folder: Folder) -> None:
    folder.write({"chat.py": "from .impl import index", "impl.py": "\n\n" + ASYNC.format("index")})
    plugin = folder.resolve("chat.index")
    assert plugin.name == "chat.index"
    assert plugin.place == Place(str(folder.path / "impl.py"), 3, 1)


def test_decorated_plugin_is_placed_where_it_is_written(folder: Folder) -> None:
    folder.write({"_quiet.py": QUIET})
    folder.write({"chat.py": "from ._quiet import quiet\n@quiet\n" + ASYNC.format("index")})
    assert folder.resolve("chat.index").place == Place(str(folder.path / "chat.py"), 2, 1)


def test_class_is_placed_where_it_is_written(folder: Folder) -> None:
    folder.write({"chat.py": "x = 1\n\nclass Chat: pass"})
    assert folder.resolve("chat.Chat").place == Place(str(folder.path / "chat.py"), 3, 1)


@pytest.mark.parametrize(
    ("source", "is_factory"),
    [
        (QUIET + "@quiet\nasync def x(ctx): pass", False),
        (MANAGER + "@asynccontextmanager\nasync def x(): yield", True),
        ("async def x(ctx): pass", False),
        ("def x(): pass", True),
        ("class x: pass", True),
        ("class x:\n  async def __call__(self, ctx): pass", True),
    ],
)
def test_async_def_is_the_thing_itself(folder: Folder, source: str, is_factory: bool) -> None:
    assert folder.write({"x.py": source}).resolve("x").is_factory is is_factory


@pytest.mark.parametrize("name", ["", ".", "chat.", ".chat", "chat..index", "my-chat.x", "a b.c"])
def test_name_must_be_a_dotted_name(folder: Folder, name: str) -> None:
    assert refusal(folder.load(), name) == f"{name!r} is not a plugin name: write module.attribute"


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("_a.x", "_a"), ("chat._x", "_x"), ("_x", "_x"), ("chat.C.__init__", "__init__")],
)
def test_underscore_names_are_no_plugins(folder: Folder, name: str, hidden: str) -> None:
    folder.write({"_a.py": ASYNC.format("x"), "chat.py": ASYNC.format("_x") + "class C: pass"})
    expected = f"no plugin {name!r}: {hidden} starts with '_', so it is not one"
    assert refusal(folder.load(), name) == expected


# Suggestions


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chat.indx", "no plugin 'chat.indx', did you mean 'chat.index'?"),
        ("chatt.index", "no plugin 'chatt.index', did you mean 'chat.index'?"),
        ("auht", "no plugin 'auht', did you mean 'auth'?"),
        ("chat.Chat.sned", "no plugin 'chat.Chat.sned', did you mean 'chat.Chat.send'?"),
        ("rooms.loby.join", "no plugin 'rooms.loby.join', did you mean 'rooms.lobby.join'?"),
        ("auth.Contex", "no plugin 'auth.Contex'"),
        ("chat", "no plugin 'chat', did you mean 'chat.Chat'?"),
        ("zzz", "no plugin 'zzz'"),
        ("chat.index.x", "no plugin 'chat.index.x', did you mean 'chat.index'?"),
    ],
)
def test_unknown_name_suggests_a_plugin(folder: Folder, name: str, message: str) -> None:
    """What a file imports from elsewhere is not suggested."""
    folder.write(
        {
            "auth.py": "from gateway import Context\n" + ASYNC.format("auth"),
            "chat.py": ASYNC.format("index") + "number = 1\nclass Chat:\n  async def send(s): ...",
            "rooms/lobby.py": ASYNC.format("join"),
        }
    )
    assert refusal(folder.load(), name) == message


# What may be a plugin


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import json as x", "is a module, not a function or a class"),
        ("x = 1", "is an int, not a function or a class"),
        (
            "x = None",
            "is a NoneType, not a function or a class; does its decorator return it?",
        ),
        (
            "import functools\nx = functools.partial(print)",
            "is a partial, not a function or a class",
        ),
        (
            "async def x(): yield",
            "is a generator: decorate it with contextlib's asynccontextmanager",
        ),
        ("def x(): yield", "is a generator: decorate it with contextlib's asynccontextmanager"),
    ],
)
def test_only_functions_and_classes_are_plugins(folder: Folder, source: str, message: str) -> None:
    assert refusal(folder.load({"x.py": source}), "x") == f"'x' {message}"


def test_folder_is_no_plugin(folder: Folder) -> None:
    plugins = folder.load({"rooms/lobby/hall.py": ""})
    assert refusal(plugins, "rooms.lobby") == (
        "'rooms.lobby' is a module, not a function or a class"
    )


@pytest.mark.parametrize("body", ["x = 1", "@property\n  def x(self): return 1"])
def test_attribute_of_a_class_is_no_method(folder: Folder, body: str) -> None:
    plugins = folder.load({"a.py": f"class A:\n  {body}"})
    assert refusal(plugins, "a.A.x").endswith(", not a method")


@pytest.mark.parametrize("decorator", ["staticmethod", "classmethod"])
def test_static_and_class_methods_are_methods(folder: Folder, decorator: str) -> None:
    folder.write({"a.py": f"class A:\n  @{decorator}\n  async def x(*args): pass"})
    assert folder.resolve("a.A.x").method == "x"


def test_mistake_in_the_plugin_has_its_place(folder: Folder) -> None:
    plugins = folder.load({"x.py": "\ndef x(): yield"})
    with pytest.raises(PluginError) as caught:
        plugins.resolve("x")
    assert caught.value.place == Place(str(folder.path / "x.py"), 2)


# Two places


def test_name_in_two_folders_is_refused(
    folder: Folder, make_folder: Callable[[str], Folder]
) -> None:
    shared = make_folder("shared").write({"chat.py": "\n" + ASYNC.format("index")})
    folder.write({"chat.py": ASYNC.format("index") + ASYNC.format("send")})
    plugins = load_plugins([shared.path, folder.path])
    assert refusal(plugins, "chat.index") == (
        f"'chat.index' is in two places, {folder.path}/chat.py:1:1 and "
        f"{shared.path}/chat.py:2:1; rename one"
    )
    assert plugins.resolve("chat.send").name == "chat.send"


def test_class_and_file_of_one_name_are_refused(folder: Folder) -> None:
    folder.write({"rooms/lobby.py": ASYNC.format("join")})
    folder.write({"rooms/__init__.py": "from ._base import lobby"})
    folder.write({"rooms/_base.py": "class lobby:\n  async def join(self, ctx): pass"})
    assert folder.problems() == [
        "rooms/lobby.py:1:1: rooms/__init__.py has a 'lobby' as well; rename one"
    ]
    for name in "rooms.lobby", "rooms.lobby.join":
        with pytest.raises(BrokenPlugin):
            folder.resolve(name)


def test_class_in_one_folder_and_file_in_another_are_refused(
    folder: Folder, make_folder: Callable[[str], Folder]
) -> None:
    shared = make_folder("shared").write({"rooms/lobby.py": ASYNC.format("join")})
    folder.write({"rooms.py": "class lobby:\n  async def join(self, ctx): pass"})
    plugins = load_plugins([folder.path, shared.path])
    assert refusal(plugins, "rooms.lobby.join") == (
        f"'rooms.lobby.join' is in two places, {folder.path}/rooms.py:2:3 and "
        f"{shared.path}/rooms/lobby.py:1:1; rename one"
    )


# Broken files


@pytest.mark.parametrize("name", ["chat.index", "chat", "chat.Chat.index"])
def test_name_in_a_broken_file_is_told_apart(folder: Folder, name: str) -> None:
    plugins = folder.load({"chat.py": "x ="})
    with pytest.raises(BrokenPlugin, match=r"^plugins\.chat cannot be imported$"):
        plugins.resolve(name)


def test_name_under_a_broken_package_is_told_apart(folder: Folder) -> None:
    plugins = folder.load({"rooms/__init__.py": "x =", "rooms/lobby.py": ASYNC.format("join")})
    with pytest.raises(BrokenPlugin):
        plugins.resolve("rooms.lobby.join")


def test_file_and_folder_of_one_name_break_its_names(folder: Folder) -> None:
    plugins = folder.load({"chat.py": ASYNC.format("index"), "chat/lines.py": ""})
    with pytest.raises(BrokenPlugin):
        plugins.resolve("chat.index")


def test_missing_folder_leaves_no_names(tmp_path: Path) -> None:
    missing = tmp_path / "plugins"
    plugins = load_plugins([missing])
    assert plugins.problems == ()
    assert plugins.faults == {missing: f"there is no folder {missing}"}
    assert refusal(plugins, "chat.index") == "no plugin 'chat.index'"


# Digests


def digests(folder: Folder, *names: str) -> list[str]:
    plugins = folder.load()
    return [plugins.resolve(name).digest for name in names]


def test_digest_follows_imports_to_the_end(folder: Folder) -> None:
    """Editing a helper two imports away is an edit of the handler, and of it alone."""
    folder.write(
        {
            "chat.py": "from ._near import say\n" + ASYNC.format("index"),
            "_near.py": "def say():\n  from plugins.rooms._far import word\n  return word",
            "rooms/_far.py": "word = 'old'",
            "auth.py": ASYNC.format("auth"),
        }
    )
    chat, auth = digests(folder, "chat.index", "auth")
    assert digests(folder, "chat.index", "auth") == [chat, auth]
    folder.write({"rooms/_far.py": "word = 'new'"})
    new_chat, new_auth = digests(folder, "chat.index", "auth")
    assert new_chat != chat
    assert new_auth == auth
    folder.write({"rooms/_far.py": "word = 'old'"})
    assert digests(folder, "chat.index", "auth") == [chat, auth]


def test_new_code_two_imports_away_is_seen(folder: Folder) -> None:
    folder.write(
        {
            "chat.py": "from ._near import say\ndef index(): return say()",
            "_near.py": "from ._far import word\ndef say(): return word",
            "_far.py": "word = 'old'",
        }
    )
    old = folder.resolve("chat.index").target
    new = folder.write({"_far.py": "word = 'new'"}).resolve("chat.index").target
    assert (old(), new()) == ("old", "new")


@pytest.mark.parametrize(
    "statement",
    [
        "if TYPE_CHECKING:\n  from ._helper import x",
        "import plugins._helper",
        "import plugins",
        "from . import *",
        "from . import _helper",
        "def f():\n  from . import _helper",
    ],
)
def test_any_import_of_a_helper_counts(folder: Folder, statement: str) -> None:
    folder.write({"chat.py": f"TYPE_CHECKING = False\n{statement}\n" + ASYNC.format("index")})
    (before,) = digests(folder.write({"_helper.py": "x = 1"}), "chat.index")
    (after,) = digests(folder.write({"_helper.py": "x = 2"}), "chat.index")
    assert before != after


def test_package_above_a_file_is_part_of_it(folder: Folder) -> None:
    folder.write({"rooms/lobby.py": ASYNC.format("join"), "rooms/__init__.py": "x = 1"})
    (before,) = digests(folder, "rooms.lobby.join")
    folder.write({"rooms/__init__.py": "x = 2"})
    assert digests(folder, "rooms.lobby.join") != [before]


def test_circular_imports_have_a_digest(folder: Folder) -> None:
    folder.write({"a.py": "from . import b\n" + ASYNC.format("a"), "b.py": "from . import a"})
    (before,) = digests(folder, "a")
    assert digests(folder.write({"b.py": "from . import a\n"}), "a") != [before]


def test_helper_that_is_broken_and_never_imported_does_no_harm(folder: Folder) -> None:
    folder.write({"chat.py": "def index():\n  from . import _broken", "_broken.py": "x ="})
    plugins = folder.load()
    assert plugins.problems == ()
    assert plugins.resolve("chat.index").digest


# The same again


def test_equal_content_gives_the_former_set(folder: Folder) -> None:
    former = folder.load({"chat.py": "x = 1"})
    assert load_plugins([folder.path], former) is former
    folder.write({"chat.py": "x = 2"})
    assert load_plugins([folder.path], former) is not former


def test_set_with_problems_is_tried_again(folder: Folder) -> None:
    """What was missing may have been installed since."""
    former = folder.load({"chat.py": "import nowhere"})
    assert load_plugins([folder.path], former) is not former


def test_equal_content_elsewhere_is_another_set(tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "plugins", tmp_path / "two" / "plugins"
    for each in one, two:
        each.mkdir(parents=True)
        (each / "chat.py").write_text("x = 1")
    former = load_plugins([one])
    latter = load_plugins([two], former)
    assert latter is not former
    assert latter.digest == former.digest


def test_folder_may_move_while_the_former_set_is_installed(tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "plugins", tmp_path / "two" / "plugins"
    for each in one, two:
        each.mkdir(parents=True)
    undo = load_plugins([one]).install()
    assert load_plugins([two]).faults == {}
    undo()


def test_folder_that_appears_is_seen(tmp_path: Path) -> None:
    plugins = load_plugins([tmp_path / "plugins"])
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "chat.py").write_text(ASYNC.format("index"))
    later = load_plugins([tmp_path / "plugins"], plugins)
    assert later.digest != plugins.digest
    assert later.resolve("chat.index").name == "chat.index"


# Against a model

WORDS = st.sampled_from(["a", "b", "c"])
# Folder name -> module path -> attributes; one small alphabet, so that names often meet.
TREES = st.dictionaries(
    st.sampled_from(["plugins", "shared"]),
    st.dictionaries(
        st.lists(WORDS, min_size=1, max_size=2).map("/".join),
        st.lists(WORDS, max_size=3, unique=True),
        max_size=4,
    ),
    min_size=1,
)


def write_tree(root: Path, tree: dict[str, dict[str, list[str]]]) -> list[Path]:
    """Every module is a folder with `__init__.py`, so no file stands beside a folder."""
    for name, modules in tree.items():
        (root / name).mkdir()
        for path, attributes in modules.items():
            module = root / name / f"{path}/__init__.py"
            module.parent.mkdir(parents=True, exist_ok=True)
            module.write_text("".join(map(ASYNC.format, attributes)))
    return [root / name for name in tree]


@settings(max_examples=60, deadline=None)
@given(TREES, st.lists(WORDS, min_size=1, max_size=3))
def test_names_resolve_as_in_the_model(
    tree: dict[str, dict[str, list[str]]], name: list[str]
) -> None:
    module, attribute = "/".join(name[:-1]) or name[0], name[-1]
    homes = [each for each, modules in tree.items() if attribute in modules.get(module, [])]
    hidden = any(
        f"{path}/{each}" in modules
        for modules in tree.values()
        for path, attributes in modules.items()
        for each in attributes
    )
    with tempfile.TemporaryDirectory() as root:
        plugins = load_plugins(write_tree(Path(root), tree))
        assert bool(plugins.problems) is hidden
        if hidden:
            return
        if len(homes) == 1:
            found = plugins.resolve(".".join(name))
            assert found.target.__module__ == ".".join([*homes, *module.split("/")])
            assert found.name == ".".join(name if len(name) > 1 else name * 2)
        else:
            assert ("two places" in refusal(plugins, ".".join(name))) is bool(homes)
