"""Loading in a thread: in time or not at all, and nothing it leaves behind is in the way."""

from __future__ import annotations

import asyncio
import sys
import threading
from functools import partial
from pathlib import Path
from types import FrameType

import pytest

from gateway.compiler import Build, load
from gateway.daemon import loading
from gateway.daemon.loading import load_within
from gateway.errors import ConfigError
from gateway.loader import sysmodules
from gateway.loader.sysmodules import Placed
from tests.deadline import deadline
from tests.gateway_files import write

CONFIG = "namespaces: {/: {routes: {say: chat.say}}}"
SAY = "async def say(ctx): return 1\n"


async def loaded(file: Path, seconds: float | None = 0.2) -> Build:
    return await load_within(seconds, partial(load, file, {}), str(file))


async def problems(file: Path, seconds: float | None = 0.2) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        await loaded(file, seconds)
    return [str(problem).replace(f"{file.parent}/", "") for problem in refused.value.problems]


async def problems_of_plugins(file: Path) -> list[str]:
    """Load until it is a plugin that takes too long: a busy machine may need several goes."""
    async with deadline():
        while (found := await problems(file))[0].startswith(file.name):
            pass
    return found


def finders() -> list[object]:
    return [each for each in sys.meta_path if isinstance(each, Placed)]


LATE = "cannot import: LoadTimeout: took longer than reload.load_timeout"


@pytest.mark.parametrize(
    "loop",
    [
        "while True:\n  pass",
        "import re\nwhile True:\n  re.sub('a*', 'b', 'c')",
        "while True:\n  from . import helper",
        "for _ in iter(int, 1):\n  try:\n    while True: pass\n  except Exception: pass",
    ],
)
async def test_file_that_loops_is_a_problem_at_its_line(tmp_path: Path, loop: str) -> None:
    file = write(tmp_path, CONFIG, chat=f"{SAY}\n{loop}\n", helper="")
    before = finders(), {name for name in sys.modules if name.startswith("plugins")}
    [problem] = await problems_of_plugins(file)
    place, _, message = problem.partition(": ")
    assert place.startswith("plugins/chat.py:")
    assert message == LATE
    assert (finders(), {name for name in sys.modules if name.startswith("plugins")}) == before


async def test_time_limit_that_ends_a_finalizer_is_not_told_and_comes_again(tmp_path: Path) -> None:
    loop = """
        import weakref
        class Thing: pass
        def finalize(_):
            while True: pass
        thing = Thing()
        finalizer = weakref.ref(thing, finalize)
        del thing
        while True: pass
    """
    # what Python tells of the finalizer is a warning, and so fails the test
    [problem] = await problems(write(tmp_path, CONFIG, chat=loop), 2)
    assert problem == f"plugins/chat.py:9:1: {LATE}"


async def test_factory_that_loops_is_a_problem_at_its_line(tmp_path: Path) -> None:
    plugin = """
        def say():
            while True:
                pass
    """
    [problem] = await problems_of_plugins(write(tmp_path, CONFIG, chat=plugin))
    assert problem in {
        f"plugins/chat.py:{line}:1: cannot load: LoadTimeout: took longer than reload.load_timeout"
        for line in (3, 4)
    }


async def test_factory_that_ends_the_program_is_a_problem(tmp_path: Path) -> None:
    plugin = "def say():\n    raise KeyboardInterrupt('enough')\n"
    assert await problems(write(tmp_path, CONFIG, chat=plugin)) == [
        "plugins/chat.py:2:1: cannot load: KeyboardInterrupt: enough"
    ]


async def test_every_file_that_loops_is_told_of(tmp_path: Path) -> None:
    file = write(tmp_path, CONFIG, chat="while True: pass", other="while True: pass")
    assert await problems_of_plugins(file) == [
        f"plugins/{name}.py:1:1: {LATE}" for name in ("chat", "other")
    ]


async def test_thread_that_cannot_be_interrupted_is_left_behind_and_in_nobodys_way(
    tmp_path: Path, monkeypatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(sys, "release", release, raising=False)
    file = write(tmp_path, CONFIG, chat=f"{SAY}\nimport sys\nsys.release.wait()\nx = 1\n")
    before = finders()
    assert await problems_of_plugins(file) == [
        "plugins/chat.py:4:1: loading took longer than 0.2 s and cannot be interrupted"
    ]
    assert finders() == before
    [left] = [each for each in threading.enumerate() if each.name == "load"]
    (tmp_path / "plugins/chat.py").write_text(SAY)
    build = await loaded(file, None)
    undo = build.blueprint.install()
    module = sys.modules["plugins.chat"]
    release.set()
    await asyncio.to_thread(left.join, 10)
    assert not left.is_alive()
    assert sys.modules["plugins.chat"] is module
    undo()
    assert finders() == before


async def test_loop_goes_on_while_a_plugin_sleeps(tmp_path: Path, monkeypatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(sys, "release", release, raising=False)
    file = write(tmp_path, CONFIG, chat=f"import sys\nassert sys.release.wait(10)\n{SAY}")
    loading = asyncio.create_task(loaded(file, None))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not loading.done()
    release.set()
    assert (await loading).blueprint.namespaces.keys() == {"/"}


async def test_loading_that_nobody_waits_for_any_more_ends_quietly(
    tmp_path: Path, monkeypatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(sys, "release", release, raising=False)
    file = write(tmp_path, CONFIG, chat=f"import sys\nsys.release.wait(10)\n{SAY}")
    before = set(threading.enumerate())  # that of another test may still be ending
    loading = asyncio.create_task(loaded(file, None))
    await asyncio.sleep(0)  # the thread runs
    loading.cancel()
    await asyncio.wait({loading})
    [left] = [each for each in {*threading.enumerate()} - before if each.name == "load"]
    release.set()
    await asyncio.to_thread(left.join, 10)
    assert not left.is_alive()


async def test_plugins_meet_no_event_loop_at_import(tmp_path: Path) -> None:
    """The first load and every later one run in the same kind of place."""
    file = write(tmp_path, CONFIG, chat=f"import asyncio\nasyncio.run(asyncio.sleep(0))\n{SAY}")
    assert await loaded(file, None)


async def test_switch_interval_is_what_it_was(tmp_path: Path) -> None:
    before = sys.getswitchinterval()
    file = write(tmp_path, CONFIG, chat=SAY)
    await asyncio.gather(loaded(file, None), loaded(file, None))
    assert sys.getswitchinterval() == before


async def test_thread_that_exchanges_modules_is_not_interrupted(tmp_path: Path) -> None:
    """Half of it would be done, for everyone to see."""

    def frame() -> FrameType | None:
        return sys._current_frames().get(thread.ident or 0)

    file = write(tmp_path, CONFIG, chat=SAY)
    with sysmodules._LOCK:
        thread = threading.Thread(target=load, args=(file, {}))
        thread.start()
        async with deadline():
            while not loading._is_exchanging(frame()):  # noqa: ASYNC110
                await asyncio.sleep(0)
    thread.join()
    done = threading.Event()
    looping = threading.Thread(target=exec, args=("while not done.is_set(): pass", {"done": done}))
    looping.start()
    assert not loading._is_exchanging(sys._current_frames()[looping.ident or 0])
    done.set()
    looping.join()
