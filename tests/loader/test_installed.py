from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.errors import PluginError
from gateway.loader import load_plugins

if TYPE_CHECKING:
    from .conftest import Folder


class Site:
    """A folder on Python's path, as `pip install` would fill it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, distribution: str, entry_points: dict[str, str], files: dict[str, str]) -> None:
        info = self.path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n"
        )
        lines = [f"{name} = {value}" for name, value in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[sockgw.plugins]", *lines]))
        for name, source in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(path)
    before = set(sys.modules)
    yield Site(path)
    for name in set(sys.modules) - before:
        if name.startswith("acme"):
            del sys.modules[name]


FILES = {
    "acme/__init__.py": "async def metrics(ctx, next): pass\nclass Counter:\n  async def x(s): ...",
    "acme/count.py": "\nasync def packets(ctx, next): pass",
    "acme/broken.py": "import nowhere",
}


@pytest.mark.parametrize(
    ("name", "full", "line"),
    [
        ("metrics", "metrics.metrics", 1),
        ("metrics.metrics", "metrics.metrics", 1),
        ("metrics.Counter", "metrics.Counter", 2),
        ("metrics.Counter.x", "metrics.Counter.x", 3),
        ("metrics.count.packets", "metrics.count.packets", 2),
    ],
)
def test_distribution_offers_plugins(site: Site, name: str, full: str, line: int) -> None:
    site.add("acme-metrics", {"metrics": "acme"}, FILES)
    plugin = load_plugins([]).resolve(name)
    assert plugin.name == full
    assert plugin.digest == "acme-metrics 1.2"
    assert plugin.place.line == line
    assert Path(plugin.place.file).parent == site.path / "acme"


def test_distribution_is_imported_when_a_name_leads_there(site: Site, folder: Folder) -> None:
    site.add("acme-metrics", {"metrics": "acme"}, FILES)
    plugins = folder.load({"chat.py": "async def index(ctx): pass"})
    plugins.resolve("chat.index")
    assert "acme" not in sys.modules
    plugins.resolve("metrics")
    assert "acme" in sys.modules


def test_distribution_that_cannot_be_imported_is_named(site: Site) -> None:
    site.add("acme-metrics", {"metrics": "acme"}, FILES)
    with pytest.raises(PluginError) as caught:
        load_plugins([]).resolve("metrics.broken.x")
    assert caught.value.message == (
        "cannot import 'acme.broken' of acme-metrics 1.2: "
        "ModuleNotFoundError: No module named 'nowhere'"
    )


def test_entry_point_that_leads_nowhere_is_named(site: Site) -> None:
    site.add("acme-metrics", {"metrics": "acme_gone"}, {})
    with pytest.raises(PluginError) as caught:
        load_plugins([]).resolve("metrics.x")
    assert caught.value.message == (
        "cannot import 'acme_gone' of acme-metrics 1.2: "
        "ModuleNotFoundError: No module named 'acme_gone'"
    )


def test_distribution_that_exits_at_import_is_refused(site: Site) -> None:
    site.add("acme-metrics", {"metrics": "acme"}, {"acme.py": "raise SystemExit"})
    with pytest.raises(
        PluginError, match=r"^cannot import 'acme' of acme-metrics 1.2: SystemExit$"
    ):
        load_plugins([]).resolve("metrics.x")


@pytest.mark.parametrize("name", ["metrics.nothing", "metrics.nothing.x", "metrics.count.x.y"])
def test_what_a_distribution_has_not_is_unknown(site: Site, name: str) -> None:
    site.add("acme-metrics", {"metrics": "acme"}, FILES)
    with pytest.raises(PluginError, match=rf"^no plugin '{name}'"):
        load_plugins([]).resolve(name)


def test_names_of_an_imported_distribution_are_suggested(site: Site) -> None:
    site.add("acme-metrics", {"metrics": "acme"}, FILES)
    with pytest.raises(PluginError) as caught:
        load_plugins([]).resolve("metrics.Countr")
    assert caught.value.message == "no plugin 'metrics.Countr', did you mean 'metrics.Counter'?"


def test_name_in_folder_and_distribution_is_refused(site: Site, folder: Folder) -> None:
    site.add("acme-metrics", {"metrics": "acme"}, FILES)
    plugins = folder.load({"metrics.py": "async def metrics(ctx, next): pass\ndef other(): pass"})
    with pytest.raises(PluginError) as caught:
        plugins.resolve("metrics")
    assert caught.value.message == (
        f"'metrics' is in two places, {folder.path}/metrics.py:1:1 and "
        f"{site.path}/acme/__init__.py:1:1; rename one"
    )
    assert plugins.resolve("metrics.other").name == "metrics.other"


def test_two_distributions_of_one_name_are_refused(site: Site) -> None:
    site.add("acme-one", {"metrics": "acme_one"}, {"acme_one.py": "def metrics(): pass"})
    site.add("acme-two", {"metrics": "acme_two"}, {"acme_two.py": "def metrics(): pass"})
    with pytest.raises(PluginError, match=r"^'metrics' is in two places, "):
        load_plugins([]).resolve("metrics")


def test_builtin_plugins_are_in_the_package_of_that_name() -> None:
    with pytest.raises(PluginError, match=r"^no plugin 'builtin\.no_such_thing'"):
        load_plugins([]).resolve("builtin.no_such_thing")
    assert "gateway.builtin" in sys.modules
