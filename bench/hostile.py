"""Measure how soon the gateway ends bad input: `python -m bench.hostile`.

Every case of `tests/hostile/bad_*.py` is sent to a `sockgw run`. Its time is from the last byte
sent to the end that its table expects: the answer, the close frame or the closed connection.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

from bench.soaking.daemon import running
from tests.hostile.bad_frames import FRAMES, BadFrame
from tests.hostile.bad_http import ON_SESSION, OPENING, SID, UPGRADES, Bad
from tests.hostile.bad_packets import ENGINE, PAYLOADS
from tests.hostile.byte_connection import BINARY, TEXT, Line, connected, frame, get, post
from tests.socketio.bad_packets import BAD

__all__ = ["main"]

Case = Callable[[Line], Awaitable[float]]


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times that each case is sent")
    parser.add_argument(
        "--limit", type=float, metavar="MS", help="exit with 1 if a case takes longer"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the times to FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = asyncio.run(_measured(Path(folder, "gateway"), options.rounds))
    if options.json:
        options.json.write_text(json.dumps(times, indent=2) + "\n")
    ordered = sorted((took, name) for name, each in times.items() for took in each)
    print(f"{len(times)} cases, each {options.rounds} times")
    for label, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        print(f"{label}  {ordered[int(part * (len(ordered) - 1))][0] * 1000:8.2f} ms")
    print("slowest:")
    slowest = sorted(((max(each), name) for name, each in times.items()), reverse=True)
    for took, name in slowest[:3]:
        print(f"  {took * 1000:8.2f} ms  {name}")
    raise SystemExit(options.limit is not None and slowest[0][0] * 1000 > options.limit)


async def _measured(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each case, by its name."""
    times: dict[str, list[float]] = {}
    async with running(folder) as daemon:
        port = await daemon.port()
        for _ in range(rounds):
            for name, case in _cases():
                async with connected(port) as line:
                    times.setdefault(name, []).append(await case(line))
    return times


def _cases() -> Iterator[tuple[str, Case]]:
    for bad in OPENING:
        yield f"request: {bad.name}", partial(_request, bad)
    for bad in UPGRADES:
        yield f"for a WebSocket: {bad.name}", partial(_request, bad)
    for bad in ON_SESSION:
        yield f"on a session: {bad.name}", partial(_on_session, bad)
    for each in FRAMES:
        yield f"frame: {each.name}", partial(_frame, each)
    for packets in ENGINE:
        if packets.reason is not None:
            yield f"packet: {packets.name}", partial(_packets, packets.sent)
    for number, messages in enumerate(BAD):
        sent = tuple(f"4{each}" if isinstance(each, str) else each for each in messages)
        yield f"packet {number}: {messages!r:.60}", partial(_packets, sent)
    for name, body, _ in PAYLOADS:
        yield f"body: {name}", partial(_body, body)


async def _until(end: Awaitable[object], expected: object = ...) -> float:
    """Seconds until the end. Raises `AssertionError` if it is not the expected one."""
    began = time.perf_counter()
    found = await end
    assert expected is ... or found == expected, (found, expected)
    return time.perf_counter() - began


async def _request(bad: Bad, line: Line, sid: str = "") -> float:
    await line.send(bad.sent.replace(SID.encode(), sid.encode()))
    if bad.cut:
        line.end()
    if bad.then:
        await line.answer()
        await line.send(bad.then)
    return await _until(_status(line), bad.status)


async def _status(line: Line) -> int | None:
    answer = await line.answer()
    return answer.status if answer else None


async def _on_session(bad: Bad, line: Line) -> float:
    return await _request(bad, line, await _polling(line))


async def _polling(line: Line) -> str:
    """Join `/` on polling; the id of the session."""
    sid = str((await line.handshake("polling"))["sid"])
    mine = f"?EIO=4&transport=polling&sid={sid}"
    await line.send(post(mine, b"40") + get(mine))
    assert [await _status(line) for _ in range(2)] == [200, 200]
    return sid


async def _body(body: bytes, line: Line) -> float:
    """The session is over when its next poll is refused."""
    mine = f"?EIO=4&transport=polling&sid={await _polling(line)}"
    await line.send(post(mine, body))
    took = await _until(line.answer())
    await line.send(get(mine))
    assert await _status(line) == 400
    return took


async def _joined(line: Line) -> None:
    """Join `/` on a WebSocket."""
    await line.handshake("websocket")
    await line.send(frame(b"40"))
    await line.frame()


async def _frame(bad: BadFrame, line: Line) -> float:
    if "not masked" in bad.name:  # only the first frame is checked for that
        await line.handshake("websocket")
    else:
        await _joined(line)
    await line.send(bad.sent)
    return await _until(line.close_code(), bad.code)


async def _packets(sent: tuple[str | bytes, ...], line: Line) -> float:
    await _joined(line)
    for each in sent:
        data, opcode = (each, BINARY) if isinstance(each, bytes) else (each.encode(), TEXT)
        await line.send(frame(data, opcode))
    return await _until(line.close_code(), 1000)


if __name__ == "__main__":
    main()
