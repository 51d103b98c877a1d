"""The soak, two minutes of it: the checks are those of the long one; times are not looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.soaking.daemon import Held
from bench.soaking.lives import Account
from bench.soaking.verdict import Verdict
from tests.bench.run_bench import figures_of

MB = 2**20


@pytest.mark.timeout(300)
def test_two_minutes_of_clients_of_all_kinds_leave_nothing_behind(tmp_path: Path) -> None:
    options = ("--minutes", "2", "--clients", "100", "--every", "0.5")
    found = figures_of(tmp_path / "figures.json", "bench.soak", *options, timeout=280)
    assert found["problems"] == []
    assert found["account"]["answered"] == found["account"]["asked"] > 100
    assert found["account"]["lives"].keys() >= {"good", "killed", "half_open", "garbage", "slow"}
    assert found["violations"]
    assert found["limited"].keys() >= {"send_buffer", "handlers_per_socket"}
    assert found["account"]["busy"]


@pytest.fixture
def good() -> Verdict:
    return Verdict(
        Account(asked=10, answered=10),
        base=Held(50 * MB, 20, 0),
        end=Held(60 * MB, 21, 0),
        faults=(),
        exit_code=0,
        saves=4,
        log_lines=10,
        violations={},
        limited={},
    )


def test_a_good_soak_has_no_problems(good: Verdict) -> None:
    assert good.problems == ()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"faults": ("Traceback",)}, "1 faults in the log, the first: Traceback"),
        ({"exit_code": -9}, "the daemon ended with -9"),
        ({"account": Account()}, "0 of 0 calls were not answered"),
        ({"account": Account(asked=3, answered=1)}, "2 of 3 calls were not answered"),
        ({"account": Account(2, 2, losses={"late": 3})}, "3 x late"),
        ({"end": Held(50 * MB, 20, 2)}, "2 sockets left of clients that are gone"),
        ({"end": Held(50 * MB, 23, 0)}, "descriptors grew from 20 to 23"),
        ({"end": Held(50 * MB, 20, 0, tasks=6)}, "tasks grew from 0 to 6"),
        ({"end": Held(50 * MB, 20, 0, timers=6)}, "timers grew from 0 to 6"),
        ({"end": Held(80 * MB, 20, 0)}, "memory grew from 50.0 MB to 80.0 MB"),
    ],
)
def test_what_is_not_good_is_named(good: Verdict, change: dict[str, object], problem: str) -> None:
    assert replace(good, **change).problems == (problem,)  # type: ignore[arg-type]
