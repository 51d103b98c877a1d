"""Counting instructions: the loads meet a real gateway, and what is counted grows with the work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import IO

import pytest

from bench.counters import best
from bench.instructions import count
from bench.lockstep import WORKS
from bench.peers import Peer

GATEWAY = Peer("sockgw", (sys.executable, "-m", "gateway", "run"))

ECHO = "import sys\nfor line in sys.stdin: print(sum(range(len(line))), flush=True)"


class Calls:
    """A counter that takes each count for a thousand instructions."""

    name = "calls"

    def __init__(self) -> None:
        self.pids: list[int] = []

    def works(self) -> bool:
        return True

    def prefix(self) -> tuple[str, ...]:
        return ()

    def count(self, pid: int, work: Callable[[], None]) -> int:
        self.pids.append(pid)
        work()
        return 1000


@pytest.mark.parametrize("name", WORKS)
def test_a_load_is_answered_and_its_count_is_that_of_a_message(name: str) -> None:
    work, counter = replace(WORKS[name], turns=2), Calls()
    assert count(counter, GATEWAY, work, 2) == [1000 / (2 * work.messages)] * 2
    assert len(set(counter.pids)) == 1


def test_a_load_of_another_server_is_an_error() -> None:
    work = replace(WORKS["chat"], turns=1)
    program = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1")
    with pytest.raises(RuntimeError, match=r"^the server answered b'HTTP/1.0 404 "):
        count(Calls(), Peer("other", program), work, 1)


def test_twice_the_work_is_twice_the_instructions() -> None:
    try:
        counter = best()
    except RuntimeError as error:
        assert str(error) == "instructions are counted by perf or valgrind; install one of them"  # noqa: PT017
        return
    command = [*counter.prefix(), sys.executable, "-c", ECHO]
    environ = os.environ | {"PYTHONHASHSEED": "0"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        feed = partial(_feed, process.stdin, process.stdout)
        feed(100)
        once = counter.count(process.pid, partial(feed, 200))
        twice = counter.count(process.pid, partial(feed, 400))
    assert once > 100_000
    assert twice / once == pytest.approx(2, rel=0.05)


def _feed(source: IO[str], answers: IO[str], lines: int) -> None:
    for _ in range(lines):
        source.write("x" * 500 + "\n")
        source.flush()
        answers.readline()
