"""A gateway whose every part stamps its version into the answer, and ways to edit it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PARTS", "Edits", "Save"]

PARTS = ("yaml", "middleware", "handler", "helper", "service")
BROKEN_EVERY = 3  # good saves between broken ones: a quarter of all is broken

YAML = """\
server: {{host: 127.0.0.1, port: 0, workers: {workers}}}
admin: {{socket: admin.sock}}
limits: {{connections_per_second: unlimited}}
services:
  store: {{use: store.Store, with: {{version: {0}}}}}
namespaces:
  /:
    packet_middleware:
      - {{use: stamps.Stamps, with: {{version: {0}}}}}
    routes:
      say: {{use: talk.Talk.say, with: {{version: {0}}}}}
      ask: {{use: talk.Talk.ask, with: {{version: {0}}}}}
      linger: {{use: talk.Talk.linger, with: {{version: {0}}}}}
"""

MIDDLEWARE = """\
from gateway import Context, Next

from .helper import stamp

VERSION = {0}


class Stamps:
    def __init__(self, version: int) -> None:
        self.version = version

    async def __call__(self, ctx: Context, next: Next) -> None:
        before = self.stamps(ctx)
        await next()
        ctx.reply = [before, ctx.reply, self.stamps(ctx)]

    def stamps(self, ctx):
        return {{
            "yaml": self.version,
            "middleware": VERSION,
            "helper": stamp(),
            "service": ctx.service.store.stamps()["service"],
        }}
"""

HANDLER = """\
import asyncio

from gateway import Context

from .helper import stamp

VERSION = {0}


class Talk:
    def __init__(self, version: int) -> None:
        self.version = version

    async def say(self, ctx: Context):
        return self.stamps(ctx)

    async def ask(self, ctx: Context):
        before = self.stamps(ctx)
        asked = self.version
        [answer] = await ctx.socket.call("ask", asked, timeout=10)
        assert answer == asked
        return [before, self.stamps(ctx)]

    async def linger(self, ctx: Context, seconds: float):
        before = self.stamps(ctx)
        await asyncio.sleep(seconds)
        from .helper import VERSION as helper

        return [before, {{"helper": helper}}, self.stamps(ctx)]

    def stamps(self, ctx):
        return [
            {{"yaml": self.version, "handler": VERSION, "helper": stamp()}},
            ctx.service.store.stamps(),
        ]
"""

HELPER = """\
VERSION = {0}


def stamp() -> int:
    return VERSION
"""

SERVICE = """\
from .helper import stamp

VERSION = {0}


class Store:
    def __init__(self, version: int) -> None:
        self.version = version
        self.open = False

    async def __aenter__(self):
        self.open = True
        return self

    async def __aexit__(self, *error):
        self.open = False

    def stamps(self):
        assert self.open, "used before it was entered or after it was left"
        return {{"yaml": self.version, "service": VERSION, "helper": stamp()}}
"""

FILES = {
    "yaml": ("gateway.yaml", YAML),
    "middleware": ("plugins/stamps.py", MIDDLEWARE),
    "handler": ("plugins/talk.py", HANDLER),
    "helper": ("plugins/helper.py", HELPER),
    "service": ("plugins/store.py", SERVICE),
}


@dataclass(frozen=True, slots=True)
class Save:
    """One save of one file; `is_broken` if it is meant to be refused.

    `whole` replaces the file by a rename, as vim does; otherwise it is overwritten, as VS
    Code does. `state` is the number of the state that it completes.
    """

    path: Path
    text: str
    state: int
    is_broken: bool
    whole: bool

    def write(self) -> None:
        if self.whole:
            beside = self.path.with_name(f"{self.path.name}~")
            beside.write_text(self.text)
            beside.rename(self.path)
        else:
            self.path.write_text(self.text)


class Edits:
    """The files in `folder`, and an endless series of saves, each of the next file.

    `states` are the versions of all parts, in the order of `PARTS`, that were complete on disk,
    each with its number. A consistent answer is of one of them. `workers` serve the files.
    """

    def __init__(self, folder: Path, seed: int = 1, workers: int = 1) -> None:
        self.file = folder / "gateway.yaml"
        self.states: dict[tuple[int, ...], int] = {}
        self._folder = folder
        self._workers = workers
        self._versions = dict.fromkeys(PARTS, 0)
        self._random = random.Random(seed)
        (folder / "plugins").mkdir(parents=True)
        for part, (name, _) in FILES.items():
            (folder / name).write_text(self._text(part, 0))
            assert part in self._versions
        self._note()

    def saves(self) -> Iterator[Save]:
        """Good and broken saves; a broken one is followed by a good one of the same file."""
        for number in range(10**9):
            part = PARTS[number % len(PARTS)]
            version = number + 1
            if number % BROKEN_EVERY == BROKEN_EVERY - 1:
                yield self._save(part, self._broken(part, version), is_broken=True)
            self._versions[part] = version
            self._note()
            yield self._save(part, self._text(part, version))

    def _save(self, part: str, text: str, *, is_broken: bool = False) -> Save:
        path = self._folder / FILES[part][0]
        whole = self._random.random() < 0.5
        return Save(path, text, len(self.states) - 1, is_broken, whole)

    def _text(self, part: str, version: int) -> str:
        return FILES[part][1].format(version, workers=self._workers)

    def _broken(self, part: str, version: int) -> str:
        text = self._text(part, version)
        truncated = text[: text.index("ersion: " if part == "yaml" else "(")] + "("
        if part == "yaml":
            unknown = text.replace("talk.Talk.say", "talk.Talk.sai")
            return self._random.choice([truncated, unknown, text + "  - [\n", ""])
        raising = f"{text}\nraise RuntimeError('at import')\n"
        ways = [truncated, raising, f"{text}\ndef (:\n"]
        if part == "service":
            ways.append(text.replace("self.open = True", "raise RuntimeError('at start')"))
        return self._random.choice(ways)

    def _note(self) -> None:
        self.states[tuple(self._versions.values())] = len(self.states)
