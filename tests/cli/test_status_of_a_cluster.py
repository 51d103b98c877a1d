"""`sockgw status` of a gateway in a cluster: who serves what, and where services run."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.cli.conftest import OpenTerminal
from tests.cli.daemon_for_verbs import CONFIG, ask
from tests.cli.test_status import told
from tests.deadline import until
from tests.gateway_files import write

AT = datetime(2026, 11, 29, 10, 11, 3).timestamp()
SHOWN = "2026-11-29 10:11:03"

STATUS = {
    "file": "/srv/gateway.yaml",
    "url": "http://127.0.0.1:7001",
    "version": "0.5.0",
    "pid": 4711,
    "started": AT,
    "degraded": [],
    "last_reload": None,
    "watcher": {"mode": "off", "up": False},
    "generation": 1,
    "since": AT,
    "digest": "0" * 64,
    "generations": {"1": 0},
    "old_generations": [],
    "sockets": {},
    "services": ["store", "ticker"],
    "placed": {},
    "pending": [],
    "refused": [],
}


def member(node: str, fingerprint: str = "a", worker: int = 1, **more: Any) -> dict[str, Any]:
    facts = {"version": "0.5.0", "wire": 1, "since": AT, **more}
    return {
        "tag": f"{node}-{worker}",
        "node": node,
        "worker": worker,
        "fingerprint": fingerprint * 64,
        **facts,
    }


UNTOLD = {
    "tag": "later",
    **dict.fromkeys(("node", "worker", "fingerprint", "version", "wire", "since")),
}


def cluster(*serving: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "shop",
        "up": True,
        "since": AT,
        "fault": "",
        "members": len(serving) - 1,
        "configurations": len({each["fingerprint"] for each in serving} - {None}),
        "versions": ["0.5.0"],
        "differ_since": None,
        "drift": "",
        "serving": serving,
        **more,
    }


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(tmp_path, CONFIG)


@asynccontextmanager
async def telling(file: Path, **facts: Any) -> AsyncIterator[None]:
    """A daemon that tells this status, whatever is in the file."""

    async def tell(request: web.Request) -> web.Response:
        return web.json_response({**STATUS, **facts})

    app = web.Application()
    app.router.add_get("/-/status", tell)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(file.parent / "admin.sock")).start()
        yield
    finally:
        await runner.cleanup()


async def lines_of(file: Path, **facts: Any) -> dict[str, list[str]]:
    async with telling(file, **facts):
        result = await ask("status", file)
    assert (result.exit_code, result.stderr) == (0, "")
    return told(result)


async def test_members_are_listed_with_what_they_serve(file: Path) -> None:
    serving = member("web-2"), member("web-1", worker=2), member("web-1")
    lines = await lines_of(file, cluster=cluster(*serving))
    assert lines["cluster"] == [f"shop, connected since {SHOWN}, 2 other members"]
    assert lines["members"] == [
        f"web-1/1: aaaaaaaa since {SHOWN}, version 0.5.0",
        f"web-1/2: aaaaaaaa since {SHOWN}, version 0.5.0",
        f"web-2/1: aaaaaaaa since {SHOWN}, version 0.5.0",
    ]
    assert not {"drift", "changing", "links"} & lines.keys()


async def test_the_rarest_configuration_comes_first(file: Path) -> None:
    serving = member("web-1"), member("web-2"), member("web-3", "b"), UNTOLD
    told_since = {"differ_since": AT}
    lines = await lines_of(file, cluster=cluster(*serving, **told_since))
    assert lines["changing"] == [f"2 configurations since {SHOWN}"]
    assert [each.partition(" since")[0] for each in lines["members"]] == [
        "web-3/1: bbbbbbbb",
        "web-1/1: aaaaaaaa",
        "web-2/1: aaaaaaaa",
        "1 member not heard of yet",
    ]
    drift = "bbbbbbbb on web-3; aaaaaaaa on web-1, web-2"
    lines = await lines_of(file, cluster=cluster(*serving, **told_since, drift=drift))
    cure = "bring the same file and plugins to all"
    assert lines["drift"] == [f"since {SHOWN}: {drift}; {cure}"]
    assert "changing" not in lines


async def test_only_so_many_members_are_listed(file: Path) -> None:
    serving = [member(f"web-{number}") for number in range(25)]
    lines = await lines_of(file, cluster=cluster(*serving))
    assert len(lines["members"]) == 21
    assert lines["members"][-1] == "and 5 more: see --format json"


async def test_the_version_of_the_messages_is_told_if_it_differs(file: Path) -> None:
    serving = member("web-1"), member("web-2", version="0.6.0", wire=2)
    lines = await lines_of(file, cluster=cluster(*serving))
    assert [each.partition(", ")[2] for each in lines["members"]] == [
        "version 0.5.0, wire 1",
        "version 0.6.0, wire 2",
    ]


async def test_names_of_other_machines_do_not_change_the_terminal(file: Path) -> None:
    lines = await lines_of(file, cluster=cluster(member("web\x1b[2J"), member("web-2")))
    assert lines["members"][0].startswith("web\\u001b[2J/1: ")


@pytest.mark.parametrize(
    ("placed", "workers", "text"),
    [
        ({}, [], "store, ticker"),
        ({"here": True, "member": "web-1-1"}, [], "store, ticker (runs here)"),
        ({"here": True, "member": None}, [], "store, ticker (runs here)"),
        ({"here": False, "member": "web-2-1"}, [], "store, ticker (runs on web-2/1)"),
        ({"here": False, "member": "gone"}, [], "store, ticker (not here)"),
        ({"here": False, "member": None}, [], "store, ticker (not here)"),
        ({"here": True, "member": "web-1-2"}, [2], "store, ticker (runs on worker 2)"),
        ({"here": False, "member": "web-2-1"}, [1, 2], "store, ticker (runs on web-2/1)"),
    ],
    ids=str,
)
async def test_where_a_service_runs(
    file: Path, placed: dict[str, Any], workers: list[int], text: str
) -> None:
    told_workers = [
        {
            "number": number,
            "tag": f"web-1-{number}",
            "pid": 1,
            "state": "serving",
            "sockets": 0,
            "restarts": 0,
            "generation": 1,
        }
        for number in workers
    ]
    facts = {"workers": told_workers} if workers else {}
    if placed:
        facts["placed"] = {"ticker": {"scope": "cluster", **placed}}
    serving = [member("web-1"), member("web-1", worker=2), member("web-2")]
    lines = await lines_of(file, cluster=cluster(*serving), **facts)
    assert lines["services"] == [text]


async def test_a_daemon_of_a_former_version_tells_less(file: Path) -> None:
    former = {"name": "shop", "up": False, "since": AT, "fault": "no", "members": 1}
    async with telling(file, cluster=former):
        assert (await ask("status", file)).exit_code == 0
    lines = await lines_of(file, cluster=former)
    assert lines["cluster"] == [f"shop, degraded since {SHOWN}: no; 1 other member known"]


async def test_lines_fit_the_terminal(file: Path, terminal: OpenTerminal) -> None:
    serving = [member(f"gateway-7d9f8b6c5-x2k4{each}", each) for each in "ab"]
    drift = "; ".join(f"{each * 8} on gateway-7d9f8b6c5-x2k4{each}" for each in "ab")
    async with telling(file, cluster=cluster(*serving, differ_since=AT, drift=drift)):
        whole = (await ask("status", file)).stdout.split()
        shown = await terminal("status", str(file), COLUMNS="80")
        await until(lambda: shown.text.split() == whole)
    text = re.sub(r"\x1b\[[\d;]*m", "", shown.text).replace("\r", "")
    assert max(map(len, text.splitlines())) <= 80
