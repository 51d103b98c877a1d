"""Keeps the documents true: what they show is run, and what there is they show.

A code block whose first line is a comment with a file's name (`# plugins/auth.py`) is that file;
the files of one section, from one `##` heading to the next, make a gateway that is checked. Tests
among them are run. All other Python is executed, all other YAML is part of a good file.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import gateway.testing
from gateway.cli import main
from gateway.config import load
from gateway.config.checks import LOGGERS
from gateway.daemon.capture import PRINTED
from gateway.daemon.log import DIRECT
from gateway.daemon.plan import RESTART_KEYS
from gateway.testing import TestGateway
from tests.cli.daemon_for_verbs import ask, asked
from tests.gateway_files import write

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\S+\.(?:py|yaml))\n")
_LINK = re.compile(r"\[[^]]*\]\(([^)#:]*)(?:#([^)]*))?\)")


ENVIRON = {
    "CLUSTER_SECRET": "0123456789abcdef0123456789abcdef",
    "ADMIN_TOKEN": "0123456789abcdef",
    "ORDERS_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
"""The variables that what the documents show refers to."""


PROGRAMS = {
    *(".", "cd", "cp", "mv", "pip", "pytest", "python3", ".venv/bin/python", "/opt/sockgw/bin/pip"),
    *("curl", "docker", "journalctl", "kubectl", "pipx", "systemctl", "uv"),
}
"""What the documents run besides sockgw and make."""


@dataclass(frozen=True, slots=True)
class Block:
    """One code block; `file` is the name that its first line gives it, or `None`."""

    document: str
    section: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        found = _FILE.match(self.text)
        return found and found[1]

    @property
    def is_test(self) -> bool:
        return (self.file or "").startswith("test_")

    @property
    def id(self) -> str:
        first = self.text.splitlines()[0]
        return f"{self.document}-{self.section}-{self.file or first[:30]}"


def blocks() -> Iterator[Block]:
    for path in DOCUMENTS:
        for section in re.split(r"^(?=## )", path.read_text(), flags=re.MULTILINE):
            heading = section.splitlines()[0].lstrip("# ")
            for found in _BLOCK.finditer(section):
                yield Block(path.name, heading, found[1], found[2])


BLOCKS = list(blocks())
GATEWAYS = sorted({(each.document, each.section) for each in BLOCKS if each.file == "gateway.yaml"})


def of(language: str, *, named: bool = False) -> list[Any]:
    found = [each for each in BLOCKS if each.language == language and bool(each.file) == named]
    return [pytest.param(each, id=each.id) for each in found]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.mark.parametrize(("document", "section"), GATEWAYS)
async def test_the_files_of_a_section_make_a_gateway(
    here: Path, document: str, section: str
) -> None:
    for block in BLOCKS:
        if (block.document, block.section) == (document, section) and block.file:
            path = here / block.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text)
    async with TestGateway("gateway.yaml"):
        pass
    for block in BLOCKS:
        if (block.document, block.section) == (document, section) and block.is_test:
            for promise in _run(block.text).values():
                await promise()


@pytest.mark.parametrize("block", of("yaml"))
def test_yaml_without_a_name_is_part_of_a_good_file(here: Path, block: Block) -> None:
    rest = "" if "namespaces:" in block.text else "namespaces: {/: }\n"
    assert load(write(here, block.text + rest), ENVIRON).namespaces


@pytest.mark.parametrize("block", of("python"))
async def test_python_without_a_name_runs(here: Path, block: Block) -> None:
    for name, promise in _run(block.text).items():
        if name.startswith("test_"):
            await promise(here)


@pytest.mark.parametrize("block", of("python", named=True))
def test_python_of_a_file_stands_beside_its_gateway(block: Block) -> None:
    assert (block.document, block.section) in GATEWAYS


def test_python_is_typed(tmp_path: Path) -> None:
    """With `mypy --strict`, as plugin authors may have it; the files of a section are a package."""
    for number, block in enumerate(BLOCKS):
        if block.language == "python":
            section = re.sub(r"\W+", "_", f"{block.document}_{block.section}")
            path = tmp_path / section / (block.file or f"block_{number}.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--explicit-package-bases", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize("block", of("json"))
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", of("sh"))
def test_commands_are_there_and_take_these_arguments(block: Block) -> None:
    for line in block.text.replace(" && ", "\n").splitlines():
        words = shlex.split(line, comments=True)
        for end in {">", "|"} & {*words}:
            words = words[: words.index(end)]
        match words:
            case (
                ["sockgw", verb, *arguments]
                | ["uvx", "sockgw", verb, *arguments]
                | ["uvx", "--from", ".", "sockgw", verb, *arguments]
            ):
                _parse(verb, arguments)
            case ["make", target, *_]:
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
            case [program, *_]:
                assert program in PROGRAMS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in _LINK.findall(path.read_text()):
        file = path.parent / target if target else path
        assert file.is_file(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in _anchors(file), f"{path.name} links to {target}#{anchor}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_of_the_code_that_are_named_are_there(path: Path) -> None:
    named = re.findall(r"`((?:gateway|schema|tests)/[\w./]*\w)/?`", path.read_text())
    assert [each for each in named if not (ROOT / each).exists()] == []


def test_the_tests_that_are_named_are_there() -> None:
    text, found = (ROOT / "docs/scaling.md").read_text(), []
    for line in text.splitlines():
        file = ""
        for path, test in re.findall(r"`([\w/]+\.py)?::(test_\w+)`", line):
            file = path or file
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(), f"{file}::{test}"
            found.append(test)
    assert len(found) > 15


def test_every_verb_is_in_a_document() -> None:
    shown = " ".join(path.read_text() for path in DOCUMENTS)
    assert [verb for verb in main.commands if f"sockgw {verb}" not in shown] == []


@pytest.mark.parametrize("verb", main.commands)
def test_the_example_in_a_help_can_be_typed(verb: str) -> None:
    example = (main.commands[verb].epilog or "").splitlines()[-1]
    sockgw, named, *arguments = shlex.split(example.partition(" > ")[0])
    assert (sockgw, named) == ("sockgw", verb)
    _parse(verb, arguments)


def test_the_problem_in_the_readme_is_what_check_says(here: Path) -> None:
    files = {each.file: each.text for each in BLOCKS if each.document == "README.md" and each.file}
    for name, text in files.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text.replace("say: chat.say", "say: chat.sya"))
    result = CliRunner().invoke(main, ["check"])
    [problem] = [each.text for each in BLOCKS if each.text.startswith("gateway.yaml:")]
    assert result.stderr == f"{problem}1 problem\n"


async def test_the_plan_in_the_reload_page_is_what_plan_says(here: Path) -> None:
    files = {each.file: each.text for each in BLOCKS if each.document == "README.md" and each.file}
    before = f"{files['gateway.yaml']}reload: {{watch: 'off'}}\n"
    plugins = {str(Path(name).stem): text for name, text in files.items() if name.endswith(".py")}
    file = write(here, before, **plugins)
    async with asked(file):
        after = re.sub(r" +disconnect: .*\n", "", before.replace("packets: 20", "packets: 50"))
        write(here, after.replace("  /chat:\n", "  /news:\n  /chat:\n"), **plugins)
        result = await ask("plan", file)
    [plan] = [each.text for each in BLOCKS if each.text.startswith("a reload would change:")]
    assert result.stdout == plan


def test_every_file_that_the_deploying_page_names_is_there() -> None:
    text = (ROOT / "docs" / "deploying.md").read_text()
    names = set(re.findall(r"\b(deploy/(?:[\w-]+/?)+(?:\.\w+)?)(?=[` ]|$)", text, re.MULTILINE))
    assert {"deploy/kubernetes", "deploy/systemd/sockgw.socket"} <= names
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_every_path_and_metric_of_the_admin_listener_is_explained(here: Path) -> None:
    text = (ROOT / "docs" / "reload.md").read_text()
    paths = set(re.findall(r'"(/[-/\w]+)"', _source("admin")))
    assert "/-/plan" in paths
    assert [path for path in paths if f" {path}` |" not in text] == []
    sources = _source("metrics") + _source("push_api")
    metrics = re.findall(r'(Counter|Gauge|Histogram)MetricFamily\(\s*"(\w+)"', sources)
    assert metrics
    names = [f"{name}_total" if kind == "Counter" else name for kind, name in metrics]
    assert [name for name in names if f"| `{name}` |" not in text] == []


def test_every_logger_is_known_and_explained() -> None:
    sources = [path for path in (ROOT / "gateway").rglob("*.py") if path.stem != "checks"]
    found = {each for path in sources for each in re.findall(r'"(sockgw\.\w+)"', path.read_text())}
    assert found - {"sockgw.plugins", "sockgw.client"} == {*LOGGERS} - {"sockgw"}
    text = (ROOT / "docs" / "log.md").read_text()
    assert [name for name in (*LOGGERS, *DIRECT, *PRINTED) if f"`{name}`" not in text] == []


def test_every_verb_with_json_is_in_the_table_of_its_fields() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    verbs = [
        name
        for name, verb in main.commands.items()
        if any("--format" in each.opts for each in verb.params)
    ]
    assert [
        verb for verb in verbs if f"| `{verb}` |" not in text and f"`{verb}` p" not in text
    ] == []


def test_every_key_that_waits_for_a_restart_is_named() -> None:
    text = (ROOT / "docs" / "reload.md").read_text()
    _, _, section = text.partition("## What waits for a restart")
    assert [key for key in RESTART_KEYS if f"`server.{key}`" not in section] == []


def test_every_key_of_the_schema_is_in_the_reference() -> None:
    schema = json.loads((ROOT / "schema" / "gateway.schema.json").read_text())
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [key for key in _keys(schema) if f"`{key}" not in text] == []


def test_every_limit_has_its_line_and_its_default() -> None:
    schema = json.loads((ROOT / "schema" / "gateway.schema.json").read_text())
    limits = schema["$defs"]["limits"]["properties"]
    text = (ROOT / "docs" / "limits.md").read_text()
    lines = re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE)
    depending = "two for each of `sockets`, and 1,000"
    assert lines == [
        (key, f"`{rule['default']}`" if "default" in rule else depending)
        for key, rule in limits.items()
    ]


def test_every_error_code_of_the_runtime_is_explained() -> None:
    source = (ROOT / "gateway" / "runtime").rglob("*.py")
    codes = {
        code for path in source for code in re.findall(r'Reject\(\s*"(\w+)"', path.read_text())
    }
    text = (ROOT / "docs" / "semantics.md").read_text()
    assert codes
    assert [code for code in codes if f"| `{code}` |" not in text] == []


async def test_the_example_of_gateway_testing_runs(here: Path) -> None:
    write(
        here,
        "namespaces: {/chat: {routes: {send: chat.send}}}",
        chat="""
            async def send(ctx, text):
                await ctx.namespace.emit("message", text)
                return {"ok": True}
        """,
    )
    assert gateway.testing.__doc__
    example = re.search(r"(?:^    .*\n|^\n)+", gateway.testing.__doc__, re.MULTILINE)
    assert example
    source = f"async def example():\n{textwrap.indent(textwrap.dedent(example[0]), '    ')}"
    await _run(f"from gateway.testing import TestGateway\n{source}")["example"]()


def _source(module: str) -> str:
    return (ROOT / "gateway" / "daemon" / f"{module}.py").read_text()


def _run(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "documented"}
    exec(compile(source, "documented", "exec", dont_inherit=True), names)
    return {name: value for name, value in names.items() if inspect.isfunction(value)}


def _parse(verb: str, arguments: list[str]) -> None:
    """Raises `click.UsageError` for what the verb does not take."""
    parent = click.Context(main, **main.context_settings)
    with main.commands[verb].make_context(verb, arguments, parent):
        pass


def _anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def _keys(schema: object) -> Iterator[str]:
    """The names of all properties, wherever they are defined."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from _keys(part)
