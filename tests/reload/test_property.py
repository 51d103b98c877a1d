"""Whatever is edited while packets flow, each packet is answered by exactly one generation.

Every part of a chain stamps the packet with the two versions it was made from: that of the YAML,
which it is given as an option, and that of the code, which each file imports from a helper. An
answer whose stamps are not all the same, not those of a generation that was accepted, or not in
the order that generation's YAML says, was given by a mixture.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.deadline import deadline
from tests.reload.calling_client import Caller, caller
from tests.reload.edited_daemon import Running, running, until
from tests.reload.plugin_gates import stage

MIDDLEWARE = """
from ._version import VERSION

class Stamp:
    def __init__(self, yaml: int, name: str):
        self.stamp = [name, yaml, VERSION]

    async def __call__(self, ctx, next):
        ctx.state.setdefault("stamps", []).append(self.stamp)
        await next()
        ctx.reply.append(self.stamp)
"""
HANDLER = """
from tests.reload.plugin_gates import stage
from ._version import VERSION

def say(yaml: int):
    async def handler(ctx, slow: bool):
        stamps = [*ctx.state.get("stamps", []), ["say", yaml, VERSION]]
        if slow:
            await stage.wait()
        from . import _version, _lazy
        stamps += [["lazy", yaml, _lazy.VERSION], ["again", yaml, _version.VERSION]]
        if store := getattr(ctx.service, "store", None):
            stamps.append(["store", *store.versions])
        return stamps
    return handler
"""
STORE = """
from ._version import VERSION

class Store:
    def __init__(self, yaml: int): self.versions = [yaml, VERSION]
    async def __aenter__(self): return self
    async def __aexit__(self, *_): self.versions = [0, 0]
"""


@dataclass(frozen=True)
class Shape:
    """What a gateway.yaml says. `chain` is of middleware, by name."""

    chain: tuple[str, ...] = ("a",)
    has_store: bool = True
    has_door: bool = False
    is_serial: bool = False

    def text(self, version: int) -> str:
        with_ = f"with: {{yaml: {version}"
        chain = ", ".join(f"{{use: stamp.Stamp, {with_}, name: {name}}}}}" for name in self.chain)
        return "\n".join(
            [
                'reload: {watch: "off"}',
                f"services: {{store: {{use: store.Store, {with_}}}}}}}" if self.has_store else "",
                "namespaces:",
                "  /:",
                f"    order: {'serial' if self.is_serial else 'concurrent'}",
                f"    connection_middleware: [{'door' if self.has_door else ''}]",
                f"    packet_middleware: [{chain}]",
                "    routes:",
                f"      say: {{use: chat.say, {with_}}}}}",
            ]
        )

    def answer(self, yaml: int, code: int) -> list[list[object]]:
        """What a packet is answered that this shape leads."""
        names = [*self.chain, "say", "lazy", "again", *["store"] * self.has_store]
        return [[name, yaml, code] for name in (*names, *reversed(self.chain))]


@dataclass(frozen=True)
class Step:
    """One edit, with calls before, during and after the reload that follows it.

    `shape` is the new YAML, `None` for the old one; `code` whether the helper changes; `breaks`
    which file is broken in the same go. `slow` are calls that stay in flight; `ends` lets those
    in flight so far end. `joins` adds a client.
    """

    shape: Shape | None
    code: bool
    breaks: str
    quick: int
    slow: int
    ends: bool
    joins: bool


shapes = st.builds(
    Shape,
    chain=st.lists(st.sampled_from("abc"), unique=True, max_size=3).map(tuple),
    has_store=st.booleans(),
    has_door=st.booleans(),
    is_serial=st.booleans(),
)
steps = st.builds(
    Step,
    shape=st.none() | shapes,
    code=st.booleans(),
    breaks=st.sampled_from(["", "", "", "yaml", "name", "helper", "store"]),
    quick=st.integers(0, 3),
    slow=st.integers(0, 2),
    ends=st.booleans(),
    joins=st.booleans(),
)


class Story:
    """One daemon, its clients, and what has been accepted so far: versions and shape."""

    def __init__(self, one: Running, stack: AsyncExitStack) -> None:
        self.one = one
        self.accepted: list[tuple[int, int, Shape]] = [(1, 1, Shape())]
        self.clients: list[Caller] = []
        self.served = 0  # the last of them that has had its verdict
        self.in_flight: list[tuple[int, asyncio.Task[list[Any]]]] = []
        self._stack = stack
        self._version = 1
        self._files = (1, 1, Shape())

    async def join(self) -> None:
        self.clients.append(await self._stack.enter_async_context(caller(self.one.url)))

    async def play(self, step: Step) -> None:
        self.call(step.quick, slow=False)
        self.call(step.slow, slow=True)
        if step.joins:
            await self.join()
        broken = self.edit(step)
        reload = asyncio.create_task(self.one.reload())
        if not broken:
            self.accepted.append(self._files)
        while not reload.done():
            self.call(1, slow=False)
            await asyncio.wait({reload, self.in_flight[-1][1]}, return_when="FIRST_COMPLETED")
        assert ((await reload).result == "failed") is broken
        self.served = len(self.accepted) - 1
        self.call(step.quick, slow=False)
        if step.ends:
            await self.end()

    def edit(self, step: Step) -> bool:
        """Write the files; gives whether they are broken."""
        self._version += 1
        yaml, code, shape = self._files
        if step.shape is not None:
            yaml, shape = self._version, step.shape
        if step.code:
            code = self._version
        self._files = (yaml, code, shape)
        text = shape.text(yaml)
        self.one.plugin("_version", f"VERSION = {code}\n")
        self.one.plugin("store", STORE)
        if step.breaks == "yaml":
            text = text[: len(text) // 2]
        elif step.breaks == "name":
            text = text.replace("chat.say", "chat.sya")
        elif step.breaks == "helper":
            self.one.plugin("_version", "VERSION = ")
        elif step.breaks == "store":
            self.one.plugin("store", STORE + "\nraise ValueError\n")
        self.one.config(text)
        return bool(step.breaks)

    def call(self, count: int, *, slow: bool) -> None:
        """Begin calls, each with what is served when it begins."""
        for number in range(count):
            client = self.clients[number % len(self.clients)]
            self.in_flight.append((self.served, client.begin("say", slow)))

    async def end(self) -> None:
        """Let the calls in flight end, and hold each answer to one generation."""
        stage.go()
        async with deadline():
            answers = [(served, await task) for served, task in self.in_flight]
        self.in_flight.clear()
        stage.clear()
        for served, [stamps] in answers:
            # On its way it may have met the swap of this step, or of the next one.
            possible = self.accepted[served : served + 3]
            assert stamps in [shape.answer(yaml, code) for yaml, code, shape in possible]


async def tell(story: list[Step]) -> None:
    stage.clear()
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(
                running(
                    Path(folder),
                    Shape().text(1),
                    stamp=MIDDLEWARE,
                    chat=HANDLER,
                    store=STORE,
                    door="async def door(ctx, next): await next()\n",
                    _version="VERSION = 1\n",
                    _lazy="from ._version import VERSION\n",
                )
            )
            teller = Story(one, stack)
            await teller.join()
            for step in story:
                await teller.play(step)
            await teller.end()
            outcomes = (await one.api.status())["outcomes"]
            assert {outcome for outcome, count in outcomes.items() if count} <= {"ok"}
            chained = sum(one.live.alive.values())
            await until(lambda: len(one.live.alive) <= 1 + chained)


@pytest.mark.timeout(400)  # a few seconds, unless a counterexample is made smaller
@given(st.lists(steps, min_size=1, max_size=8))
@settings(max_examples=30, derandomize=True, deadline=None, database=None)
async def test_every_packet_is_answered_by_one_generation_and_none_is_lost(
    story: list[Step],
) -> None:
    await tell(story)
