"""A plugin folder on disk that tests write, load and edit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from gateway.loader import Plugin, PluginSet, load_plugins
from gateway.loader.modules import PluginModules


class Folder:
    def __init__(self, path: Path, undo: ExitStack) -> None:
        self.path = path
        self._undo = undo
        path.mkdir(parents=True)

    def write(self, files: dict[str, str | bytes]) -> Folder:
        for name, source in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = source if isinstance(source, bytes) else dedent(source).encode()
            path.write_bytes(data)
        return self

    def load(self, files: dict[str, str | bytes] | None = None) -> PluginSet:
        self.write(files or {})
        return load_plugins([self.path])

    def install(self, files: dict[str, str | bytes] | None = None) -> PluginSet:
        plugins = self.load(files)
        self._undo.callback(plugins.install())
        return plugins

    def resolve(self, name: str) -> Plugin:
        return self.load().resolve(name)

    def problems(self) -> list[str]:
        """The problems, with their files relative to the folder."""
        return [str(each).replace(f"{self.path}/", "") for each in self.load().problems]


@pytest.fixture
def make_folder(tmp_path: Path) -> Iterator[Callable[[str], Folder]]:
    """Folders of one's own: what other tests have installed is put aside meanwhile."""
    finders, modules = list(sys.meta_path), take_plugin_modules()
    sys.meta_path[:] = [each for each in finders if not isinstance(each, PluginModules)]
    with ExitStack() as undo:
        yield lambda name: Folder(tmp_path / name, undo)
    left = take_plugin_modules()
    sys.meta_path[:] = finders
    sys.modules.update(modules)
    assert left == {}, "a test left plugin modules behind"


def take_plugin_modules() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] in ("plugins", "shared")]
    return {name: sys.modules.pop(name) for name in names}


@pytest.fixture
def folder(make_folder: Callable[[str], Folder]) -> Folder:
    return make_folder("plugins")
