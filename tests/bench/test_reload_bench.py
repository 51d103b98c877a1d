"""The reload bench, small: what it counts is nought on any machine; its times are not looked at."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.reloading.edits import PARTS, Edits
from bench.reloading.traffic import Account
from tests.bench.run_bench import figures_of


def test_no_client_notices_a_reload(tmp_path: Path) -> None:
    found = figures_of(
        tmp_path / "figures.json", "bench.reload", "--sockets", "10", "--reloads", "8"
    )
    counts = {name: found[name] for name in ("dropped", "lost", "mixed", "misjudged")}
    assert counts == {"dropped": 0, "lost": 0, "mixed": 0, "misjudged": 0}
    assert (found["broken"], found["answered"] > 100, found["asked"] > 0) == (2, True, True)


def stamps(**versions: int) -> list[dict[str, int]]:
    return [dict.fromkeys(PARTS, 0) | versions]


@pytest.fixture
def account(tmp_path: Path) -> Account:
    """What is on disk has been saved once, in the part that comes first."""
    edits = Edits(tmp_path / "gateway")
    next(edits.saves())
    return Account(edits.states)


def test_an_answer_of_one_state_is_good(account: Account) -> None:
    assert account.judge(stamps(), 0) == 0
    assert account.judge(stamps(yaml=1), 0) == 1
    assert (account.answered, account.mixed, account.lost) == (2, 0, 0)
    assert account.seen.keys() == {0, 1}


@pytest.mark.parametrize(
    ("answer", "newest"),
    [
        ([*stamps(), *stamps(yaml=1)], 0),
        (stamps(yaml=1, helper=1), 0),
        ([{"yaml": 1}], 0),
        (stamps(), 1),
    ],
    ids=["of two states", "of no state", "of some parts", "older than the one before"],
)
def test_an_answer_that_is_of_no_state_to_be_expected_is_mixed(
    account: Account, answer: Any, newest: int
) -> None:
    assert account.judge(answer, newest) == newest
    assert (account.mixed, account.bad.total()) == (1, 1)


def test_an_error_is_a_lost_ack(account: Account) -> None:
    account.judge({"error": {"code": "internal", "message": "internal error"}}, 0)
    assert (account.answered, account.lost) == (0, 1)
    assert account.bad == {"error internal": 1}


def test_a_quarter_of_the_saves_is_broken_and_each_is_mended(tmp_path: Path) -> None:
    edits = Edits(tmp_path / "gateway")
    row = list(islice(edits.saves(), 40))
    assert sum(save.is_broken for save in row) == 10
    for save, following in pairwise(row):
        if save.is_broken:
            assert (following.path, following.is_broken) == (save.path, False)
