"""What a good gateway.yaml means: the config that comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from math import inf
from pathlib import Path

import pytest

from gateway.config import (
    GatewayConfig,
    LogConfig,
    NamespaceConfig,
    ServerConfig,
    StaticFolder,
    Use,
    load,
)
from gateway.errors import Place
from gateway.limits import Limits, NamespaceLimits
from tests.config.conftest import Load

GOOD = Path(__file__).parent / "good"


@pytest.fixture
def good(environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a file of `good/` by its name."""
    monkeypatch.chdir(GOOD)
    return lambda name: load(Path(name), environ)


def names(uses: tuple[Use, ...]) -> list[str]:
    return [use.name for use in uses]


def test_what_is_not_said_has_its_default(good: Load) -> None:
    config = good("defaults.yaml")
    assert config.server == ServerConfig()
    assert [folder for folder, _ in config.plugins] == [Path("plugins")]
    assert config.services == {}
    assert config.namespaces == {"/": NamespaceConfig()}


def test_a_key_with_nothing_behind_it_has_its_default(good: Load) -> None:
    config = good("empty-values.yaml")
    assert (config.server, config.limits) == (ServerConfig(), Limits())
    assert config.services == {}
    assert config.namespaces["/"] == config.namespaces["/news"] == NamespaceConfig()
    assert config.namespaces["/chat"].routes["chat"].use.options == {}


def test_the_example_of_the_documentation_loads(good: Load) -> None:
    config = good("example.yaml")
    assert config.server == ServerConfig()
    assert config.services["user"].name == "user.UserService"
    assert config.services["store"].options == {"url": "redis://127.0.0.1:6379/0"}
    chat = config.namespaces["/chat"]
    assert names(chat.connection_middleware) == ["auth"]
    assert {event: route.use.name for event, route in chat.routes.items()} == {
        "chat": "chat.index",
        "build": "build.run",
        "disconnect": "chat.left",
        "*": "fallback.any",
    }
    assert chat.routes["build"].timeout == 1200.0
    assert chat.routes["build"].on_disconnect == "cancel"


def test_every_key_of_the_server_is_read(good: Load) -> None:
    server = good("everything.yaml").server
    assert names(server.handshake_middleware) == ["gate", "limit.PerAddress"]
    assert server.handshake_middleware[1].options == {"handshakes": 5}
    assert server.handshake_middleware[0].at.path == "server.handshake_middleware[0]"
    assert server == ServerConfig(
        host="::",
        port=0,
        path="/realtime/",
        transports=("websocket",),
        cors_origins=("https://example.com", "http://localhost:5173", "capacitor://localhost"),
        handshake_middleware=server.handshake_middleware,
        ping_interval=0.5,
        ping_timeout=2.5,
        max_payload=64_000,
        serializer="msgpack",
        compression=True,
        stop_timeout=45.0,
        static=(
            StaticFolder("/", Path("web"), server.static[0].at),
            StaticFolder("/docs/", Path("../site"), server.static[1].at),
        ),
    )
    assert server.static[1].at.path == "server.static.docs"
    assert server.static[1].at.place == Place("everything.yaml", 15, 26)


def test_every_key_of_the_log_is_read(good: Load) -> None:
    levels = {"/chat": "debug", "sockgw.reload": "error", "shop": "info"}
    assert good("everything.yaml").log == LogConfig("json", "warning", levels)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["log:", "log: {levels: }"])
def test_a_log_of_nothing_is_the_default(load_text: Load, text: str) -> None:
    assert load_text(f"namespaces: {{/: }}\n{text}\n").log == LogConfig()


def test_the_nearest_level_counts_and_a_namespace_first() -> None:
    log = LogConfig(level="warning", levels={"/chat": "debug", "sockgw.reload": "error"})
    assert log.level_of("sockgw.reload.plan") == "error"
    assert log.level_of("sockgw.reloads") == "warning"
    assert log.level_of("sockgw.plugin", "/chat") == "debug"
    assert log.level_of("sockgw.reload", "/news") == "error"


def test_every_key_of_the_limits_is_read(good: Load) -> None:
    assert good("everything.yaml").limits == Limits(
        sockets=1,
        sockets_per_address=2,
        sockets_per_user=8,
        connections_per_second=inf,
        request_timeout=1.0,
        join_timeout=2.0,
        upgrade_timeout=3.0,
        auth_size=1_000,
        refusals=7,
        attachments=5,
        depth=30,
        packets_per_second=40,
        bytes_per_second=64_000,
        handlers=50,
        handlers_per_socket=inf,
        rooms_per_socket=60,
        answer_buffer=5_000_000,
        send_buffer=inf,
        send_packets=70,
        on_slow="drop_oldest",
        static_size=8_000_000,
        static_files=90,
        overload_after=inf,
    )


def test_limits_of_a_namespace_are_the_gateways_where_it_says_nothing(good: Load) -> None:
    namespaces = good("everything.yaml").namespaces
    assert namespaces["/chat"].limits == NamespaceLimits(3, 7, 4, 5, inf, 6)
    assert namespaces["/news"].limits == NamespaceLimits(inf, 8, inf, inf, 40, 60)


def test_every_key_of_a_namespace_is_read(good: Load) -> None:
    chat = good("everything.yaml").namespaces["/chat"]
    assert names(chat.connection_middleware) == ["auth", "limit.PerSocket"]
    assert chat.connection_middleware[1].options == {"packets": 20}
    assert names(chat.packet_middleware) == ["filter"]
    assert (chat.connect_timeout, chat.packet_timeout, chat.order) == (3600.0, 1.5, "serial")
    assert chat.user == "data.claims.sub"


def test_every_key_of_a_route_is_read(good: Load) -> None:
    route = good("everything.yaml").namespaces["/chat"].routes["build"]
    assert (route.use.name, route.use.options) == ("build.run", {"jobs": 2})
    assert (route.timeout, route.on_disconnect, route.order) == (1200.0, "cancel", "serial")


def test_every_part_of_a_schema_knows_its_place(good: Load) -> None:
    schema = good("everything.yaml").namespaces["/chat"].routes["message"].schema
    assert schema is not None
    assert schema.written == [{"type": "string"}, {"enum": ["a", "b"]}]
    whole, part = schema.at[()], schema.at[1, "enum", 0]
    path = "namespaces.chat.routes.message.schema"
    assert (whole.path, whole.place) == (path, Place("everything.yaml", 54, 47))
    assert (part.path, part.place) == (f"{path}[1].enum[0]", Place("everything.yaml", 54, 72))


def test_plugin_folders_stand_beside_the_main_file(good: Load) -> None:
    assert [folder for folder, _ in good("everything.yaml").plugins] == [
        Path("plugins"),
        Path("../shared/plugins"),
    ]
    assert [folder for folder, _ in good("include/gateway.yaml").plugins] == [Path("include/more")]


@pytest.mark.parametrize(
    ("written", "path"),
    [("realtime", "/realtime/"), ("/a/b", "/a/b/"), ("a/", "/a/"), ("/", "/")],
)
def test_a_path_stands_between_slashes(load_text: Load, written: str, path: str) -> None:
    assert load_text(f"namespaces: {{/: }}\nserver: {{path: {written}}}").server.path == path


def test_proxies_are_written_in_one_way(load_text: Load) -> None:
    listed = '[127.0.0.1, 10.0.0.0/8, "FD00:0::/8", "::1/128", unix]'
    server = load_text(
        f"namespaces: {{/: }}\nserver: {{proxy_protocol: true, trusted_proxies: {listed}}}"
    ).server
    assert server.trusted_proxies == ("127.0.0.1", "10.0.0.0/8", "fd00::/8", "::1", "unix")
    assert server.proxy_protocol


def test_cors_origins_of_everywhere_are_a_star(load_text: Load) -> None:
    config = load_text("namespaces: {/: }\nserver: {cors_origins: '*'}")
    assert config.server.cors_origins == "*"


def test_a_namespace_gets_its_slash(load_text: Load) -> None:
    assert list(load_text("namespaces: {chat: , /news: , a/b: }").namespaces) == [
        "/chat",
        "/news",
        "/a/b",
    ]


def test_a_name_knows_its_place(good: Load) -> None:
    config = good("example.yaml")
    short, long = config.services["user"].at, config.services["store"].at
    assert (short.path, short.place) == ("services.user", Place("example.yaml", 13, 9))
    assert (long.path, long.place) == ("services.store.use", Place("example.yaml", 14, 16))
    listed = config.namespaces["/"].packet_middleware[0].at
    assert listed.path == "namespaces./.packet_middleware[0]"
    assert listed.place == Place("example.yaml", 18, 25)


def test_an_option_knows_where_its_key_stands(good: Load) -> None:
    at = good("example.yaml").services["store"].option_at["url"]
    assert (at.path, at.place) == ("services.store.with.url", Place("example.yaml", 14, 36))


def test_a_folder_knows_its_place(good: Load) -> None:
    [(_, first), (_, second)] = good("everything.yaml").plugins
    assert (first.path, first.place) == ("plugins[0]", Place("everything.yaml", 40, 11))
    assert (second.path, second.place) == ("plugins[1]", Place("everything.yaml", 40, 20))
    [(_, default)] = good("defaults.yaml").plugins
    assert (default.path, default.place) == ("plugins", Place("defaults.yaml", 1, 1))


def test_yaml_1_1_traps_are_no_traps(good: Load) -> None:
    config = good("traps.yaml")
    assert config.services["values"].options == {
        "on": "on",
        "yes": "yes",
        "no": "No",
        "y": "y",
        "true": True,
        "null": None,
        "~": None,
        "nothing": None,
        "12:30": "12:30:45",
        "2024-01-31": "2024-01-31",
        "1.10": 1.1,
        "007": 7,
        "octal": 15,
        "hexadecimal": 255,
        "binary": "0b11",
        "grouped": "1_000",
        "exponent": 1000.0,
        "point": 0.5,
        "infinite": float("-inf"),
        "version": "1.2.3",
        "quoted": "42",
        "single": "true",
        "block": "7\n",
        "<": "=",
        "many": 123456789012345678901234567890,
    }
    assert list(config.namespaces["/"].routes) == [
        "on",
        "off",
        "null",
        "~",
        "12:30",
        "1",
        "chat.send",
        "chat send",
    ]


def test_variables_fill_in_values_and_nothing_else(good: Load) -> None:
    config = good("variables.yaml")
    server = config.server
    assert (server.host, server.port, server.ping_interval) == ("localhost", 7001, 30.0)
    assert config.services["values"].name == "values.Values"
    assert config.services["values"].options == {
        "number": 7001,
        "text": "7001",
        "single": "7001",
        "boolean": True,
        "nothing": None,
        "empty": "",
        "empty_default": "",
        "default_for_empty": "full",
        "two": "soon-7001",
        "list": "[auth, filter]",
        "mapping": "a: b",
        "escaped": "${PORT}",
        "escaped_twice": "$${PORT}",
        "dollar": "$PORT costs 5$ {PORT}",
        "required": "soon",
        "block": "soon\n",
        "listed": ["soon", "7001"],
        "${PORT}": "a key stays as it is",
    }


def test_aliases_and_merge_keys_repeat_what_they_name(good: Load) -> None:
    namespaces = good("anchors.yaml").namespaces
    assert namespaces["/copy"].packet_timeout == 5.0
    assert names(namespaces["/copy"].connection_middleware) == ["auth"]
    merged, two = namespaces["/merged"], namespaces["/two"]
    assert merged.packet_timeout == 10.0
    assert names(merged.packet_middleware) == names(merged.connection_middleware) == ["auth"]
    assert (two.order, two.packet_timeout) == ("serial", 1.0)
    assert list(two.routes) == ["news", "chat"]


def test_an_alias_shares_no_option_values(good: Load) -> None:
    namespaces = good("anchors.yaml").namespaces
    one = namespaces["/"].routes["chat"].use.options["words"]
    other = namespaces["/copy"].routes["chat"].use.options["words"]
    assert one == other
    assert one is not other


def test_a_file_of_windows_is_read_as_any_other(good: Load) -> None:
    assert good("windows.yaml").namespaces == {"/": NamespaceConfig(order="serial")}


def test_included_files_say_more_of_the_same(good: Load) -> None:
    config = good("include/gateway.yaml")
    folder = Path("include")
    assert tuple(config.files) == (
        folder / "gateway.yaml",
        folder / "services.yaml",
        folder / "conf.d/a.yaml",
        folder / "conf.d/b.yaml",
        folder / "conf.d/more/c.yaml",
    )
    assert (config.server.host, config.server.port) == ("0.0.0.0", 7002)
    assert config.services["user"].at.place == Place("include/services.yaml", 3, 9)
    assert list(config.namespaces) == ["/", "/more"]
    assert config.namespaces["/"].order == "serial"
    assert list(config.namespaces["/"].routes) == ["chat", "news"]


def mappings(config: GatewayConfig) -> list[Mapping[str, object]]:
    use = config.services["store"]
    routes = [namespace.routes for namespace in config.namespaces.values()]
    return [config.services, config.namespaces, use.options, use.option_at, *routes]


def test_a_config_is_frozen(good: Load) -> None:
    config = good("everything.yaml")
    for mapping in mappings(config):
        with pytest.raises(TypeError):
            mapping["x"] = 1  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        config.server.port = 1  # type: ignore[misc]


def test_the_values_of_options_are_plain(good: Load) -> None:
    """A plugin is called with them, and its author expects lists and dicts."""
    pool = good("everything.yaml").services["store"].options["pool"]
    assert pool == {"size": 4, "names": ["a", "b"]}
    assert type(pool) is dict
    assert type(pool["names"]) is list
