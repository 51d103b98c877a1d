from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.testing import Refused, TestGateway
from tests.cli.invoke import invoke


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_an_example_and_says_what_to_type_next(here: Path) -> None:
    result = invoke("init", "demo")
    assert (result.exit_code, result.stderr) == (0, "")
    wrote, _, steps = result.stdout.partition("\n\n")
    assert wrote.splitlines() == [
        "wrote demo/.dockerignore",
        "wrote demo/.gitignore",
        "wrote demo/Dockerfile",
        "wrote demo/README.md",
        "wrote demo/gateway.schema.json",
        "wrote demo/gateway.yaml",
        "wrote demo/plugins/auth.py",
        "wrote demo/plugins/chat.py",
        "wrote demo/pytest.ini",
        "wrote demo/tests/test_chat.py",
        "wrote demo/web/app.js",
        "wrote demo/web/index.html",
        "wrote demo/web/socket.io.min.js",
        "wrote demo/web/style.css",
    ]
    assert steps.splitlines() == [
        "Next steps:",
        "  cd demo",
        "  sockgw run",
        "Open http://127.0.0.1:7001 in two tabs; the port is in gateway.yaml.",
        "In another terminal:",
        "  cd demo",
        "  sockgw status",
        '  sockgw client http://127.0.0.1:7001 --auth \'{"name": "Ada"}\'',
        '  > chat "hello world!"',
        "Save a file, and it is reloaded. To see first what an edit would change:",
        "  cp gateway.yaml next.yaml     # now edit next.yaml",
        "  sockgw plan next.yaml",
        "  mv next.yaml gateway.yaml     # serve it",
        "Test it, with pytest installed beside sockgw:",
        "  python -m pytest",
    ]


def test_without_a_folder_it_writes_here(here: Path) -> None:
    result = invoke("init")
    assert (here / "gateway.yaml").is_file()
    assert "cd" not in result.stdout.split()


def test_the_example_passes_check(here: Path) -> None:
    invoke("init")
    assert invoke("check").stdout == "gateway.yaml is valid: 1 namespace, 5 routes\n"


def test_an_editor_finds_the_schema_that_the_first_line_names(here: Path) -> None:
    invoke("init")
    first = (here / "gateway.yaml").read_text().splitlines()[0]
    prefix, _, name = first.partition("=")
    assert prefix == "# yaml-language-server: $schema"
    assert json.loads((here / name).read_text()) == json.loads(invoke("schema").stdout)


@pytest.mark.parametrize("name", ["gateway.yaml", "plugins/chat.py", ".gitignore"])
def test_no_file_is_overwritten_and_then_none_is_written(here: Path, name: str) -> None:
    (here / name).parent.mkdir(exist_ok=True)
    (here / name).write_text("mine")
    before = sorted(here.rglob("*"))
    result = invoke("init")
    assert result.exit_code == 1
    assert result.stderr == f"Error: nothing was written: {name} already exists\n"
    assert sorted(here.rglob("*")) == before
    assert (here / name).read_text() == "mine"


def test_all_that_is_there_is_listed(here: Path) -> None:
    invoke("init", "--template", "minimal")
    assert invoke("init").stderr == (
        "Error: nothing was written: .dockerignore, .gitignore, Dockerfile, README.md, "
        "gateway.schema.json, gateway.yaml, pytest.ini, web/index.html, web/socket.io.min.js "
        "already exist\n"
    )


def test_what_cannot_be_written_is_told_in_one_sentence(here: Path) -> None:
    (here / "plugins").write_text("a file")
    result = invoke("init", "plugins")
    assert result.exit_code == 1
    assert result.stderr == "Error: cannot write plugins/.dockerignore: file exists\n"


async def test_the_example_serves_a_chat(here: Path) -> None:
    invoke("init")
    async with TestGateway("gateway.yaml") as gateway:
        ada = await gateway.connect(auth={"name": "Ada"})
        guest = await gateway.connect()
        assert await ada.call("chat", "hello") == [{"ok": True}]
        assert (await guest.receive("chat")).args == ["Ada", "hello"]
        await ada.lose()
        assert (await guest.receive("left")).args == ["Ada"]
        with pytest.raises(Refused, match="a name is text of up to 20 characters"):
            await gateway.connect(auth={"name": 7})
