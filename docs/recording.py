"""Records a reload as a moving picture: `python docs/recording.py` writes docs/reload.svg.

A gateway and a client run for real; the picture shows what the two print, and when.
"""

from __future__ import annotations

import asyncio
import html
import re
import shlex
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

PICTURE = Path(__file__).with_name("reload.svg")

CONFIG = """
server:
  port: {port}
namespaces:
  /:
    routes:
      hi: chat.hi
"""

PLUGIN = """
async def hi(ctx, name: str):
    return f"Hello, {name}!"
"""

SAVES = [
    ("sed -i 's/Hello/Good morning/' plugins/chat.py", "~ plugins/chat.py"),
    ("sed -i 's/chat.hi/chat.ho/' gateway.yaml", "no plugin 'chat.ho'"),
    ("sed -i 's/chat.ho/chat.hi/' gateway.yaml", "valid again"),
]
"""What is saved, and what the gateway says of it."""

SERVER, CLIENT, SHELL = "sockgw run", "sockgw client", "a third terminal"
TERMINALS = (SERVER, CLIENT, SHELL)
STEP = 1.6
"""Seconds from one step to the next in the picture: what takes milliseconds has to be read."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one terminal prints at a step."""

    terminal: str
    step: int
    text: str


@dataclass(slots=True)
class Recording:
    """The lines of three terminals, in steps."""

    lines: list[Line] = field(default_factory=list)
    step: int = 0

    def add(self, terminal: str, text: str) -> None:
        self.lines.append(Line(terminal, self.step, text))


@dataclass(slots=True)
class Program:
    """A program whose output is recorded."""

    name: str
    recording: Recording
    process: asyncio.subprocess.Process

    async def until(self, words: str) -> None:
        """Record what is printed, as far as a line with `words` in it."""
        assert self.process.stdout
        while line := (await self.process.stdout.readline()).decode():
            self.recording.add(self.name, line.rstrip())
            if words in line:
                return
        raise RuntimeError(f"{self.name} ended before it printed {words!r}")

    async def type(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()


@asynccontextmanager
async def running(
    name: str, recording: Recording, folder: Path, *arguments: str
) -> AsyncIterator[Program]:
    recording.add(name, f"$ sockgw {shlex.join(arguments)}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-m", "gateway", *arguments),
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Program(name, recording, process)
    finally:
        process.terminate()
        await process.communicate()


async def record(port: int = 7001) -> list[Line]:
    """Run a gateway on `port` through `SAVES`; return what it and a client printed."""
    recording = Recording()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plugins").mkdir()
        (folder / "gateway.yaml").write_text(CONFIG.format(port=port).lstrip())
        (folder / "plugins/chat.py").write_text(PLUGIN.lstrip())
        async with running(SERVER, recording, folder, "run") as server:
            await server.until("route")
            recording.step += 1
            address = f"127.0.0.1:{port}"
            async with running(CLIENT, recording, folder, "client", address) as client:
                await client.until("connected")
                await say_hi(recording, client)
                for command, words in SAVES:
                    recording.add(SHELL, f"$ {command}")
                    recording.step += 1
                    shell = await asyncio.create_subprocess_shell(command, cwd=folder)
                    assert await shell.wait() == 0
                    await server.until(words)
                    await say_hi(recording, client)
    return recording.lines


async def say_hi(recording: Recording, client: Program) -> None:
    recording.step += 1
    await client.type('hi "Ada"')
    await client.until("ack")
    recording.step += 1


WIDTH, ROW, MARGIN = 760, 18, 14
BLUE, GREEN, RED = "#79c0ff", "#7ee787", "#ff7b72"
COLOURS = {r"\$ ": BLUE, r".* ERROR ": RED, r".* generation \d+ serves": GREEN, r".* ack ": GREEN}
"""The colour of a line, by what it begins with."""

STYLE = """
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d1d7e0;
  white-space: pre; }
.title { fill: #8b949e; font-size: 12px; }
.bar { fill: #21262d; }
@media (prefers-reduced-motion: no-preference) { .later { animation-duration: %gs;
  animation-iteration-count: infinite; animation-timing-function: step-end; } }
"""


def picture(lines: list[Line]) -> str:
    """Draw the terminals one below another; each line appears at its step, again and again."""
    drawn, top = [], 0
    for terminal in TERMINALS:
        drawn.append(f'<rect class="bar" y="{top}" width="{WIDTH}" height="26"/>')
        drawn.append(f'<text class="title" x="{MARGIN}" y="{top + 17}">{terminal}</text>')
        top += 26 + ROW
        for line in lines:
            if line.terminal == terminal:
                drawn.append(row(line, top))
                top += ROW
    steps = max(line.step for line in lines) + 3  # the last ones stay while they are read
    title = "A gateway picks up a new plugin and refuses a mistake while a client stays connected"
    size = f'viewBox="0 0 {WIDTH} {top}" width="{WIDTH}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{title}</title>",
            f"<style>{STYLE % (steps * STEP)}{keyframes(steps)}</style>",
            f'<rect width="{WIDTH}" height="{top}" rx="8" fill="#0d1117"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def keyframes(steps: int) -> str:
    return "".join(
        f".s{step} {{ animation-name: s{step} }} @keyframes s{step} "
        f"{{ 0% {{ opacity: 0 }} {100 * step / steps:.2f}% {{ opacity: 1 }} }}\n"
        for step in range(1, steps)
    )


def row(line: Line, y: int) -> str:
    colours = (each for start, each in COLOURS.items() if re.match(start, line.text))
    fill = "".join(f' style="fill: {each}"' for each in colours)
    later = f' class="later s{line.step}"' if line.step else ""
    return f'<text x="{MARGIN}" y="{y}"{later}{fill}>{html.escape(line.text, quote=False)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(picture(asyncio.run(record())))
