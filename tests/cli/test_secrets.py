"""A configuration full of secrets, put through everything that writes: none of them is written."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.invoke import invoke
from tests.cli.test_run import Run, running
from tests.deadline import deadline
from tests.gateway_files import write
from tests.raw_client import raw

MARK = "hushhush"
"""In every secret, and in nothing else."""

TOKEN = f"{MARK}-0123456789"

CONFIG = """
server: {port: 0, cors_origins: ["https://${NAME}.example"],
  handshake_middleware: [{use: say.Gate, with: GATE}]}
reload: {watch: "off"}
admin: {socket: admin.sock, token: "${TOKEN}"}
services:
  store:
    use: store.Store
    with: {url: "redis://:${NAME}@host", password: "${file:secret}", api_key: hushhush-literal}
namespaces:
  /:
    packet_middleware: [{use: say.Middleware, with: {names: ["${NAME}"], text: "${file:secret}"}}]
    routes: {say: {use: say.Say, with: {token: "${TOKEN}"}}}
"""

STORE = """
import asyncio

class Store:
    def __init__(self, url: str, password: str, api_key: str = ""):
        self.values = url, password, api_key
        self.task = asyncio.create_task(self.fail())
    async def fail(self):
        raise ConnectionError(f"cannot log in with {self.values}")

class Failing(Store):
    def __init__(self, **options):
        raise ConnectionError(f"cannot log in with {options}")
"""

GATE = '{url: "redis://:${LONE}@host", token: "${TOKEN}"}'
CONFIG = CONFIG.replace("GATE", GATE)

SAY = """
class Gate:
    def __init__(self, url: str, token: str, count: int = 0):
        if count:
            raise ValueError(f"{url} does not go with a count")
        self.values = url, token
    async def __call__(self, ctx, next):
        ctx.log.info("%s", self.values)
        await next()

class Middleware:
    def __init__(self, names: list[str], text: str):
        self.values = names, text
    async def __call__(self, ctx, next):
        ctx.log.info("%s", self.values)
        await next()

class Say:
    def __init__(self, token: str, count: int = 0):
        if count:
            raise ValueError(f"{token} does not go with a count")
        self.token = token
    async def __call__(self, ctx):
        raise LookupError(self.token)
"""

BAD = [
    ("{port: 0,", "{port: '${NAME}',"),
    ("{port: 0,", "{port: 0, ping_interval: '${file:secret}',"),
    ("store.Store", "store.Failing"),
    ("store.Store", "'${NAME}'"),
    ('password: "${file:secret}"', 'pasword: "${file:secret}"'),
    ('{token: "${TOKEN}"}', '{token: "${TOKEN}", count: 1}'),
    (GATE, GATE.removesuffix("}") + ", count: 1}"),
    ('{token: "${TOKEN}"}', '{token: ["${TOKEN}"]}'),
    ("packet_middleware: [", "packet_middleware: [{use: builtin.log, with: {level: '${NAME}'}}, "),
    (
        "packet_middleware: [",
        "packet_middleware: [{use: builtin.origin, with: {allow: ['${NAME}']}},",
    ),
    ("routes: {", "order: '${file:secret}'\n    routes: {"),
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAME", MARK)
    monkeypatch.setenv("TOKEN", TOKEN)
    monkeypatch.setenv("LONE", f"{MARK}-in-one-place-only")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "secret").write_text(f"{MARK}-from-a-file\n")
    return write(tmp_path, CONFIG, store=STORE, say=SAY)


@asynccontextmanager
async def served(file: Path, *options: str) -> AsyncIterator[tuple[Run, str]]:
    async with running(file, "-v", *options) as run:
        assert run.process.stdout is not None
        if "json" not in options:
            yield run, f"http://{urlsplit(await run.url()).netloc}"
            return
        assert run.process.stderr is not None
        line = ""
        while "http" not in line:
            line = (await run.process.stderr.readline()).decode()
            assert line
        yield run, line[line.index("http") :].partition('"')[0]


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_no_secret_is_written(file: Path, log_format: str) -> None:
    told: list[str] = []

    async def ask(verb: str, *args: str, status: int = 0) -> None:
        result = await asyncio.to_thread(invoke, verb, file, *args)
        assert (verb, result.exit_code) == (verb, status), result.stderr
        told.extend((result.stdout, result.stderr))

    await ask("check")
    await ask("routes")
    await ask("audit", "--json")
    async with served(file, "--log-format", log_format) as (run, url):
        async with raw(url) as client:
            await client.join()
            await client.send('421["say"]')
            answer = await client.receive()
            assert answer == '431[{"error":{"code":"internal","message":"internal error"}}]'
        await ask("status", "--format", "json")
        (file.parent / "secret").write_text(f"{MARK}-of-another-day\n")
        write(file.parent, CONFIG.replace("${NAME}.example", "${TOKEN}.example"))
        await ask("plan")
        await ask("reload")
        await ask("plan", "--format", "json")
        # The state of the daemon tells of the last one that was refused.
        for old, new in BAD:
            assert old in CONFIG
            write(file.parent, CONFIG.replace(old, new))
            await ask("reload", status=78)
        await ask("status", "--format", "json")
        run.process.terminate()
        assert run.process.stderr is not None
        told.append((await run.process.stderr.read()).decode())
        assert await run.process.wait() == 0
    assert "LookupError" in told[-1]
    assert [text for text in told if MARK in text] == []
    assert "***" in told[-1]


def test_a_bad_file_is_told_by_check_without_them(file: Path) -> None:
    for old, new in BAD:
        if "Failing" in new:  # which only a start finds
            continue
        write(file.parent, CONFIG.replace(old, new))
        result = invoke("check", file)
        assert result.exit_code == 78
        assert MARK not in result.output


async def test_a_secret_in_a_file_is_taken_over_when_it_changes(file: Path) -> None:
    write(file.parent, CONFIG.replace('"off"', "auto"))
    async with served(file) as (run, _):
        (file.parent / "secret").write_text("another")
        assert run.process.stderr is not None
        async with deadline():
            while "generation 2 serves" not in (await run.process.stderr.readline()).decode():
                pass


async def test_no_file_of_the_state_holds_a_secret_and_a_start_from_it_has_them(
    file: Path,
) -> None:
    write(file.parent, CONFIG.replace("hushhush-literal", "literal"))
    async with served(file) as (run, _):
        run.process.terminate()
        await run.process.wait()
    kept = [path for path in (file.parent / "state").rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        assert path.name == "main" or stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.suffix == ".py" or MARK not in path.read_text()
    write(file.parent, "namespaces: [")
    async with served(file, "--last-good") as (run, _):
        run.process.terminate()
        assert await run.process.wait() == 0
