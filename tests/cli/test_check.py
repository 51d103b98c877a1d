from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.invoke import invoke
from tests.gateway_files import write

BAD_CONFIG = 78
CHAT = "async def index(ctx): ...\n"


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with two mistakes, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "namespaces:\n  /:\n    routs: {}\n    order: 100%\n")
    return Path("gateway.yaml")


@pytest.fixture
def unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that names a plugin there is not."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "namespaces: {/: {routes: {chat: chat.indx}}}", chat=CHAT)
    return Path("gateway.yaml")


def test_a_good_file_is_told_so_in_one_line(tmp_path: Path) -> None:
    file = write(tmp_path, "namespaces: {/: {routes: {chat: chat.index}}, /b: }", chat=CHAT)
    result = invoke("check", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{file} is valid: 2 namespaces, 1 route\n"


def test_gateway_yaml_is_what_is_checked_when_nothing_is_named(unknown: Path) -> None:
    assert invoke("check").stderr == invoke("check", unknown).stderr


def test_problems_are_lines_on_stderr_and_their_number(broken: Path) -> None:
    result = invoke("check", broken)
    assert (result.exit_code, result.stdout) == (BAD_CONFIG, "")
    assert result.stderr.splitlines() == [
        "gateway.yaml:3:5: namespaces./.routs: unknown key 'routs', did you mean 'routes'?",
        "gateway.yaml:4:12: namespaces./.order: expected concurrent or serial, got '100%'",
        "2 problems",
    ]


def test_an_unknown_plugin_is_a_problem(unknown: Path) -> None:
    assert invoke("check", unknown).stderr.splitlines() == [
        (
            "gateway.yaml:1:33: namespaces./.routes.chat: "
            "no plugin 'chat.indx', did you mean 'chat.index'?"
        ),
        "1 problem",
    ]


def test_json_is_for_programs(broken: Path) -> None:
    result = invoke("check", broken, "--format", "json")
    assert (result.exit_code, result.stderr) == (BAD_CONFIG, "")
    first, _ = json.loads(result.stdout)["problems"]
    assert first == {
        "file": "gateway.yaml",
        "line": 3,
        "column": 5,
        "path": "namespaces./.routs",
        "message": "unknown key 'routs', did you mean 'routes'?",
    }


def test_json_of_a_good_file_is_an_empty_list(tmp_path: Path) -> None:
    result = invoke("check", write(tmp_path, "namespaces: {/: }"), "--format", "json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"problems": [], "warnings": []})


def test_github_gets_annotations(broken: Path) -> None:
    result = invoke("check", broken, "--format", "github")
    assert (result.exit_code, result.stderr) == (BAD_CONFIG, "")
    assert result.stdout.splitlines() == [
        (
            "::error file=gateway.yaml,line=3,col=5::"
            "namespaces./.routs: unknown key 'routs', did you mean 'routes'?"
        ),
        (
            "::error file=gateway.yaml,line=4,col=12::"
            "namespaces./.order: expected concurrent or serial, got '100%25'"
        ),
    ]


def test_a_file_that_is_not_there_is_a_problem_like_others(tmp_path: Path) -> None:
    result = invoke("check", tmp_path / "none.yaml")
    assert result.exit_code == BAD_CONFIG
    assert result.stderr.startswith(f"{tmp_path / 'none.yaml'}:1:1: ")


def test_colours_are_for_terminals_and_for_those_who_want_them(broken: Path) -> None:
    assert "\033[" in invoke("check", broken, color=True).stderr
    assert "\033[" not in invoke("check", broken, color=True, NO_COLOR="1").stderr
    assert "\033[" not in invoke("check", broken).stderr


MISNAMED = "namespaces: {/: {routes: {connection: chat.index}}}"
WARNING = (
    "gateway.yaml:1:27: warning: namespaces./.routes.connection: "
    "an event that clients send; the gateway's own is 'connect'"
)


@pytest.fixture
def doubtful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A valid file with one warning."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, MISNAMED, chat=CHAT)
    return Path("gateway.yaml")


def test_a_warning_is_told_and_refuses_nothing(doubtful: Path) -> None:
    result = invoke("check", doubtful)
    assert (result.exit_code, result.stderr) == (0, f"{WARNING}\n1 warning\n")
    assert result.stdout == "gateway.yaml is valid: 1 namespace, 1 route\n"


def test_a_warning_is_a_problem_of_those_who_are_strict(doubtful: Path) -> None:
    result = invoke("check", doubtful, "--strict")
    assert (result.exit_code, result.stdout) == (BAD_CONFIG, "")
    assert result.stderr == f"{WARNING}\n1 warning\n"


def test_warnings_stand_beside_problems(doubtful: Path) -> None:
    doubtful.write_text(f"{MISNAMED}\nserver: {{prot: 1}}\n")
    assert invoke("check", doubtful).stderr.splitlines() == [
        WARNING,
        "gateway.yaml:2:10: server.prot: unknown key 'prot', did you mean 'port'?",
        "1 problem, 1 warning",
    ]


def test_programs_get_warnings_apart(doubtful: Path) -> None:
    answer = json.loads(invoke("check", doubtful, "--format", "json").stdout)
    [warning] = answer["warnings"]
    assert (answer["problems"], warning["column"]) == ([], 27)
    assert invoke("check", doubtful, "--format", "github").stdout.startswith(
        "::warning file=gateway.yaml,line=1,col=27::namespaces./.routes.connection: an event"
    )


def test_a_syntax_error_shows_its_line(doubtful: Path) -> None:
    Path("plugins/chat.py").write_text("async def index(ctx):\n    return (1\n")
    problem = "plugins/chat.py:2:12: cannot import: SyntaxError: '(' was never closed"
    excerpt = "    return (1\n           ^"
    result = invoke("check", doubtful)
    assert result.stderr.partition("\n")[2].startswith(f"{problem}\n{excerpt}\n")
    [told] = json.loads(invoke("check", doubtful, "--format", "json").stdout)["problems"]
    assert told["excerpt"] == excerpt


@pytest.mark.parametrize(
    ("file", "there", "message"),
    [
        ("gateway.yaml", "", "no such file or directory; to create a project, write: sockgw init"),
        (
            "a/gateway.yaml",
            "",
            "no such file or directory; to create a project, write: sockgw init a",
        ),
        (
            "gatway.yaml",
            "gateway.yaml",
            "no such file or directory, did you mean 'gateway.yaml'?",
        ),
        ("demo", "demo/gateway.yaml", "is a directory; did you mean demo/gateway.yaml?"),
        ("demo", "demo/x", "is a directory; to create a project, write: sockgw init demo"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "run", "routes", "audit", "status", "plan", "reload"])
def test_a_file_that_is_not_there_is_told_with_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, file: str, there: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if there:
        (tmp_path / there).parent.mkdir(exist_ok=True)
        (tmp_path / there).write_text("namespaces: {/: }")
    result = invoke(verb, file, XDG_STATE_HOME=str(tmp_path))
    assert result.exit_code == BAD_CONFIG
    assert result.stderr.splitlines() == [
        f"{file}:1:1: cannot read {file!r}: {message}",
        "1 problem",
    ]


ONLINE = """\
from gateway import Context

WORDS = ["a", "b"]

online = set()


async def enter(ctx: Context) -> list[str]:
    online.add(ctx.socket.id)
    return WORDS
"""
OWN_ONLINE = (
    "plugins/chat.py:5:1: warning: each worker has its own 'online', which line 9 changes; share "
    "it in a database or a service with 'scope: node', or use rooms and socket.data"
)


@pytest.mark.parametrize(
    ("workers", "warned"),
    [("1", []), ("2", [OWN_ONLINE, "1 warning"]), ("auto", [OWN_ONLINE, "1 warning"])],
)
def test_globals_that_each_worker_has_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str, warned: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = (
        f"{{server: {{workers: {workers}}}, namespaces: {{/: {{routes: {{in: chat.enter}}}}}}}}"
    )
    write(tmp_path, config, chat=ONLINE)
    result = invoke("check")
    assert (result.exit_code, result.stderr.splitlines()) == (0, warned)
    assert result.stdout == "gateway.yaml is valid: 1 namespace, 1 route\n"
    assert invoke("check", "--strict").exit_code == (BAD_CONFIG if warned else 0)
