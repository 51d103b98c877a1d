"""Keeps the layers: who may import whom, and which library is whose."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gateway"

# What a layer may import besides itself. `public` is `gateway` itself: the plugins' world.
ALLOWED = {
    "errors": "",
    "limits": "",
    "headers": "errors",
    "users": "",
    "redaction": "",
    "api": "headers users errors",
    "base64json": "api",
    "public": "api errors",
    "config": "limits redaction errors",
    "loader": "limits errors",
    "runtime": "limits api errors",
    "builtin": "public",
    "backends": "config base64json api errors",
    "agreement": "config loader runtime builtin api errors",
    "pages": "config http limits errors",
    "snapshot": "pages config loader errors",
    "compiler": (
        "snapshot agreement pages http limits backends config loader runtime builtin api errors"
    ),
    "http": "",
    "engineio": "http limits errors",
    "socketio": "engineio http limits runtime api users errors",
    "cluster": "socketio engineio http limits runtime api users errors",
    "push": "cluster socketio base64json api errors",
    "testing": "socketio engineio http limits compiler config loader runtime api errors",
    "daemon": (
        "push cluster socketio engineio http limits snapshot compiler backends config loader "
        "runtime base64json redaction api errors"
    ),
    "client": "daemon socketio engineio config base64json api errors",
    "cli": "daemon client socketio engineio compiler backends config loader runtime api errors",
    "templates": "public testing",
    "__main__": "cli",
}

# The only ones that know a library; and event loops, though they are Python's own.
KNOWN_TO = {
    "aiohttp": "engineio.reader http.switching daemon client builtin._fetched backends.transport",
    "asyncio": (
        "builtin templates cli client http engineio runtime daemon testing socketio cluster push "
        "backends.backend backends.sessions backends.spool backends.telling"
    ),
    "click": "cli",
    "cryptography": "builtin._keys",
    "engineio": "socketio client",
    "hiredis": "cluster.redis_connection",
    "httptools": "http.parser",
    "jsonschema": "config.schema builtin._schema builtin._keywords",
    "jwt": "builtin._keys builtin._tokens",
    "msgspec": "loader socketio.msgpack cluster push",
    "nats": "cluster.nats cluster.nats_lease",
    "orjson": "base64json push socketio.json",
    "prometheus_client": "daemon",
    "prompt_toolkit": "cli",
    "pytest": "templates",
    "referencing": "builtin._schema",
    "socketio": "socketio client",
    "sqlite3": "backends.spool backends.spool_file",
    "typing_extensions": "api context",
    "uvloop": "runtime.tasks",
    "watchfiles": "daemon",
    "yaml": "config",
    "yarl": "backends.transport",
}

PYTHONS = sys.stdlib_module_names | {"annotationlib"}  # of 3.14

# The heart of Engine.IO is without I/O, and so is what the protocol is decoded by.
SANS_IO = [
    *("engineio.session", "engineio.packet", "engineio.frames", "engineio.outbox"),
    "engineio.reader",
    *("http.deadlines", "http.request", "http.parser"),
]


def modules() -> dict[str, Path]:
    """Every module of the package, by its name below `gateway`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__") or "public"] = path
    return {"public" if name == "__init__" else name: path for name, path in found.items()}


MODULES = modules()


def layer(module: str) -> str:
    if module == "context":  # what `api` has no room for
        return "api"
    if module.startswith("cli.templates."):
        return "templates"
    return module.partition(".")[0]


def imports(path: Path) -> Iterator[str]:
    """The full names a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            if node.module == "gateway":
                yield from (f"gateway.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def imported_layers(path: Path) -> set[str]:
    names = [name for name in imports(path) if name.split(".")[0] == "gateway"]
    below = [name.removeprefix("gateway").removeprefix(".") for name in names]
    layers = {layer(name) for name in MODULES}
    return {layer(name) if layer(name) in layers else "public" for name in below}


def taken_from(module: str) -> set[str]:
    """The modules of the package that a module imports, packages as their `__init__`."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gateway":
            source = (node.module or "").removeprefix("gateway").removeprefix(".")
            for alias in node.names:
                whole = f"{source}.{alias.name}".removeprefix(".")
                found.add(whole if whole in MODULES else source or "public")
    return found - {module}


@pytest.mark.parametrize("module", MODULES)
def test_a_layer_imports_only_those_it_may_know(module: str) -> None:
    own = layer(module)
    allowed = {own, *ALLOWED[own].split()}
    assert imported_layers(MODULES[module]) <= allowed


@pytest.mark.parametrize("module", MODULES)
def test_a_library_is_known_to_its_own_layer_only(module: str) -> None:
    libraries = {name.split(".")[0] for name in imports(MODULES[module])} - {"gateway"}
    strangers = {name for name in libraries if name not in PYTHONS}
    assert strangers <= KNOWN_TO.keys()
    for library in libraries & KNOWN_TO.keys():
        known_to = KNOWN_TO[library].split()
        assert layer(module) in known_to or module in known_to, f"{module} imports {library}"


def test_no_module_imports_itself_in_a_circle() -> None:
    """Not even under `TYPE_CHECKING`: what needs each other stands in one file."""
    graph = {name: taken_from(name) for name in MODULES}
    finished: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in finished:
            for each in sorted(graph[name]):
                visit(each, (*path, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("module", SANS_IO)
def test_the_protocol_does_no_io(module: str) -> None:
    names = {*imports(MODULES[module])} - {"aiohttp._websocket.helpers"}  # one function, on bytes
    used = {name.split(".")[0] for name in names}
    assert not used & {"aiohttp", "asyncio", "selectors", "socket", "threading", "time"}


@pytest.mark.parametrize("file", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda p: p.name)
def test_a_plugin_needs_nothing_but_gateway(file: Path) -> None:
    assert imported_layers(file) <= {"public"}


@pytest.mark.parametrize("order", ["sorted", "reversed"])
def test_modules_can_be_imported_in_any_order(order: str) -> None:
    """That there is no circle is another test's; what this one adds is that each can be run."""
    names = [f"gateway.{name}" for name in MODULES if name not in {"public", "__main__"}]
    code = f"import importlib\nfor name in {order}({names}): importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_plugins_import_brings_no_server_along() -> None:
    code = "import gateway, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {name.split(".")[0] for name in done.stdout.split()} & (
        KNOWN_TO.keys() - {"asyncio", "typing_extensions"}
    )
