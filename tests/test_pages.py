"""Folders of pages: what is read of them, and why they are refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import pages
from gateway.compiler import Build, load
from gateway.daemon.watcher import Watcher, watch_folders
from gateway.errors import ConfigError
from gateway.snapshot import Inputs, take_snapshot

CONFIG = "server: {static: {/: web}}\nnamespaces: {/: }\n"
PLACE = "gateway.yaml:1:22: server.static./: "
LIMIT = "gateway.yaml:1:18: server.static: "


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("web").mkdir()
    return tmp_path


def built(config: str = CONFIG, former: Build | None = None) -> Build:
    Path("gateway.yaml").write_text(config)
    return load(Path("gateway.yaml"), {}, former=former)


def problems(config: str = CONFIG) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        built(config)
    return [str(problem) for problem in caught.value.problems]


def page(name: str, text: str = "page") -> Path:
    path = Path("web", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_pages_are_found_by_their_paths() -> None:
    for name in ("index.html", "a/b.css", "a/index.html", ".hidden", ".git/index.html", "a/.b/c"):
        page(name)
    assert sorted(built().pages) == ["/", "/a/", "/a/b.css", "/a/index.html", "/index.html"]


def test_a_gateway_without_pages_has_none() -> None:
    assert built("namespaces: {/: }\n").pages == {}


def test_a_missing_folder_is_told_at_its_line() -> None:
    assert problems("server: {static: {/: web, /docs: site}}\nnamespaces: {/: }\n") == [
        "gateway.yaml:1:22: server.static./: there is no page in web",
        "gateway.yaml:1:34: server.static./docs: there is no folder site",
    ]


def test_a_file_is_no_folder() -> None:
    Path("page.html").write_text("page")
    assert problems(CONFIG.replace("web", "page.html")) == [f"{PLACE}page.html is not a folder"]


@pytest.mark.parametrize(
    ("folder", "named"),
    [
        (".", ". has gateway.yaml in it"),
        ("plugins", "plugins has plugins"),
        ("..", ".. has {here}/gateway.yaml in it"),
    ],
)
def test_a_folder_with_the_gateway_in_it_is_refused(here: Path, folder: str, named: str) -> None:
    Path("plugins").mkdir()
    Path("plugins/chat.py").write_text("")
    found = problems(CONFIG.replace("web", f'"{folder}"') + "limits: {static_files: 50}\n")
    message = "which no client may read: keep pages in a folder of their own"
    assert f"{PLACE}{named.format(here=here.name)}, {message}" in found


def test_a_folder_with_a_secret_of_the_file_in_it_is_refused() -> None:
    page("token.txt", "0123456789abcdef")
    config = CONFIG + 'admin: {token: "${file:web/token.txt}"}\n'
    message = "which no client may read: keep pages in a folder of their own"
    assert problems(config) == [f"{PLACE}web has token.txt in it, {message}"]


def test_links_count_where_they_stay_in_the_folder() -> None:
    """A ConfigMap of Kubernetes is mounted so: every file is a link into a hidden folder."""
    page("..data/index.html")
    Path("web/index.html").symlink_to("..data/index.html")
    Path("served").symlink_to("web")
    assert sorted(built(CONFIG.replace("web", "served")).pages) == ["/", "/index.html"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("../secret.txt", "this link leads out of the folder; copy what it leads to"),
        ("/etc/passwd", "this link leads out of the folder; copy what it leads to"),
        ("../web2/page.html", "this link leads out of the folder; copy what it leads to"),
        ("..", "this link leads out of the folder; copy what it leads to"),
        (".", "this link leads out of the folder; copy what it leads to"),
        ("a", "this link leads back to a folder it is in; remove it"),
        ("gone.html", "cannot read: not a file, or a link to none"),
        ("link", "cannot read: not a file, or a link to none"),
    ],
)
def test_a_link_that_leads_out_or_nowhere_is_told(target: str, message: str) -> None:
    page("index.html")
    Path("secret.txt").write_text("secret")
    Path("web2").mkdir()
    Path("web2/page.html").write_text("another folder's")
    link = Path("web/link")
    if target == "a":
        page("a/page.html")
        link = Path("web/a/link")
        target = "../a"
    link.symlink_to(target)
    assert problems() == [f"{link}:1:1: {message}"]


def test_a_pipe_is_no_page() -> None:
    os.mkfifo("web/pipe")
    assert problems() == ["web/pipe:1:1: cannot read: not a file, or a link to none"]


def test_what_cannot_be_read_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated, as root may read everything."""
    page("index.html")
    closed = page("closed.html")
    page("private/page.html")
    listdir, open_path = os.listdir, Path.open

    def listed(folder: Path) -> list[str]:
        if folder.name == "private":
            raise PermissionError(13, "Permission denied")
        return listdir(folder)

    def opened(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return open_path(path, *args, **kwargs)

    monkeypatch.setattr(os, "listdir", listed)
    monkeypatch.setattr(Path, "open", opened)
    assert problems() == [
        "web/closed.html:1:1: cannot read: Permission denied",
        "web/private:1:1: cannot read: Permission denied",
    ]


def test_a_name_that_no_browser_can_ask_for_is_told() -> None:
    page("index.html")
    page("a\nb.html")
    Path(os.fsdecode(b"web/\xff.html")).write_text("page")
    assert problems() == [
        "web:1:1: no browser can ask for '\\udcff.html' in it; rename that",
        "web:1:1: no browser can ask for 'a\\nb.html' in it; rename that",
    ]


def test_pages_of_more_bytes_than_the_limit_are_refused() -> None:
    page("a.txt", "x" * 600)
    page("b.txt", "x" * 400)
    assert len(built(CONFIG + "limits: {static_size: 1KB}\n").pages) == 2
    page("c.txt", "x")
    assert problems(CONFIG + "limits: {static_size: 1KB}\n") == [
        f"{LIMIT}more than 1,000 bytes; leave some out, or raise limits.static_size"
    ]
    assert len(built(CONFIG + "limits: {static_size: unlimited}\n").pages) == 3


def test_more_files_than_the_limit_are_refused() -> None:
    page("a/b/c.txt")
    assert len(built(CONFIG + "limits: {static_files: 3}\n").pages) == 1
    page("d.txt")
    assert problems(CONFIG + "limits: {static_files: 3}\n") == [
        f"{LIMIT}more than 3 files and folders; leave some out, or raise limits.static_files"
    ]


def test_pages_that_are_the_same_are_used_again() -> None:
    page("same.js", "x" * 1000)
    page("other.js", "x" * 1000)
    former = built()
    page("other.js", "y" * 1000)
    now = built(former=former)
    assert now.pages["/same.js"] is former.pages["/same.js"]
    assert now.pages["/other.js"] is not former.pages["/other.js"]
    assert now.blueprint.digest != former.blueprint.digest
    assert built(former=now).blueprint.digest == now.blueprint.digest


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda: page("index.html", "new"), True),
        (lambda: page("new/page.html"), True),
        (lambda: Path("web/index.html").unlink(), True),
        (lambda: Path("web/index.html").rename("web/other.html"), True),
        (lambda: Path("web").rename("other"), True),
        (lambda: os.utime("web/index.html", (1, 1)), False),
        (lambda: page(".swp", "new"), False),
        (lambda: Path("web/empty").mkdir(), False),
    ],
)
def test_inputs_follow_the_content_of_pages(change: Callable[[], object], counts: bool) -> None:
    page("index.html")
    page("more.html")
    inputs = inputs_of()
    assert inputs.again() == inputs
    change()
    assert (inputs.again() != inputs) == counts


def inputs_of() -> Inputs:
    Path("gateway.yaml").write_text(CONFIG)
    return take_snapshot(Path("gateway.yaml"), {}).inputs


def test_the_folders_of_pages_are_watched(here: Path) -> None:
    page("a/b/c.txt")
    page(".git/config")
    watched = {os.path.relpath(folder) for folder in watch_folders(inputs_of())}
    assert {"web", "web/a", "web/a/b"} <= watched
    assert "web/.git" not in watched


def bytes_read() -> int:
    """How much this process has read so far, in bytes."""
    return int(Path("/proc/self/io").read_text().split()[1])


LARGE = "x" * 4_000_000


def large_inputs() -> Inputs:
    page("index.html", LARGE)
    Path("gateway.yaml").write_text(CONFIG)
    return take_snapshot(Path("gateway.yaml"), {}).inputs


async def test_a_page_that_is_as_it_was_is_not_read_at_each_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As soon as it was quiet for long enough when it was read, here at the second look."""
    monkeypatch.setattr(pages, "SETTLED", 3600.0)
    watcher = Watcher(large_inputs(), lambda: pytest.fail("nothing has changed"))
    watcher.quiet = 0.0
    read = []
    for _ in range(4):
        before = bytes_read()
        await watcher.look()
        read.append(bytes_read() - before > len(LARGE))
        monkeypatch.setattr(pages, "SETTLED", 0.0)
    assert read == [True, True, False, False]


@pytest.mark.parametrize("settled", [0.0, 3600.0])
def test_a_change_that_keeps_size_and_time_of_a_page_is_seen(
    monkeypatch: pytest.MonkeyPatch, settled: float
) -> None:
    """By the time of the last change of the file itself, which nobody can set."""
    monkeypatch.setattr(pages, "SETTLED", settled)
    inputs = large_inputs().again()
    path = Path("web/index.html")
    facts, changed = path.stat(), path.stat()
    while changed.st_ctime_ns == facts.st_ctime_ns:  # until the kernel's clock ticks
        path.write_text("y" + LARGE[1:])
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        changed = path.stat()
    assert (changed.st_size, changed.st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert inputs.again() != inputs


@pytest.mark.parametrize("settled", [3600.0, 0.0])
def test_a_page_that_has_just_changed_is_read_again_whatever_its_stamp(
    monkeypatch: pytest.MonkeyPatch, settled: float
) -> None:
    monkeypatch.setattr(pages, "_stamp", lambda facts: (0, 0, 0, 0, 0))  # of a clock that stands
    monkeypatch.setattr(pages, "SETTLED", settled)
    inputs = large_inputs()
    page("index.html", "y" + LARGE[1:])
    assert (inputs.again() != inputs) is (settled > 0)
