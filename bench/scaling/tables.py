"""The figures as tables of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench.flooding.tables import markdown
from bench.scaling.costs import Balance, Handed, Memory, Rate
from bench.scaling.faults import Fault
from bench.scaling.rooms import Room
from bench.scaling.soak import Soak

__all__ = ["costs_text", "faults_table", "rooms_table", "soak_text"]


def rooms_table(rooms: Sequence[Room]) -> str:
    """What became of each room."""
    rows = [
        (
            each.proxy,
            ", ".join(map(str, each.sockets)),
            f"{each.broadcasts * each.clients:,}",
            f"{each.lost}",
            f"{each.twice}",
            f"{each.refused}",
            ", ".join(f"{count} {what}" for what, count in each.noticed.items()) or "nothing",
            f"{each.forwarded:,}",
        )
        for each in rooms
    ]
    head = ("behind", "clients of each worker", "broadcasts to clients", "lost", "twice")
    return markdown((*head, "answered 400", "noticed", "forwarded requests"), rows)


def faults_table(faults: Sequence[Fault]) -> str:
    """Who noticed each fault, and what was lost."""
    rows = [
        (
            each.kind,
            each.proxy,
            f"{each.noticed['own']} of {each.own}",
            _others(each),
            f"{each.lost}, {each.counted}",
            f"{each.twice}",
            f"{each.back:.1f} s",
            "refused" if each.wait is None else f"{each.wait * 1000:.0f} ms",
            f"{each.orphans}",
        )
        for each in faults
    ]
    head = ("", "behind", "worker's clients", "others, by polling and by WebSocket")
    more = ("lost of those who stayed, counted", "twice", "all are back", "longest connect")
    return markdown((*head, *more, "orphans"), rows)


def _others(fault: Fault) -> str:
    polling, other = (fault.noticed[f"others, {name}"] for name in ("polling", "WebSocket"))
    return f"{polling} and {other} of {fault.clients - fault.own}"


def costs_text(
    rates: Sequence[Rate],
    handed: Sequence[Handed],
    memory: Sequence[Memory],
    balance: Sequence[Balance],
) -> str:
    """What workers bring and cost."""
    lines = [
        *_rate_lines(rates),
        *(
            f"{each.kind}: {each.own:.0f} us at its own worker, {each.other:.0f} us at another; "
            f"CPU {each.own_cpu:.0f} and {each.other_cpu:.0f} us, "
            f"{each.other_cpu / each.own_cpu:.1f} times"
            for each in handed
        ),
        *(
            f"memory of {each.workers} workers: {each.private / 1e6:.1f} MB private in each, "
            f"{each.pss / 1e6:.1f} MB with its share; {each.all / 1e6:.0f} MB with supervisor and "
            f"zygote; one process {each.alone / 1e6:.0f} MB"
            for each in memory
        ),
        *(
            f"{each.connections:,} connections at once: {', '.join(map(str, each.sockets))}"
            for each in balance
        ),
    ]
    return "\n".join(lines)


def _rate_lines(rates: Sequence[Rate]) -> list[str]:
    """The medians, and the medians of the rounds' ratios."""
    lines = []
    for apart, where in ((False, ""), (True, " on one core, apart from the load")):
        ones, twos = ([r for r in rates if (r.workers, r.apart) == (n, apart)] for n in (1, 2))
        for name, group in (("one process", ones), ("2 workers", twos)):
            calls = median(each.calls for each in group)
            own = median(each.gateway_us for each in group)
            load = median(each.load_us for each in group)
            cpu = f"{own:.1f} us of the gateway's CPU for each, {load:.1f} us of the load's"
            lines.append(f"{name}{where}: {calls:,.0f} calls a second, {cpu}")
        pairs = list(zip(ones, twos, strict=True))
        if apart:
            elsewhere = 2 * median(one.gateway_us / two.gateway_us for one, two in pairs)
            lines.append(
                f"2 workers with two cores against one process with one, by that CPU time, as if "
                f"the load were elsewhere: {elsewhere:.2f} times"
            )
        else:
            measured = median(two.calls / one.calls for one, two in pairs)
            lines.append(
                f"2 workers against one process, with the load on the same cores: {measured:.2f} "
                f"times"
            )
    return lines


def soak_text(soak: Soak) -> str:
    """What became of a soak: its figures, what the processes hold, and the problems."""
    kills, lost = soak.kills, soak.lost
    back, again = (sorted(times) for times in zip(*((k.back, k.again) for k in kills), strict=True))

    def total(what: str) -> int:
        return sum(getattr(each, what) for each in kills)

    rows = {
        "kills": f"{len(kills)} in {soak.seconds:.0f} s; {soak.workers} workers, "
        f"{soak.clients} clients",
        "connections that ended": f"{total('own')} of killed workers; of others "
        f"{total('polling')} by polling, {total('websocket')} by WebSocket",
        "all are back": f"after {median(back):.1f} s in the median, {back[-1]:.1f} s at most; "
        f"{total('refused')} attempts to connect failed; the worker serves again after "
        f"{median(again):.1f} s, {again[-1]:.1f} s at most",
        "broadcasts": f"{total('broadcasts')}; to those that stayed {total('lost')} lost, "
        f"{total('counted')} counted as lost, {total('twice')} came twice",
        "calls answered": f"{soak.answered:,} of {soak.asked:,}; lost with a killed worker "
        f"{lost['own']}, others by polling {lost['polling']}, by WebSocket {lost['websocket']}",
        "reloads": ", ".join(f"{count} {what}" for what, count in soak.reloads.items()),
    }
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  {value}" for name, value in rows.items()]
    good = ("good: only clients of killed workers lost anything, nothing grew",)
    return "\n".join([*lines, "", _holdings_table(soak), "", *(soak.problems or good)])


def _holdings_table(soak: Soak) -> str:
    rows = []
    for name, base in soak.base.items():
        end = soak.end[name]
        counts = (
            f"{getattr(base, what)}, {getattr(end, what)}"
            for what in ("descriptors", "tasks", "timers")
        )
        rows.append((name, f"{base.memory / 1e6:.1f}, {end.memory / 1e6:.1f} MB", *counts))
    return markdown(("before, after", "memory", "descriptors", "tasks", "timers"), rows)
