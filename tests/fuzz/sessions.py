"""Fuzz sessions of a whole gateway: `python -m tests.fuzz.sessions --seconds 60`.

Packets that are almost valid come on a WebSocket and by polling, in JSON and in MessagePack. Each
session ends or goes on by the rules, nothing in the log needs a look, and somebody else who is
connected all along loses nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from gateway.daemon.daemon import Daemon, StartupInfo
from tests.fuzz.mutation import packed, packets
from tests.gateway_files import write
from tests.hostile.byte_connection import BINARY, CLOSE, TEXT, Line, connected, frame, get, post
from tests.hostile.conftest import Records, recorded
from tests.serving_metrics import metrics_of

__all__ = ["SERIALIZERS", "Fuzzed", "Report", "fuzzed"]

Serializer = Literal["json", "msgpack"]
Transport = Literal["polling", "websocket"]

SERIALIZERS: tuple[Serializer, ...] = ("json", "msgpack")
TRANSPORTS: tuple[Transport, ...] = ("polling", "websocket")

CONFIG = """
server: {ping_interval: 60s, ping_timeout: 60s, serializer: %s}
limits: {connections_per_second: unlimited, overload_after: unlimited, join_timeout: 10m}
namespaces:
  /:
    routes: {say: plugin.say, ask: plugin.ask, join: plugin.join, fail: plugin.fail}
  /left:
    routes: {say: plugin.say}
  /steady:
    routes: {say: plugin.say}
  /closed:
    connection_middleware: [plugin.refuse]
"""

PLUGIN = """
from gateway import Reject

async def say(ctx):
    await ctx.socket.emit("said", *ctx.args)
    return tuple(ctx.args)

async def ask(ctx):
    try:
        return tuple(await ctx.socket.call("?", *ctx.args, timeout=0.02))
    except (TimeoutError, ConnectionError):
        return None

async def join(ctx):
    await ctx.socket.join("a room")
    await ctx.namespace.to("a room").emit("joined")

async def fail(ctx):
    raise Reject("failed", "as it should")

async def refuse(ctx, next):
    raise Reject("no", "no")
"""

ENDING = {"frame", "engine_packet", "packet", "too_large"}
"""Violations that end a session."""

AFTER = {"unknown_session", "overlap"}
"""Violations of a client that does not know that its session is over."""


@dataclass(slots=True)
class Report:
    """Counts of what was sent, of the sessions, and of what the gateway counted.

    `failures` name what broke a rule, each with the seed of its session.
    """

    sessions: int = 0
    packets: int = 0
    ended: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counted = ", ".join(f"{count:,} {name}" for name, count in self.counted.most_common())
        return (
            f"{self.packets:,} packets in {self.sessions:,} sessions, {self.ended:,} of them ended"
            f" ({counted}); {len(self.failures)} failures"
        )


PING, PONG = b"2", b"3"


class Language:
    """The packets of a serializer that are sent and expected word for word."""

    def __init__(self, serializer: Serializer) -> None:
        self._is_packed = serializer == "msgpack"
        self.opcode = BINARY if self._is_packed else TEXT

    def connect(self, namespace: str) -> bytes:
        """CONNECT, as a WebSocket carries it."""
        return (
            self._packed(type=0, nsp=namespace) if self._is_packed else f"40{namespace},".encode()
        )

    def call(self, number: int) -> bytes:
        """An event in `/steady` that asks for an ack."""
        if self._is_packed:
            return self._packed(type=2, nsp="/steady", data=["say", number], id=number)
        return b'42/steady,%d["say",%d]' % (number, number)

    def answers(self, packet: bytes, number: int) -> bool:
        """True for the ack of `call`."""
        if not self._is_packed:
            return packet == b"43/steady,%d[%d]" % (number, number)
        try:
            found = msgspec.msgpack.decode(packet)
        except msgspec.DecodeError:  # the handshake and pings are text
            return False
        return bool(found == {"type": 3, "nsp": "/steady", "data": [number], "id": number})

    def random(self, rng: random.Random) -> list[bytes]:
        """Packets as a body has them."""
        if self._is_packed:
            return [b"b" + base64.b64encode(packet) for packet in packed(rng)]
        return packets(rng)

    def in_body(self, packet: bytes) -> bytes:
        return b"b" + base64.b64encode(packet) if self._is_packed else packet

    def _packed(self, **fields: object) -> bytes:
        return msgspec.msgpack.encode(fields)


class Fuzzed:
    """A gateway, and `witness`: a client in `/steady` that behaves."""

    def __init__(
        self, info: StartupInfo, witness: Line, language: Language, records: Records
    ) -> None:
        self._port = _port(info)
        self._info, self._witness, self._language = info, witness, language
        self._records, self._counts = records, self._counted()

    async def run(self, seeds: Iterable[int], report: Report, until: float = float("inf")) -> None:
        """One session for each seed, until a time of the monotonic clock."""
        for seed in seeds:
            if time.monotonic() >= until:
                return
            await self._session(seed, report)

    async def _session(self, seed: int, report: Report) -> None:
        rng, language = random.Random(seed), self._language
        transport, sent = rng.choice(TRANSPORTS), language.random(rng)
        await self._witness.send(frame(language.call(seed), language.opcode))
        async with connected(self._port) as line:
            carrier = (
                _Polling(line, language) if transport == "polling" else _WebSocket(line, language)
            )
            await carrier.join()
            goes_on = await carrier.goes_on_after(sent)
        report.sessions += 1
        report.packets += len(sent)
        report.ended += not goes_on
        for failure in [*self._broken_rules(sent, goes_on, report), *await self._harm(seed)]:
            report.failures.append(f"seed {seed}, {transport}, {sent!r:.300}: {failure}")

    def _broken_rules(self, sent: list[bytes], goes_on: bool, report: Report) -> list[str]:
        new = self._news()
        report.counted.update(new)
        failures = [f"a fault in the log: {fault}" for fault in self._records.faults()]
        if goes_on and new.keys() & ENDING:
            failures.append(f"it goes on after {dict(new)}")
        if (
            not goes_on
            and not new.keys() - AFTER
            and not any(each[:1] == b"1" for each in _split(sent))
        ):
            failures.append("it ended, and nothing was counted")
        return failures

    async def _harm(self, number: int) -> list[str]:
        """The witness has been answered."""
        while True:
            found = await self._witness.frame()
            if found is None:
                return ["the witness is gone"]
            if self._language.answers(found[1], number):
                return []
            if found[1] == PING:
                await self._witness.send(frame(PONG))

    def _counted(self) -> Counter[str]:
        text = metrics_of(self._info.serving)
        found = re.findall(
            r'^sockgw_(?:violations|limited)_total\{\w+="(\w+)"\} (\d+)', text, re.MULTILINE
        )
        return Counter({name: int(count) for name, count in found})

    def _news(self) -> Counter[str]:
        """The violations and limits since this was asked before."""
        now = self._counted()
        new, self._counts = now - self._counts, now
        return new


class _WebSocket:
    def __init__(self, line: Line, language: Language) -> None:
        self._line, self._language = line, language

    async def join(self) -> None:
        await self._line.handshake("websocket")
        connects = [self._language.connect(namespace) for namespace in ("/steady", "/")]
        await self._line.send(b"".join(frame(each, self._language.opcode) for each in connects))
        for _ in connects:
            await self._line.frame()

    async def goes_on_after(self, sent: list[bytes]) -> bool:
        """True if what comes after these packets is answered; false if the session has ended."""
        frames = [_frame_of(packet) for packet in sent]
        frames.append(frame(self._language.call(7), self._language.opcode))
        await self._line.send(b"".join(frames))
        while (found := await self._line.frame()) is not None and found[0] != CLOSE:
            if self._language.answers(found[1], 7):
                return True
        return False


class _Polling:
    def __init__(self, line: Line, language: Language) -> None:
        self._line, self._language = line, language
        self._mine = ""

    async def join(self) -> None:
        sid = (await self._line.handshake("polling"))["sid"]
        self._mine = f"?EIO=4&transport=polling&sid={sid}"
        connects = [self._language.connect(namespace) for namespace in ("/steady", "/")]
        await self._post([self._language.in_body(each) for each in connects])

    async def goes_on_after(self, sent: list[bytes]) -> bool:
        """True if what comes after these packets is answered; false if the session has ended."""
        if not await self._post([*sent, self._language.in_body(self._language.call(7))]):
            return False
        while True:
            await self._line.send(get(self._mine))
            answer = await self._line.answer()
            if answer is None or answer.status != 200:
                return False
            if any(self._is_answer(packet) for packet in answer.body.split(b"\x1e")):
                return True

    def _is_answer(self, packet: bytes) -> bool:
        if packet[:1] == b"b":
            packet = base64.b64decode(packet[1:])
        return self._language.answers(packet, 7)

    async def _post(self, packets: list[bytes]) -> bool:
        await self._line.send(post(self._mine, b"\x1e".join(packets)))
        answer = await self._line.answer()
        return answer is not None and answer.status == 200


def _frame_of(packet: bytes) -> bytes:
    """A packet of a body as a frame: text, or the bytes that its base64 stands for."""
    if packet[:1] != b"b":
        return frame(packet)
    try:
        return frame(base64.b64decode(packet[1:]), BINARY)
    except ValueError:
        return frame(packet)


def _split(sent: list[bytes]) -> list[bytes]:
    """The packets, those within one that has a separator by themselves."""
    return [each for packet in sent for each in packet.split(b"\x1e")]


def _port(info: StartupInfo) -> int:
    return int(info.url.rpartition(":")[2])


@asynccontextmanager
async def fuzzed(folder: Path, serializer: Serializer, records: Records) -> AsyncIterator[Fuzzed]:
    """A gateway in an empty folder, with everything it logs in `records`."""
    started: asyncio.Future[StartupInfo] = asyncio.get_running_loop().create_future()
    file = write(folder, CONFIG % serializer, plugin=PLUGIN)
    daemon = Daemon(file, environ={"XDG_STATE_HOME": str(folder / "state")}, port=0)
    running = asyncio.create_task(daemon.run(started.set_result))
    await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    try:
        info, language = started.result(), Language(serializer)
        witness = Line(*await asyncio.open_connection("127.0.0.1", _port(info)))
        await _WebSocket(witness, language).join()
        yield Fuzzed(info, witness, language, records)
        witness.writer.transport.abort()
    finally:
        daemon.stop()
        await running


def main() -> None:
    """Fuzz both serializers for half of the time each; exit with 1 when a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.sessions", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for both serializers together")
    parser.add_argument("--seed", type=int, default=1, help="of the first session")
    options = parser.parse_args()
    reports = [
        asyncio.run(_fuzz(serializer, options.seed, options.seconds / len(SERIALIZERS)))
        for serializer in SERIALIZERS
    ]
    raise SystemExit(any(report.failures for report in reports))


async def _fuzz(serializer: Serializer, seed: int, seconds: float) -> Report:
    report = Report()
    with tempfile.TemporaryDirectory() as folder, recorded() as records:
        async with fuzzed(Path(folder), serializer, records) as gateway:
            await gateway.run(itertools.count(seed), report, time.monotonic() + seconds)
    print("\n".join([f"{serializer}: {report}", *report.failures[:20]]))
    return report


if __name__ == "__main__":
    main()
