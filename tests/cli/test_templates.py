"""The projects of `init`: each is checked, served, asked, tested, and used in a browser."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.browser import Browser, Page, browser
from tests.cli.invoke import invoke
from tests.clients.install import PACKAGES, install
from tests.daemon_in_loop import served

TEMPLATES = ["minimal", "chat", "build"]
PHONE = 390, 780


@pytest.fixture(params=TEMPLATES)
def template(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def file(template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The gateway.yaml of a template's project."""
    monkeypatch.chdir(tmp_path)
    assert invoke("init", "--template", template).exit_code == 0
    return tmp_path / "gateway.yaml"


async def output(*command: str) -> str:
    """What a module prints, run in the project."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


def test_it_passes_check_and_every_plugin_has_types(file: Path) -> None:
    result = invoke("check")
    assert result.exit_code == 0
    assert result.stdout.startswith("gateway.yaml is valid: 1 namespace, ")


async def test_its_tests_pass(file: Path) -> None:
    # Without the plugin for asyncio, which the project does not ask for.
    out = await output("pytest", "-q", "-p", "no:asyncio")
    assert re.search(r"^[13] passed", out, re.MULTILINE), out


async def test_its_tests_pass_inside_a_repository_that_has_other_rules_for_pytest(
    tmp_path: Path, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = "[tool.pytest.ini_options]\naddopts = '--gone'\n"
    await asyncio.to_thread((tmp_path / "pyproject.toml").write_text, rules)
    assert invoke("init", tmp_path / "demo", "--template", template).exit_code == 0
    monkeypatch.chdir(tmp_path / "demo")
    assert "passed" in await output("pytest", "-q", "-p", "no:asyncio")


async def test_its_plugins_and_tests_are_typed(file: Path) -> None:
    out = await output("mypy", "--strict", "plugins", "tests")
    assert out.startswith("Success")


@pytest.fixture
def unwatched(file: Path) -> Path:
    """The file, and only commands reload it."""
    file.write_text(f"{file.read_text()}reload: {{watch: 'off'}}\n")
    return file


async def test_the_commands_find_it_without_arguments(unwatched: Path) -> None:
    async with served(unwatched) as url:
        assert url in await output("gateway", "status")
        page = unwatched.parent / "web/index.html"
        page.write_text(page.read_text().replace("<h1>", "<h1>My "))
        assert "  ~ web/index.html\n" in await output("gateway", "plan")
        assert "  ~ web/index.html\n" in await output("gateway", "reload")
        assert url in await output("gateway", "status")


def test_git_and_docker_leave_out_what_is_made(file: Path) -> None:
    for name in (".gitignore", ".dockerignore"):
        lines = (file.parent / name).read_text().splitlines()
        assert {"admin.sock", ".venv"} <= {line.rstrip("/") for line in lines}


def test_the_client_is_the_one_that_is_tested(file: Path) -> None:
    install()
    text = (file.parent / "web/socket.io.min.js").read_text()
    assert text == (PACKAGES / "client4.8/dist/socket.io.min.js").read_text()
    assert "Released under the MIT License" in text[:200]


# In a browser


@pytest.fixture(scope="session")
def chromium_installed() -> None:
    install()


@pytest_asyncio.fixture
async def chrome(chromium_installed: None, url: str) -> AsyncIterator[Browser]:
    """A browser that is closed before the gateway."""
    async with browser() as one:
        yield one


@pytest_asyncio.fixture
async def url(file: Path) -> AsyncIterator[str]:
    async with served(file) as url:
        yield url


async def fits(page: Page) -> None:
    """What is seen is as wide as a phone, and is not empty."""
    await page.resize(*PHONE, is_phone=True)
    assert not await page.overflows()
    assert len(await page.screenshot()) > 5_000


@pytest.mark.parametrize("template", ["minimal"], indirect=True)
async def test_the_minimal_page_says_hello(chrome: Browser, url: str) -> None:
    page = await chrome.page(url)
    await page.type("input", "Ada")
    await page.reads("output", "Hello, Ada!")
    await fits(page)


@pytest.mark.parametrize("template", ["chat"], indirect=True)
async def test_two_people_chat(chrome: Browser, url: str) -> None:
    ada, bob = await chrome.page(url), await chrome.page(url)
    await ada.type("#welcome input", "Ada")
    await ada.reads("#people", "Ada")
    await bob.type("#welcome input", "Bob")
    await ada.reads("#people", "Ada, Bob")
    await ada.reads("#messages", "Bob is here")
    await bob.click("#say input")
    await bob.call("Input.insertText", text="<b>hello</b>")
    await ada.reads("#typing", "Bob is typing …")
    await bob.click("#say button")
    await ada.reads("#messages", "<b>hello</b>")
    await ada.until("document.querySelector('#typing').innerText === ''")
    for page in (ada, bob):
        await fits(page)


@pytest.mark.parametrize("template", ["chat"], indirect=True)
async def test_rooms_of_the_chat_are_apart_and_a_name_is_remembered(
    chrome: Browser, url: str
) -> None:
    ada, bob = await chrome.page(url), await chrome.page(url)
    await ada.type("#welcome input", "Ada")
    await ada.reads("#people", "Ada")
    await bob.type("#welcome input", "Bob")
    await ada.reads("#people", "Ada, Bob")
    await bob.click("[data-room=ideas]")
    await ada.reads("#messages", "Bob left")
    await ada.type("#say input", "only for the lobby")
    await ada.reads("#messages", "only for the lobby")
    await bob.type("#say input", "only for ideas")
    await bob.reads("#messages", "only for ideas")
    assert "only for" not in (await bob.text("#messages")).replace("only for ideas", "")
    await bob.click("[data-room=lobby]")
    await ada.reads("#messages", "Bob is here")
    await bob.call("Page.reload")
    await bob.until("document.querySelector('#welcome input')?.value === 'Bob'")


@pytest.mark.parametrize("template", ["chat"], indirect=True)
async def test_the_chat_goes_on_while_its_files_are_saved(
    chrome: Browser, url: str, file: Path
) -> None:
    ada = await chrome.page(url)
    await ada.type("#welcome input", "Ada")
    await ada.reads("#people", "Ada")
    plugin = file.parent / "plugins/chat.py"
    plugin.write_text(plugin.read_text().replace('["name"], text)', '["name"], text.upper())'))
    await output("gateway", "reload")
    await ada.type("#say input", "louder")
    await ada.reads("#messages", "LOUDER")
    assert "is here" not in await ada.text("#messages")  # it has not connected again


def rename_namespace(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text().replace(f"\n  {old}:\n", f"\n  {new}:\n"))


@pytest.mark.parametrize(
    ("template", "shows", "text"),
    [
        ("minimal", "output", "Hello, Ada!"),
        ("chat", "#people", "Ada"),
        ("build", "#state", "ready"),
    ],
    indirect=["template"],
)
async def test_a_page_comes_back_to_a_namespace_that_was_removed(
    chrome: Browser, url: str, file: Path, template: str, shows: str, text: str
) -> None:
    page = await chrome.page(url)
    if template == "chat":
        await page.type("#welcome input", "Ada")
    await page.until("socket.connected")
    before = await page.evaluate("socket.id")
    rename_namespace(file, "/", "/other")
    await output("gateway", "reload")
    await page.until("!socket.connected")
    rename_namespace(file, "/other", "/")
    await output("gateway", "reload")
    await page.until("socket.connected")
    assert await page.evaluate("socket.id") != before
    if template == "minimal":
        await page.type("input", "Ada")
    await page.reads(shows, text)
    # The stock client may poll once more after it has been told that the session is over.
    chrome.complaints[:] = [each for each in chrome.complaints if "status of 400" not in each]


@pytest.mark.parametrize("template", ["build"], indirect=True)
async def test_the_command_that_init_prints_streams_the_whole_build(
    url: str, tmp_path: Path
) -> None:
    printed = invoke("init", tmp_path / "again", "--template", "build").stdout
    [line] = [each for each in printed.splitlines() if each.startswith("  sockgw emit ")]
    _, *arguments = shlex.split(line.replace("127.0.0.1:7001", url))
    lines = (await output("gateway", *arguments)).splitlines()
    assert '"linked gateway, 40 modules"' in lines
    assert json.loads(lines[-1])["status"] == 0


def test_the_image_of_a_project_starts_from_the_one_of_the_repository(file: Path) -> None:
    image = (Path(__file__).parents[2] / "Dockerfile").read_text()
    text = (file.parent / "Dockerfile").read_text()
    [base] = re.findall(r"^FROM (\S+)$", text, re.MULTILINE)
    assert f"docker build -t {base} ." in image
    [owner] = re.findall(r"--chown=(\S+)", text)
    assert f"USER {owner}\n" in image


@pytest.mark.parametrize("template", ["build"], indirect=True)
async def test_a_build_is_streamed_to_its_page(
    chrome: Browser, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "PAUSE", "0")
    page = await chrome.page(url)
    await page.reads("#state", "ready")
    await page.click("#start")
    await page.reads("#state", "passed in ")
    lines = (await page.text("#log")).splitlines()
    assert [line for line in lines if line.startswith("[")][-1] == "[40/40] compiling module_40.c"
    assert lines[-1] == "linked gateway, 40 modules"
    assert await page.evaluate("document.querySelectorAll('.warning').length") == 4
    await fits(page)


@pytest.mark.parametrize("template", ["build"], indirect=True)
async def test_a_build_can_be_stopped_and_begun_again(
    chrome: Browser, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "PAUSE", "1000")
    page, other = await chrome.page(url), await chrome.page(url)
    await page.reads("#state", "ready")
    await page.click("#start")
    await page.reads("#log", "[1/40]")
    await other.reads("#state", "ready")
    await other.click("#start")
    await other.reads("#state", "another build is running")
    await page.click("#stop")
    await page.reads("#state", "stopped")
    monkeypatch.setitem(os.environ, "PAUSE", "0")
    await page.until("!document.querySelector('#start').disabled")
    await page.click("#start")
    await page.reads("#state", "passed in ")


@pytest.mark.parametrize("template", ["build"], indirect=True)
async def test_a_build_that_fails_says_so(chrome: Browser, url: str, file: Path) -> None:
    (file.parent / "build.sh").write_text("echo 'error: no luck'\nexit 3\n")
    page = await chrome.page(url)
    await page.reads("#state", "ready")
    await page.click("#start")
    await page.reads("#state", "failed with exit code 3")
    assert await page.evaluate("document.querySelector('.error').innerText") == "error: no luck"


def test_an_unknown_template_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    result = invoke("init", tmp_path, "--template", "shop")
    assert result.exit_code == 2
    assert "'shop' is not one of 'minimal', 'chat', 'build'" in result.stderr


def test_no_template_has_what_an_editor_or_python_leaves(template: str, file: Path) -> None:
    made = {path.relative_to(file.parent) for path in file.parent.rglob("*") if path.is_file()}
    assert not [path for path in made if path.suffix in {".pyc", ".swp"} or path.name[-1] == "~"]
    assert json.loads((file.parent / "gateway.schema.json").read_text())
