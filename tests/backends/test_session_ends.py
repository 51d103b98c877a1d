"""Ends that arrive: whatever becomes of a process, its sockets' ends are told."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.backends.told import crowd, gateway_files, told_backend
from tests.daemon.gateway_of_workers import (
    GatewayOfWorkers,
    one_on_each,
    run_workers,
    until_true,
)
from tests.deadline import until
from tests.e2e.test_program_upgrade import has_ended, pid_of, upgrade
from tests.reload.calling_client import caller

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="workers need Linux")

WORKERS = pytest.mark.parametrize("workers", [1, 2])


def ids(messages: list[dict[str, object]]) -> Counter[object]:
    return Counter(each["socket"]["id"] for each in messages)  # type: ignore[index]


@WORKERS
async def test_each_end_is_told_once_by_the_next_start(tmp_path: Path, workers: int) -> None:
    async with told_backend() as told:
        file = gateway_files(tmp_path, told.url, workers)
        async with AsyncExitStack() as clients, run_workers(file) as gateway:
            sockets = await crowd(clients, gateway.url, 500, ("/", "/a", "/b", "/c"))
            assert len(sockets) == 2000
            await told.has("connect", 2000)
            await gateway.stop(signal.SIGKILL)
            await until(lambda: not gateway.session())
        assert told.of("disconnect") == []
        async with run_workers(file):
            ends = await told.has("disconnect", 2000)
    assert ids(told.of("connect")) == dict.fromkeys(sockets, 1)
    assert ids(ends) == dict.fromkeys(sockets, 1)
    assert {each["reason"] for each in ends} == {"gateway lost"}
    assert {each["namespace"] for each in ends} == {"/", "/a", "/b", "/c"}
    assert all(each["connected_at"] < each["time"] for each in ends)
    known = {each["socket"]["id"]: each["connected_at"] for each in told.of("connect")}
    assert known == {each["socket"]["id"]: each["connected_at"] for each in ends}


async def test_ends_of_a_killed_worker_are_told_by_another(tmp_path: Path) -> None:
    async with told_backend() as told:
        file = gateway_files(tmp_path, told.url, workers=2)
        async with run_workers(file) as gateway, AsyncExitStack() as clients:
            found = await one_on_each(clients, gateway)
            others = await crowd(clients, gateway.url, 20)
            connects = await told.has("connect", len(others) + len(found))
            lost, kept = sorted(each["tag"] for each in await gateway.workers())
            [pid] = [each["pid"] for each in await gateway.workers() if each["tag"] == lost]
            os.kill(pid, signal.SIGKILL)
            theirs = {each["socket"]["id"] for each in connects if in_worker(each, lost)}
            await told.until(lambda: ids(told.of("disconnect")).keys() >= theirs)
            ends = told.of("disconnect")
            assert ids(ends) == dict.fromkeys(theirs, 1)
            assert {each["reason"] for each in ends} == {"gateway lost"}
            await gateway.all_serve(pid)
            async with caller(gateway.url):
                await told.has("connect", len(connects) + 1)
            assert await gateway.stop() == 0
        rest = {each["socket"]["id"] for each in told.of("connect")} - theirs
        later = [each for each in told.of("disconnect") if each["reason"] != "gateway lost"]
    assert ids(later) == dict.fromkeys(rest, 1)
    assert any(in_worker(each, kept) for each in later)
    assert sorted(each.name for each in (tmp_path / "spool").iterdir()) == ["owner"]


def in_worker(message: dict[str, object], tag: str) -> bool:
    return str(message["socket"]["id"]).startswith(tag)  # type: ignore[index]


@WORKERS
async def test_an_upgrade_ends_no_socket_that_is_still_there(tmp_path: Path, workers: int) -> None:
    async with told_backend() as told:
        file = gateway_files(tmp_path, told.url, workers)
        async with run_workers(file) as gateway, AsyncExitStack() as clients:
            sockets = await crowd(clients, gateway.url, 30)
            await told.has("connect", 30)
            former = await pid_of(gateway)
            status, _ = await upgrade(gateway)
            assert status == 200
            await has_ended(former)
            ends = await told.has("disconnect", 30)
            async with caller(gateway.url):
                await told.has("connect", 31)
            await told.has("disconnect", 31)
            assert ids(ends) == dict.fromkeys(sockets, 1)
    assert "gateway lost" not in {each["reason"] for each in told.of("disconnect")}


async def test_the_next_process_tells_what_the_former_one_could_not(tmp_path: Path) -> None:
    async with told_backend() as told:
        file = gateway_files(tmp_path, told.url)
        async with run_workers(file) as gateway:
            async with AsyncExitStack() as clients:
                sockets = await crowd(clients, gateway.url, 20)
                await told.has("connect", 20)
                told.status = 503
            await told.until(lambda: told.refused)
            assert await gateway.stop() == 0
        assert told.of("disconnect") == []
        told.status = 200
        async with run_workers(file):
            ends = await told.has("disconnect", 20)
    assert ids(ends) == dict.fromkeys(sockets, 1)
    assert "gateway lost" not in {each["reason"] for each in ends}


@WORKERS
async def test_nothing_is_lost_or_out_of_order_when_backend_and_gateway_die(
    tmp_path: Path, workers: int
) -> None:
    async with told_backend() as told:
        told.status = 500
        file = gateway_files(tmp_path, told.url, workers)
        async with AsyncExitStack() as stay, run_workers(file) as gateway:
            async with AsyncExitStack() as leave:
                gone = await crowd(leave, gateway.url, 60, ("/", "/a"))
            there = await crowd(stay, gateway.url, 60, ("/", "/a"))
            waiting = 2 * len(gone) + len(there)
            await until_true(lambda: has_waiting(gateway, waiting))
            await gateway.stop(signal.SIGKILL)
            await until(lambda: not gateway.session())
        told.status = 200
        async with run_workers(file):
            await told.has("disconnect", len(gone) + len(there))
            await told.has("connect", len(gone) + len(there))
    kinds: dict[str, list[tuple[str, str]]] = {}
    for each in told.messages:
        known = kinds.setdefault(each["socket"]["id"], [])
        known.append((each["type"], each.get("reason", "")))
    beginning = ("connect", "")
    lost, left = ("disconnect", "gateway lost"), ("disconnect", "transport close")
    assert kinds == {
        **{key: [beginning, left] for key in gone},
        **{key: [beginning, lost] for key in there},
    }


async def has_waiting(gateway: GatewayOfWorkers, count: int) -> bool:
    facts = (await gateway.status())["backends"]["shop"]["sessions"]
    return bool(facts["waiting"] == count)
