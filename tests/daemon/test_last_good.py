"""The last good configuration: what was accepted, readable by its owner, whole at every moment."""

from __future__ import annotations

import resource
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.compiler import compile_snapshot, load
from gateway.daemon.last_good import LastGood
from gateway.snapshot import Snapshot, take_snapshot
from tests.certificates import TLS
from tests.gateway_files import write

CONFIG = """
namespaces: {/: {routes: {say: chat.say}}}
"""


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def kept(file: Path, environ: dict[str, str]) -> tuple[LastGood, Snapshot]:
    snapshot = take_snapshot(file, environ)
    last_good = LastGood(file, environ)
    last_good.keep(snapshot)
    return last_good, snapshot


def digest(snapshot: Snapshot) -> str:
    return compile_snapshot(snapshot).blueprint.digest


def entries(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "state").rglob("*") if path.is_file()]


def test_everything_that_was_read_is_kept_where_it_can_be_loaded(tmp_path, state) -> None:
    top = tmp_path / "etc"
    file = write(top, CONFIG + "include: [../shared/more.yaml, conf.d/*.yaml]\n", _words="x = 1")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/more.yaml").write_text("services: {}")
    (top / "conf.d").mkdir()
    (top / "conf.d/a.yaml").write_text("reload: {quiet: 7s}")
    (top / "plugins/chat.py").write_text("from ._words import x\nasync def say(ctx): return x")
    last_good, snapshot = kept(file, state)
    copy = last_good.file
    assert copy is not None
    (tmp_path / "etc").rename(tmp_path / "gone")
    again = load(copy, state)
    assert again.config.reload.quiet == 7
    assert again.blueprint.digest == digest(snapshot)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond a few bytes, as on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_copy_that_fails_leaves_nothing_behind(tmp_path, state) -> None:
    file = write(tmp_path, CONFIG, chat="async def say(ctx): pass")
    last_good, snapshot = kept(file, state)
    before = sorted((tmp_path / "state").rglob("*"))
    for _ in range(3):
        with full_disk(), pytest.raises(OSError, match="File too large"):
            last_good.keep(snapshot)
    assert sorted((tmp_path / "state").rglob("*")) == before
    assert last_good.file is not None
    assert load(last_good.file, state).blueprint.digest == digest(snapshot)


def test_nobody_else_may_read_it(tmp_path, state) -> None:
    last_good, _ = kept(write(tmp_path, CONFIG, chat="async def say(ctx): pass"), state)
    assert last_good.file is not None
    for path in entries(tmp_path):
        if path.name != "main":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(last_good.file.parent.stat().st_mode) == 0o700
    folder = next((tmp_path / "state/sockgw").iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_variables_are_not_filled_in(tmp_path, state) -> None:
    file = write(tmp_path, CONFIG + "admin: {token: '${TOKEN}'}", chat="async def say(ctx): 1")
    state["TOKEN"] = "a secret of 16 and more"
    last_good, _ = kept(file, state)
    assert last_good.file is not None
    assert not any(b"a secret" in path.read_bytes() for path in entries(tmp_path))


def test_the_newest_takes_the_place_of_the_former(tmp_path, state) -> None:
    file = write(tmp_path, CONFIG, chat="async def say(ctx): return 1")
    count = 0
    for number in range(3):
        (tmp_path / "plugins/chat.py").write_text(f"async def say(ctx): return {number}")
        last_good, snapshot = kept(file, state)
        assert last_good.file is not None
        assert load(last_good.file, state).blueprint.digest == digest(snapshot)
        count = count or len(entries(tmp_path))
        assert len(entries(tmp_path)) == count


def test_what_was_accepted_is_kept_though_the_plugin_is_another_by_now(tmp_path, state) -> None:
    file = write(tmp_path, CONFIG, chat="async def say(ctx): return 1")
    snapshot = take_snapshot(file, state)
    (tmp_path / "plugins/chat.py").write_text("broken (")
    last_good = LastGood(file, state)
    last_good.keep(snapshot)
    assert last_good.file is not None
    assert load(last_good.file, state).blueprint.digest == digest(snapshot)


@pytest.mark.parametrize("then", ["", "namespaces: {/other: {}}", "namespaces: {"])
def test_what_was_accepted_is_kept_though_the_yaml_is_another_by_now(
    tmp_path, state, then: str
) -> None:
    file = write(tmp_path, CONFIG, chat="async def say(ctx): return 1")
    last_good, _ = kept(file, state)
    file.write_text(CONFIG + "services: {}")
    snapshot = take_snapshot(file, state)
    file.write_text(then)
    last_good.keep(snapshot)
    assert last_good.file is not None
    assert last_good.file.read_text() == CONFIG + "services: {}"
    assert load(last_good.file, state).blueprint.digest == digest(snapshot)
    assert len({path.parent for path in entries(tmp_path) if path.name == "gateway.yaml"}) == 1


def test_leftovers_of_one_that_was_killed_are_in_nobodys_way(tmp_path, state) -> None:
    file = write(tmp_path, CONFIG, chat="async def say(ctx): return 1")
    last_good, snapshot = kept(file, state)
    folder = next((tmp_path / "state/sockgw").iterdir())
    (folder / "half").mkdir()
    (folder / "half/gateway.yaml").write_text("namespaces:")
    last_good.keep(snapshot)
    assert last_good.file is not None
    assert not (folder / "half").exists()


def test_paths_of_what_is_not_copied_lead_to_where_it_is(tmp_path, state) -> None:
    file = write(
        tmp_path,
        CONFIG
        + f"server: {{tls: {{cert: tls/cert.pem, key: {TLS / 'one.key'}}}}}\n"
        + "admin: {socket: a.sock}\n",
        chat="async def say(ctx): pass",
    )
    (tmp_path / "tls").mkdir()
    shutil.copy(TLS / "one.pem", tmp_path / "tls/cert.pem")
    last_good, _ = kept(file, state)
    assert last_good.file is not None
    config = load(last_good.file, state, beside=last_good.beside).config
    assert config.server.tls is not None
    assert (config.server.tls.cert, config.server.tls.key) == (
        tmp_path / "tls/cert.pem",
        TLS / "one.key",
    )
    assert config.admin is not None
    assert config.admin.socket == tmp_path / "a.sock"


def test_paths_of_what_is_not_copied_are_those_of_the_file_itself(
    tmp_path, state, monkeypatch
) -> None:
    """However the file is named."""
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.copy(TLS / "one.pem", tmp_path / "cert.pem")
    shutil.copy(TLS / "one.key", folder / "key.pem")
    tls = "server: {tls: {cert: ../cert.pem, key: key.pem}}\nadmin: {socket: a.sock}\n"
    write(folder, CONFIG + tls, chat="async def say(ctx): pass")
    last_good, snapshot = kept(Path("gateway.yaml"), {"XDG_STATE_HOME": "state"})
    assert last_good.file is not None
    config = load(last_good.file, {}, beside=last_good.beside).config
    assert (config.server.tls, config.admin) == (snapshot.config.server.tls, snapshot.config.admin)


def test_each_file_has_its_own(tmp_path, state) -> None:
    last_good, _ = kept(write(tmp_path, CONFIG, chat="async def say(ctx): pass"), state)
    assert last_good.file is not None
    assert LastGood(tmp_path / "other.yaml", state).file is None


def test_folder_that_cannot_be_written_is_an_error_of_the_system(tmp_path, state) -> None:
    file = write(tmp_path, CONFIG, chat="async def say(ctx): pass")
    (tmp_path / "state").write_text("a file")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        kept(file, state)


def test_without_a_home_nothing_is_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    last_good, _ = kept(write(tmp_path, CONFIG, chat="async def say(ctx): pass"), {})
    assert last_good.file is None


def test_a_folder_that_was_open_to_others_is_closed(tmp_path, state) -> None:
    file = write(tmp_path, CONFIG, chat="async def say(ctx): pass")
    last_good, _ = kept(file, state)
    assert last_good.file is not None
    folder = last_good.file.parents[1]
    folder.chmod(0o755)
    kept(file, state)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_files_that_values_refer_to_are_not_copied_and_found_where_they_are(
    tmp_path, state
) -> None:
    (tmp_path / "secret").write_text("hush")
    config = CONFIG + "admin: {socket: a.sock, token: 'sixteen-letters-${file:secret}'}"
    file = write(tmp_path, config, chat="async def say(ctx): pass")
    last_good, _ = kept(file, state)
    assert [path for path in entries(tmp_path) if "hush" in path.read_text()] == []
    assert last_good.file is not None
    again = load(last_good.file, state, beside=last_good.beside)
    assert again.config.admin is not None
    assert again.config.admin.token == "sixteen-letters-hush"
