"""The Dockerfile: linted, and its steps run in a folder instead of an image."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deadline import deadline
from tests.deploy.shipped import PROGRAMS, ROOT, checked, copied, open_folder, parsed
from tests.gateway_files import write
from tests.reload.calling_client import caller

pytestmark = pytest.mark.timeout(1200)
"""Seconds: sockgw and its packages are installed here, which a busy machine takes minutes for."""

TEXT = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, with what follows their names."""
    found: list[list[tuple[str, str]]] = [[]]
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        if name:
            found[-1].append((name, " ".join(rest.split())))
    return found[1:]


BUILD, IMAGE = stages()


def only(name: str) -> str:
    """What follows an instruction of the image that is there once."""
    [rest] = [rest for each, rest in IMAGE if each == name]
    return rest


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(only("ENV")))


def test_hadolint_finds_nothing() -> None:
    assert checked("hadolint", "--no-color", "Dockerfile") == ""


def test_what_is_copied_is_sent_to_the_builder_and_nothing_else() -> None:
    copies = [rest.split()[:-1] for name, rest in BUILD if name == "COPY"]
    allowed = {line[1:] for line in IGNORED if line.startswith("!")}
    assert {source for each in copies for source in each} == allowed
    assert "*" in IGNORED


def test_it_runs_as_a_user_with_a_number() -> None:
    """Kubernetes cannot tell whether a name is root."""
    user, _, group = only("USER").partition(":")
    assert user.isdecimal()
    assert group.isdecimal()
    assert int(user) > 0
    [made] = [rest for name, rest in IMAGE if name == "RUN"]
    assert f"--uid {user} " in made


def test_its_commands_are_those_of_sockgw() -> None:
    entrypoint = json.loads(only("ENTRYPOINT"))
    assert parsed([*entrypoint, *json.loads(only("CMD"))]) == "run"
    assert parsed(json.loads(only("HEALTHCHECK").partition("CMD ")[2])) == "healthcheck"


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder with what the image has in /opt and /var, made by the steps of the build stage."""
    with open_folder() as folder:
        (folder / "src").mkdir()
        copied([line[1:] for line in IGNORED if line.startswith("!")], folder / "src")
        for name, rest in BUILD:
            if name == "RUN":
                subprocess.run(
                    ["sh", "-euc", rest.replace("/opt/", f"{folder}/opt/")],
                    cwd=folder / "src",
                    env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
                    check=True,
                )
        yield folder


UNPRIVILEGED = [
    *("setpriv", "--reuid=10001", "--regid=10001", "--clear-groups"),
    # Where these tests run, Python itself may be in a folder of root's.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"),
]


@pytest.mark.parametrize("state", ["writable", "read-only"])
async def test_it_serves_where_it_can_write_nothing_but_its_state(root: Path, state: str) -> None:
    """A user who owns nothing writes nothing, as on a read-only root."""
    served = root / f"srv-{state}"
    served.mkdir()
    write(served, "namespaces: {/: {routes: {say: say}}}", say="async def say(ctx): return 1")
    home = root / f"var-{state}"
    home.mkdir()
    is_root = os.geteuid() == 0
    if state == "writable" and is_root:
        os.chown(home, 10001, 10001)
    elif not is_root:
        home.chmod(0o755 if state == "writable" else 0o555)
        served.chmod(0o555)
    words = [*json.loads(only("ENTRYPOINT")), *json.loads(only("CMD"))]
    words[words.index("0.0.0.0")] = "127.0.0.1"
    daemon = await asyncio.create_subprocess_exec(
        *(UNPRIVILEGED if is_root else []),
        root / "opt/sockgw/bin" / words[0],
        *(*words[1:], "--port", "0"),
        cwd=served,
        env={**environment(), "PATH": os.environ["PATH"], "XDG_STATE_HOME": str(home)},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    assert daemon.stderr is not None
    lines: list[str] = []
    async with deadline():
        while not lines or "listening on" not in lines[-1]:
            lines.append((await daemon.stderr.readline()).decode())
            assert lines[-1], lines
        found = re.search(r"http://[\d.:]+", lines[-1])
        assert found is not None
        async with caller(found[0]) as client:
            assert await client.call("say") == [1]
        daemon.send_signal(signal.Signals[only("STOPSIGNAL")])
        _, rest = await daemon.communicate()
    assert daemon.returncode == 0
    log = "".join(lines) + rest.decode()
    assert "Traceback" not in log
    assert bool(list(home.glob("sockgw/*/main"))) is (state == "writable")
    assert ("could not be kept" in log) is (state == "read-only"), log
