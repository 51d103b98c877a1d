from __future__ import annotations

from pathlib import Path

import pytest

from gateway.testing import TestGateway
from tests.cli.invoke import invoke

USAGE = 2


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(kind: str, name: str) -> str:
    """What `new` prints below the name of the file: the YAML."""
    result = invoke("new", kind, name)
    assert (result.exit_code, result.stderr) == (0, "")
    wrote, yaml = result.stdout.split("\n\nIn gateway.yaml:\n")
    assert wrote == f"wrote plugins/{name.replace('.', '/')}.py"
    return yaml


@pytest.mark.parametrize("name", ["auth", "rooms.guard"])
async def test_middleware_works_as_it_was_written(here: Path, name: str) -> None:
    (here / "gateway.yaml").write_text(new("middleware", name))
    async with TestGateway("gateway.yaml") as gateway:
        client = await gateway.connect()
        [answer] = await client.call("anything")
    assert answer == {
        "error": {"code": "unknown_event", "message": "no route for event 'anything'"}
    }


@pytest.mark.parametrize("name", ["chat", "rooms.lobby"])
async def test_a_handler_works_as_it_was_written(here: Path, name: str) -> None:
    (here / "gateway.yaml").write_text(new("handler", name))
    event = name.rpartition(".")[2]
    async with TestGateway("gateway.yaml") as gateway:
        client = await gateway.connect()
        assert await client.call(event, "hello") == [{"received": "hello"}]
        assert (await client.receive(event)).args == ["you sent hello"]


@pytest.mark.parametrize("name", ["user", "rate_limit", "stores.user"])
async def test_a_service_works_as_it_was_written(here: Path, name: str) -> None:
    yaml = new("service", name)
    service = name.rpartition(".")[2]
    (here / "gateway.yaml").write_text(yaml + "namespaces: {/: {routes: {greet: greet}}}")
    (here / "plugins" / "greet.py").write_text(
        f"async def greet(ctx, name): return await ctx.service.{service}.greet(name)"
    )
    async with TestGateway("gateway.yaml") as gateway:
        client = await gateway.connect()
        assert await client.call("greet", "Ada") == ["hello, Ada"]


def test_the_yaml_names_what_was_written() -> None:
    assert new("middleware", "auth").splitlines() == [
        "namespaces:",
        "  /:",
        "    connection_middleware: [auth]  # once per connection",
        "    packet_middleware: [auth]      # or for every packet",
    ]
    assert new("handler", "rooms.lobby").splitlines()[-1] == "      lobby: rooms.lobby.index"
    assert new("service", "rate_limit").splitlines()[-1] == (
        "  rate_limit: {use: rate_limit.RateLimit, with: {greeting: hello}}"
    )


def test_another_plugin_folder_can_be_named(here: Path) -> None:
    assert invoke("new", "handler", "chat", "--plugins", "src/more").exit_code == 0
    assert (here / "src" / "more" / "chat.py").is_file()


@pytest.mark.parametrize(
    ("kind", "name", "fault"),
    [
        ("handler", "1st", "'1st' is not a valid name in Python"),
        ("handler", "rooms..lobby", "'' is not a valid name in Python"),
        ("handler", "rooms/lobby", "'rooms/lobby' is not a valid name in Python"),
        ("handler", "class", "'class' is not a valid name in Python"),
        ("handler", "plaudère", "'plaudère' is not a valid name in Python"),
        ("service", "none", "'None' is not a valid name in Python"),
        ("handler", "_hidden", "files that begin with '_' are not plugins: '_hidden'"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(
    here: Path, kind: str, name: str, fault: str
) -> None:
    result = invoke("new", kind, name)
    assert result.exit_code == USAGE
    assert result.stderr.splitlines()[-1] == f"Error: Invalid value for NAME: {fault}"
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("first", "second", "there"),
    [
        ("chat", "chat", "plugins/chat.py"),
        ("rooms", "rooms.lobby", "plugins/rooms.py"),
        ("rooms.lobby", "rooms", "plugins/rooms"),
    ],
)
def test_what_is_there_stays(here: Path, first: str, second: str, there: str) -> None:
    new("service", first)
    before = {path: path.read_text() for path in here.rglob("*.py")}
    result = invoke("new", "handler", second)
    assert result.exit_code == 1
    assert result.stderr == f"Error: nothing was written: {there} already exists\n"
    assert {path: path.read_text() for path in here.rglob("*.py")} == before
