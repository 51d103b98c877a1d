"""The plan: each line says what changes, in the words of the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from gateway.compiler import Build, load
from gateway.config.model import ServerConfig
from gateway.daemon.plan import RESTART_KEYS, Plan, compare
from gateway.engineio.settings import Settings
from gateway.limits import Limits, NamespaceLimits
from tests.certificates import TLS
from tests.gateway_files import write

CONFIG = """\
namespaces:
  /:
    connection_middleware: [limit.door]
    packet_middleware: [{use: limit.Limit, with: {rate: 3}}]
    routes: {say: chat.say, tell: {use: chat.Tell, with: {secret: hush}}}
services:
  store: {use: store.Store, with: {url: secret}}
"""
PLUGINS = {
    "chat": """
        async def say(ctx): ...
        async def shout(ctx): ...
        class Tell:
            def __init__(self, secret: str): ...
            async def __call__(self, ctx): ...
    """,
    "limit": """
        async def door(ctx, next): await next()
        class Limit:
            def __init__(self, rate: int): ...
            async def __call__(self, ctx, next): await next()
    """,
    "store": """
        from . import _url
        class Store:
            def __init__(self, url: str): ...
        class Other(Store): ...
    """,
    "gate": """
        class Gate:
            def __init__(self, secret: str): ...
            async def __call__(self, ctx, next): await next()
    """,
    "_url": "",
}

Edited = Callable[..., Plan]


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    """What a reload of `CONFIG` with a word replaced, or with other plugins, would change."""

    def edited(old: str = "", new: str = "", **plugins: str) -> Plan:
        assert old in CONFIG
        before = served(tmp_path, CONFIG)
        after = served(tmp_path, CONFIG.replace(old, new) if old else CONFIG + new, **plugins)
        return compare(before, after, before.config.server)

    return edited


def served(folder: Path, config: str, **plugins: str) -> Build:
    return load(write(folder, config, **{**PLUGINS, **plugins}), {})


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("say: chat.say", "say: chat.shout", ["~ / route 'say': chat.say -> chat.shout"]),
        ("hush", "hash", ["~ / route 'tell': options"]),
        (
            "say: chat.say",
            (
                "say: {use: chat.say, timeout: 20m, on_disconnect: cancel, order: serial,"
                " max_values: 9}"
            ),
            [
                "~ / route 'say' timeout: unset -> 20m",
                "~ / route 'say' on_disconnect: continue -> cancel",
                "~ / route 'say' order: unset -> serial",
                "~ / route 'say' max_values: 5000 -> 9",
            ],
        ),
        ("say: chat.say", "say: {use: chat.say, schema: []}", ["~ / route 'say' schema"]),
        (
            "say: chat.say",
            "say: {use: chat.say, middleware: [{use: limit.Limit, with: {rate: 1}}, limit.door]}",
            ["~ / route 'say' middleware: [] -> [limit.Limit, limit.door]"],
        ),
        (
            "with: {secret: hush}",
            "with: {secret: hush}, middleware: [limit.door]",
            ["~ / route 'tell' middleware: [] -> [limit.door]"],
        ),
        ("say: chat.say, ", "", ["- / route 'say'"]),
        ("say: chat.say", "say: chat.say, '*': chat.say", ["+ / route '*'"]),
        ("rate: 3", "rate: 4", ["~ / packet_middleware: options"]),
        (
            "[limit.door]",
            "[limit.door, limit.door]",
            ["~ / connection_middleware: [limit.door] -> [limit.door, limit.door]"],
        ),
        (
            "    routes:",
            "    connect_timeout: 1500ms\n    packet_timeout: 90s\n    user: data.id\n    routes:",
            [
                "~ / connect_timeout: 20s -> 1500ms",
                "~ / packet_timeout: 1m -> 90s",
                "~ / user: unset -> data.id",
            ],
        ),
        (
            "    routes:",
            "    limits: {handlers: 5, rooms_per_socket: unlimited}\n    routes:",
            [
                "~ / limits.handlers: unlimited -> 5",
                "~ / limits.rooms_per_socket: 10000 -> unlimited",
            ],
        ),
        ("store.Store", "store.Other", ["~ service 'store': store.Store -> store.Other"]),
        ("url: secret", "url: other", ["~ service 'store': options"]),
        (
            "services:",
            "services:\n  more: {use: store.Store, with: {url: a}}",
            ["+ service 'more'"],
        ),
        ("namespaces:", "namespaces:\n  /news:", ["+ /news"]),
        ("namespaces:\n  /:", "namespaces:\n  /news:", ["- /", "+ /news"]),
    ],
)
def test_change_of_the_file_is_told(edited: Edited, old: str, new: str, changes: list[str]) -> None:
    assert edited(old, new).changes == tuple(changes)


def test_change_of_the_options_of_handshake_middleware_is_told(tmp_path: Path) -> None:
    server = "server: {handshake_middleware: [{use: gate.Gate, with: {secret: %s}}]}\n"
    before = served(tmp_path, CONFIG + server % "hush")
    moved = served(tmp_path, "\n" + CONFIG + server % "hush")
    after = served(tmp_path, CONFIG + server % "hash")
    assert compare(before, moved, before.config.server).changes == ()
    told = compare(before, after, before.config.server).changes
    assert told == ("~ server.handshake_middleware: options",)


@pytest.mark.parametrize(
    ("block", "changes"),
    [
        ("server: {compression: true}", ["compression: false -> true"]),
        ("server: {stop_timeout: 1m}", ["stop_timeout: 30s -> 1m"]),
        ("server: {transports: [websocket]}", ["transports: [polling, websocket] -> [websocket]"]),
        ("server: {cors_origins: [http://a]}", ["cors_origins: same-origin -> [http://a]"]),
        (
            "server: {handshake_middleware: [{use: gate.Gate, with: {secret: hush}}]}",
            ["handshake_middleware: [] -> [gate.Gate]"],
        ),
        ("server: {host: '::', port: 80}", ["host: 127.0.0.1 -> ::", "port: 7001 -> 80"]),
        (
            "limits: {sockets: 100, sockets_per_address: 5, send_packets: unlimited}",
            [
                "sockets: 50000 -> 100",
                "sockets_per_address: unlimited -> 5",
                "send_packets: 10000 -> unlimited",
            ],
        ),
        (
            "limits: {on_slow: drop_oldest, overload_after: 500ms}",
            ["on_slow: disconnect -> drop_oldest", "overload_after: 1s -> 500ms"],
        ),
        ("limits: {packets_per_second: 7}", ["packets_per_second: 10000 -> 7"]),
        ("reload: {quiet: 0.25, drain: 2h}", ["quiet: 100ms -> 250ms", "drain: 30s -> 2h"]),
    ],
)
def test_change_of_a_block_is_told(edited: Edited, block: str, changes: list[str]) -> None:
    name = block.partition(":")[0]
    assert edited("", block).changes == tuple(f"~ {name}.{change}" for change in changes)


def test_certificate_is_told_as_it_is_written(edited: Edited, tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    shutil.copy(TLS / "one.pem", tmp_path / "tls/a.pem")
    plan = edited("", f"server: {{tls: {{cert: tls/a.pem, key: {TLS}/one.key}}}}")
    assert plan.changes == (f"~ server.tls: unset -> tls/a.pem, {TLS}/one.key",)


def test_admin_block_that_comes_or_goes_is_a_line(edited: Edited, tmp_path: Path) -> None:
    assert edited("", "admin: {port: 7003}").changes == ("+ admin",)
    before = served(tmp_path, CONFIG + "admin:")
    after = served(tmp_path, CONFIG)
    assert compare(before, after, before.config.server).changes == ("- admin",)


def test_other_options_of_middleware_of_a_route_are_told(tmp_path: Path) -> None:
    written = "namespaces: {/: {routes: {say: {use: chat.say, middleware: [%s]}}}}"
    before, after = (
        served(tmp_path, written % f"{{use: limit.Limit, with: {{rate: {rate}}}}}")
        for rate in (1, 2)
    )
    changed = compare(before, after, before.config.server).changes
    assert changed == ("~ / route 'say' middleware: options",)


def test_change_of_a_schema_is_told_and_its_move_is_not(tmp_path: Path) -> None:
    written = "namespaces: {/: {routes: {say: {use: chat.say, schema: [{type: string}]}}}}\n"
    old = served(tmp_path, written)
    moved, changed, gone = (
        compare(old, served(tmp_path, text), old.config.server).changes
        for text in (
            f"\n{written}",
            written.replace("string", "integer"),
            written.replace(", schema: [{type: string}]", ""),
        )
    )
    assert moved == ()
    assert changed == gone == ("~ / route 'say' schema",)


def test_service_whose_code_changes_far_away_is_told_beside_the_file(edited: Edited) -> None:
    changes = edited(_url="URL = 1\n").changes
    assert changes == ("~ service 'store': code", "~ plugins/_url.py")


def test_plugin_files_are_named_as_the_file_names_their_folder(tmp_path: Path) -> None:
    top = tmp_path / "etc"
    others = [tmp_path / "near/shared", tmp_path / "far/others"]
    listed = f"plugins: [plugins, ../near/shared, {others[1]}]\n"
    before = served(top, CONFIG)
    for folder in others:
        (folder / "sub").mkdir(parents=True)
        (folder / "sub/one.py").write_text("")
    after = served(top, CONFIG + listed)
    lines = compare(before, after, before.config.server).changes
    assert lines == ("+ ../near/shared/sub/one.py", f"+ {others[1]}/sub/one.py")


def test_relative_file_and_absolute_one_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.pem", "one.key"):
        shutil.copy(TLS / name, name)
    blocks = "admin: {socket: a.sock}\nserver: {tls: {cert: one.pem, key: one.key}}\n"
    absolute = served(tmp_path, CONFIG + blocks)
    relative = load(Path("gateway.yaml"), {})
    for before, after in ((absolute, relative), (relative, absolute)):
        assert compare(before, after, before.config.server) == Plan()


@pytest.mark.parametrize("name", ["gateway.yaml", "next.yaml"])
def test_paths_are_the_same_however_the_file_around_them_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    top = tmp_path / "top"
    (top / "web").mkdir(parents=True)
    for each in ("web/index.html", "one.pem", "one.key"):
        shutil.copy(TLS / each if each.startswith("one") else __file__, top / each)
    tls = "tls: {cert: one.pem, key: one.key}"
    blocks = f"admin: {{socket: a.sock}}\nserver: {{static: {{/: web}}, {tls}}}\n"
    served(top, CONFIG + blocks)
    (top / "next.yaml").write_text("# a line more\n" + CONFIG + blocks)
    (tmp_path / "link").symlink_to(top)
    monkeypatch.chdir(top)
    named = [Path(), top, tmp_path / "link", Path("../top"), top / "web/.."]
    before = load(Path("gateway.yaml"), {})
    for after in (load(folder / name, {}) for folder in named):
        assert compare(before, after, before.config.server) == Plan()
        assert compare(after, before, before.config.server) == Plan()


def test_every_server_key_applies_live_or_waits_for_a_restart() -> None:
    live = {
        "host",
        "port",
        "socket",
        "socket_mode",
        "tls",
        "proxy_protocol",
        "handshake_middleware",
        "stop_timeout",
        "static",
        *(each.name for each in fields(Settings)),
    }
    keys = {each.name for each in fields(ServerConfig)}
    assert live.isdisjoint(RESTART_KEYS)
    assert keys == (live & keys) | set(RESTART_KEYS)


def test_limits_that_change_back_to_the_gateways_are_told(tmp_path: Path) -> None:
    ours = "limits: {rooms_per_socket: 9}\nnamespaces: {/: {limits: {rooms_per_socket: 3}}}\n"
    old = served(tmp_path, ours)
    new = served(tmp_path, "limits: {rooms_per_socket: 8}\nnamespaces: {/: }\n")
    assert compare(old, new, old.config.server).changes == (
        "~ limits.rooms_per_socket: 9 -> 8",
        "~ / limits.rooms_per_socket: 3 -> 8",
    )


@pytest.mark.parametrize("block", [Limits, NamespaceLimits])
def test_every_limit_applies_at_once(edited: Edited, block: type) -> None:
    others = {"on_slow": "drop_newest"}
    written = ", ".join(f"{each.name}: {others.get(each.name, 9)}" for each in fields(block))
    if block is Limits:
        plan = edited("", f"limits: {{{written}}}")
    else:
        plan = edited("    routes:", f"    limits: {{{written}}}\n    routes:")
    assert (len(plan.changes), plan.pending) == (len(fields(block)), ())


def test_file_elsewhere_is_told_apart_by_whole_paths(tmp_path: Path) -> None:
    config = CONFIG + "admin: {socket: a.sock}\n"
    before, after = served(tmp_path / "a", config), served(tmp_path / "b", config)
    lines = compare(before, after, before.config.server).changes
    assert lines == (f"~ admin.socket: {tmp_path}/a/a.sock -> a.sock",)


def test_values_from_references_are_not_told(tmp_path: Path) -> None:
    before = (
        "server: {ping_timeout: ${T}}\nnamespaces: {chat: {packet_timeout: ${T}, routes: {}}}\n"
    )
    after = "server: {ping_timeout: 3s}\nnamespaces: {chat: {packet_timeout: 4s, routes: {}}}\n"
    old = load(write(tmp_path, before.replace("${T}", '"${T}"')), {"T": "9s"})
    new = load(write(tmp_path, after), {})
    assert compare(old, new, old.config.server).changes == (
        "~ server.ping_timeout: *** -> 3s",
        "~ /chat packet_timeout: *** -> 4s",
    )


def test_limit_of_a_namespace_from_a_reference_of_the_gateway_is_not_told(tmp_path: Path) -> None:
    before = "limits:\n  rooms_per_socket: 9\nnamespaces: {/: {limits: {rooms_per_socket: 3}}}\n"
    old = load(write(tmp_path, before), {})
    after = "limits:\n  rooms_per_socket: ${N}\nnamespaces: {/: }\n"
    new = load(write(tmp_path, after), {"N": "7"})
    assert compare(old, new, old.config.server).changes == (
        "~ limits.rooms_per_socket: 9 -> ***",
        "~ / limits.rooms_per_socket: 3 -> ***",
    )
