"""Lets every process of a gateway tell what it holds: see `bench.scaling.holdings`.

Python imports this first of all if its folder is in PYTHONPATH. SIGUSR1 then writes
`$BENCH_HOLDINGS/PID.json`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from collections import Counter
from pathlib import Path

__all__: list[str] = []


def _tell(number: int, frame: object) -> None:
    gc.collect()
    objects = gc.get_objects()
    timers = [each for each in objects if type(each).__name__ == "TimerHandle"]
    loop = asyncio._get_running_loop()  # a signal comes in the middle of it; the zygote has none
    found = {
        "tasks": len(asyncio.all_tasks(loop)) if loop else 0,
        "timers": sum(not each.cancelled() for each in timers),
        **_cluster(loop),
        "objects": Counter(type(each).__qualname__ for each in objects),
    }
    file = Path(os.environ["BENCH_HOLDINGS"], f"{os.getpid()}.json")
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(found))
    draft.replace(file)


def _cluster(loop: asyncio.AbstractEventLoop | None) -> dict[str, int]:
    """What the bus between machines has missed and subscribes to; it is where its tasks are."""
    for task in asyncio.all_tasks(loop) if loop else ():
        frame = getattr(task.get_coro(), "cr_frame", None)
        owner = frame and frame.f_locals.get("self")
        match type(owner).__name__:
            case "Link" if hasattr(owner, "state"):
                bus = owner._begin.__self__
                return {"missed": bus.counts.missed, "subscriptions": len(bus._channels.subscribed)}
            case "NatsBus":
                subscriptions = len(owner._client._subs) if owner._client else 0
                return {"missed": owner.counts.missed, "subscriptions": subscriptions}
    return {"missed": 0, "subscriptions": 0}


signal.signal(signal.SIGUSR1, _tell)
