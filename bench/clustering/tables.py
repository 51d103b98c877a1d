"""The figures as tables of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench.clustering.faults import Fault
from bench.clustering.local import Local
from bench.clustering.rooms import Room
from bench.clustering.soak import Soak
from bench.flooding.tables import markdown

__all__ = ["faults_table", "local_table", "rooms_table", "soak_text"]

SHOWN = {"polling": "polling", "polling-websocket": "upgraded", "websocket": "WebSocket"}
"""Transports of clients."""


def rooms_table(rooms: Sequence[Room]) -> str:
    """What became of each room."""
    rows = [
        (
            each.broker,
            ", ".join(map(str, each.sockets.values())),
            f"{each.broadcasts * each.clients:,}",
            f"{each.lost}",
            f"{each.missed}",
            f"{each.twice}",
            f"{each.refused}",
            ", ".join(f"{count} {what}" for what, count in each.noticed.items()) or "nothing",
            f"{each.forwarded:,}",
            f"{each.linked:,}",
            f"{each.relayed:,}",
        )
        for each in rooms
    ]
    head = ("on", "clients of each member", "broadcasts to clients", "lost", "counted", "twice")
    more = ("answered 400", "noticed", "forwarded on the node", "to the other", "relayed to it")
    return markdown((*head, *more), rows)


def faults_table(faults: Sequence[Fault]) -> str:
    """What each fault cost: for each member what its clients lost, and what it counted."""
    rows = [
        (
            each.kind if each.is_clean else f"NOT EXACT: {each.kind}",
            f"{each.broadcasts}",
            ", ".join(_lost(each)),
            ", ".join(f"{member.counted}" for member in each.members),
            f"{each.twice}",
            f"{each.refused}",
            _noticed(each),
            f"{max(each.back, each.whole):.1f} s",
        )
        for each in faults
    ]
    head = ("", "broadcasts", "lost by the clients of each member", "counted by it", "twice")
    return markdown((*head, "answered 400", "clients that noticed", "whole again after"), rows)


def _noticed(fault: Fault) -> str:
    found = [
        f"{fault.noticed[name]:,} {shown}"
        for name, shown in SHOWN.items()
        if fault.noticed.get(name)
    ]
    return ", ".join(found) or "none"


def _lost(fault: Fault) -> list[str]:
    """The loss of each member; a dash if it has no client that stayed."""
    return [
        (f"{each.lost}" + (f" and {each.alone} of some" if each.alone else ""))
        if each.witnesses
        else "-"
        for each in fault.members
    ]


def local_table(found: Sequence[Local]) -> str:
    """How long events within a process took."""
    rows = [
        (
            f"{what} ({each.broker})",
            f"{quiet.events:,}, {frozen.events:,}",
            f"{quiet.median * 1000:.2f}, {frozen.median * 1000:.2f} ms",
            f"{quiet.p99 * 1000:.2f}, {frozen.p99 * 1000:.2f} ms",
            f"{quiet.longest * 1000:.1f}, {frozen.longest * 1000:.1f} ms",
            f"{(frozen.p99 - quiet.p99) * 1000:+.2f} ms",
        )
        for each in found
        for what, (quiet, frozen) in (("calls", each.calls), ("broadcasts", each.broadcasts))
    ]
    head = ("within a process: broker there, frozen", "events", "median", "p99", "longest")
    return markdown((*head, "added at p99"), rows)


def soak_text(soak: Soak) -> str:
    """What became of a soak: its figures, what is held before and after, and the problems."""
    assert soak.base is not None
    assert soak.end is not None
    away = sorted(soak.away)
    lines = {
        "broker": f"{soak.broker} killed and started {len(away)} times in {soak.seconds:.0f} s; "
        f"whole again after {median(away):.1f} s in the median, {away[-1]:.1f} s at most",
        "calls answered": f"{soak.answered:,} of {soak.asked:,} of {soak.clients} clients; "
        f"{soak.lost} lost",
        "messages of other members": f"{soak.received:,} received, {soak.missed:,} missed",
        "subscriptions": f"of members {soak.base.subscriptions}, {soak.end.subscriptions}; "
        f"of the broker {soak.base.brokered}, {soak.end.brokered}",
    }
    rows = []
    for name, base in soak.base.processes.items():
        end = soak.end.processes[name]
        rows.append(
            (
                name,
                f"{base.memory / 2**20:.1f}, {end.memory / 2**20:.1f} MB",
                f"{base.descriptors}, {end.descriptors}",
                f"{base.tasks}, {end.tasks}",
                f"{base.timers}, {end.timers}",
            )
        )
    table = markdown(("before, after", "memory", "descriptors", "tasks", "timers"), rows)
    problems = [f"PROBLEM: {each}" for each in soak.problems] or ["good: back to where it was"]
    told = "\n".join(f"{what}: {value}" for what, value in lines.items())
    return f"{told}\n\n{table}\n\n" + "\n".join(problems)
