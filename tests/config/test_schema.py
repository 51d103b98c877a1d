"""The schema is the source of truth: of the keys, their defaults, and what editors show."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.config import (
    AdminConfig,
    BackendConfig,
    LogConfig,
    NamespaceConfig,
    ReloadConfig,
    RouteConfig,
    ServerConfig,
    SessionsConfig,
    SpoolConfig,
    TlsConfig,
    Use,
)
from gateway.config.model import (
    AcceptConfig,
    BusTlsConfig,
    ClusterConfig,
    GatewayConfig,
    NatsConfig,
    SentinelConfig,
)
from gateway.config.schema import CHECKOUT, INSTALLED, schema_text
from gateway.limits import Limits, NamespaceLimits
from gateway.runtime.blueprint import GATEWAY_EVENTS
from schema.generate import render
from tests.config.conftest import Load

SCHEMA: dict[str, Any] = json.loads(schema_text())
DEFS: dict[str, Any] = SCHEMA["$defs"]


def rules(rule: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every part of the schema, by a path that says where."""
    yield path, rule
    for group in ("properties", "$defs"):
        for name, inner in rule.get(group, {}).items():
            yield from rules(inner, f"{path}/{name}")
    for name in ("items", "additionalProperties", "propertyNames"):
        if isinstance(rule.get(name), dict):
            yield from rules(rule[name], f"{path}/{name}")


RULES = dict(rules(SCHEMA))
KEYS = {
    f"{path}/{name}": {**DEFS.get(key.get("$ref", "").removeprefix("#/$defs/"), {}), **key}
    for path, rule in RULES.items()
    for name, key in rule.get("properties", {}).items()
}
KEYS = {path: rule for path, rule in KEYS.items() if not path.startswith("/builtin.")}
NAMED = {**KEYS, **{f"/{name}": rule for name, rule in DEFS.items()}}
NAMED = {path: rule for path, rule in NAMED.items() if not path.startswith("/builtin.")}


def names(kind: type, *but: str) -> set[str]:
    return {field.name for field in fields(kind)} - {*but}  # type: ignore[arg-type]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_its_end_is_what_the_built_ins_and_the_version_say() -> None:
    assert render(schema_text()) == schema_text(), "run `python schema/generate.py`"


def test_editors_know_the_events_of_the_gateway() -> None:
    routes = DEFS["namespace"]["properties"]["routes"]["properties"]
    assert routes.keys() == GATEWAY_EVENTS | {"*"}


def test_the_schema_is_shipped_where_an_installation_looks_for_it() -> None:
    pyproject = tomllib.loads((CHECKOUT.parents[1] / "pyproject.toml").read_text())
    wheel = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]
    root = CHECKOUT.parents[1]
    shipped = {root / source: root / target for source, target in wheel["force-include"].items()}
    assert shipped[CHECKOUT] == INSTALLED
    assert schema_text() == CHECKOUT.read_text("utf-8")


def test_the_config_has_the_keys_of_the_schema() -> None:
    properties = {name: set(rule.get("properties", ())) for name, rule in DEFS.items()}
    assert names(ServerConfig) == properties["server"]
    assert names(TlsConfig, "content") == properties["tls"]
    assert names(ReloadConfig) == properties["reload"]
    assert names(Limits) == properties["limits"]
    assert names(AdminConfig) == properties["admin"]
    assert names(LogConfig) == properties["log"]
    assert names(ClusterConfig) == properties["cluster"]
    assert names(BusTlsConfig) == properties["cluster.tls"]
    assert names(NatsConfig, "urls", "is_tls") | {"url"} == properties["cluster.nats"]
    assert names(SentinelConfig) == properties["cluster.sentinel"]
    assert names(AcceptConfig, "source") | {"from"} == properties["cluster.accept"]
    headers = {"forward", "set"}
    assert names(BackendConfig, "socket", *headers) | {"headers"} == properties["backend"]
    assert headers == properties["backend_headers"]
    assert names(SessionsConfig) == properties["backend_sessions"]
    assert names(SpoolConfig, "at") == properties["spool"]
    assert names(NamespaceConfig, "is_whole") == properties["namespace"]
    assert names(NamespaceLimits) == properties["namespace_limits"]
    assert names(RouteConfig, "use") == properties["route"] - {"use", "with"}
    use = names(Use, "name", "options", "at", "option_at", "is_whole") | {"use", "with"}
    assert use == properties["service"]
    assert (
        use - {"scope"}
        == properties["handshake_middleware"]
        == properties["connection_middleware"]
        == properties["packet_middleware"]
    )
    of_the_file = names(
        *(GatewayConfig, "file", "at", "files", "globs", "digest", "secrets", "warnings"),
        *("backend_names", "fingerprint"),
    )
    assert of_the_file == SCHEMA["properties"].keys() - {"include"}


def defaults(rule: Mapping[str, Any]) -> dict[str, Any]:
    """What a block says when it says all its defaults."""
    return {
        key: value["default"] for key, value in rule["properties"].items() if "default" in value
    }


def test_the_config_has_the_defaults_of_the_schema(load_text: Load) -> None:
    route = {"use": "chat.index"}
    silent = load_text(json.dumps({"namespaces": {"/": {"routes": {"chat": route}}}}))
    explicit = load_text(
        json.dumps(
            {
                **defaults(SCHEMA),
                "server": defaults(DEFS["server"]),
                "reload": defaults(DEFS["reload"]),
                "limits": defaults(DEFS["limits"]),
                "admin": defaults(DEFS["admin"]),
                "log": defaults(DEFS["log"]),
                "backends": {
                    "shop": {
                        "url": "http://shop",
                        **defaults(DEFS["backend"]),
                        "sessions": {
                            **defaults(DEFS["backend_sessions"]),
                            "spool": defaults(DEFS["spool"]),
                        },
                    }
                },
                "namespaces": {
                    "/": {
                        **defaults(DEFS["namespace"]),
                        "limits": defaults(DEFS["namespace_limits"]),
                        "routes": {"chat": {**route, **defaults(DEFS["route"])}},
                    }
                },
            }
        )
    )
    assert explicit.server == silent.server == ServerConfig()
    assert explicit.reload == silent.reload == ReloadConfig()
    assert explicit.limits == silent.limits == Limits()
    assert explicit.log == silent.log == LogConfig()
    assert (explicit.admin, silent.admin) == (AdminConfig(), None)
    assert explicit.backends == {"shop": BackendConfig("http://shop", sessions=SessionsConfig())}
    assert silent.backends == {}
    assert explicit.services == silent.services
    assert [folder for folder, _ in explicit.plugins] == [folder for folder, _ in silent.plugins]
    one, other = explicit.namespaces["/"], silent.namespaces["/"]
    for name in names(NamespaceConfig, "routes"):
        assert getattr(one, name) == getattr(other, name)
    for name in names(RouteConfig, "use"):
        assert getattr(one.routes["chat"], name) == getattr(other.routes["chat"], name)


@pytest.mark.parametrize("path", NAMED)
def test_a_key_is_described(path: str) -> None:
    description = NAMED[path]["description"]
    assert description[0].isupper() or description[0] == "`"
    assert description.endswith(".")


@pytest.mark.parametrize("path", [path for path in NAMED if path != "/"])
def test_a_key_has_examples_that_are_right(path: str) -> None:
    rule = NAMED[path]
    validator = Draft202012Validator({**rule, "$defs": DEFS})
    examples = [*rule.get("examples", []), *([rule["default"]] if "default" in rule else [])]
    assert examples or "enum" in rule
    assert [example for example in examples if not validator.is_valid(example)] == []


def test_every_default_but_an_optional_one_is_told() -> None:
    """A route's are the namespace's, a namespace's limits the gateway's; others are required.

    Connections depend on the sockets, and the format of the log on the command line.
    """
    without = {path for path, rule in KEYS.items() if "default" not in rule}
    assert without == {
        "/namespaces",
        "/admin",
        "/admin/socket",
        "/cluster",
        "/cluster/redis",
        "/cluster/nats",
        *(f"/cluster.nats/{key}" for key in ("url", "username", "password", "token", "tls")),
        "/cluster.redis/url",
        "/cluster.redis/username",
        "/cluster.redis/password",
        "/cluster.redis/tls",
        "/cluster.redis/sentinel",
        "/cluster.sentinel/master",
        "/cluster.sentinel/hosts",
        "/cluster.sentinel/username",
        "/cluster.sentinel/password",
        "/cluster.tls/ca",
        "/cluster.tls/cert",
        "/cluster.tls/key",
        "/cluster/listen",
        *(f"/cluster.listen/{key}" for key in ("advertise", "secret", "tls")),
        *(f"/cluster.listen.tls/{key}" for key in ("cert", "key", "ca")),
        "/cluster.accept/from",
        "/cluster.accept/namespaces",
        "/cluster.accept/operations",
        "/admin/token",
        "/api",
        *(f"/api/{key}" for key in ("socket", "tls", "tokens")),
        *(f"/api_token/{key}" for key in ("name", "token", "scopes")),
        "/backend/sessions",
        "/backend/sign",
        "/backend/url",
        "/spool/folder",
        "/handshake_middleware/use",
        "/connection_middleware/use",
        "/packet_middleware/use",
        "/namespace/user",
        *(f"/namespace/routes/{event}" for event in ("*", *GATEWAY_EVENTS)),
        "/service/use",
        "/server/socket",
        "/server/tls",
        "/tls/cert",
        "/tls/key",
        "/route/use",
        "/route/timeout",
        "/route/order",
        "/route/schema",
        "/limits/connections",
        "/log/format",
        "/namespace_limits/handlers_per_socket",
        "/namespace_limits/packets_per_second",
        "/namespace_limits/rooms_per_socket",
        "/namespace_limits/sockets_per_user",
    }


@pytest.mark.parametrize("path", RULES)
def test_a_mistake_has_one_message(path: str) -> None:
    """Alternatives are told by type, and each with more than one says what is expected."""
    rule = RULES[path]
    combined = {"anyOf", "oneOf", "allOf", "not", "if"}
    assert not rule.keys() & (combined | ({"patternProperties"} if path else set()))
    kinds = [rule.get("type")] if isinstance(rule.get("type"), str) else rule.get("type", [])
    told = {"errorMessage", "$ref", "enum"} & rule.keys()
    assert told or "pattern" not in rule
    assert told or len([kind for kind in kinds if kind != "null"]) <= 1


@pytest.mark.parametrize(
    "data",
    [
        {"server": {"port": "${PORT:-80}", "path": "/${NAME}/", "max_payload": "${SIZE}"}},
        {"server": {"cors_origins": "${ORIGIN}", "ping_interval": "${PING}s"}},
        {"server": {"cors_origins": ["https://${HOST}"]}, "plugins": ["${FOLDER}"]},
        {"limits": {"sockets": "${N}", "depth": "${N}", "send_buffer": "${N}MB"}},
        {"services": {"user": "${USERS}.Service", "store": {"use": "${STORE:-store.Redis}"}}},
    ],
)
def test_editors_accept_a_variable_in_place_of_a_value(data: dict[str, object]) -> None:
    """They check the text as it is written: nothing is filled in."""
    assert Draft202012Validator(SCHEMA).is_valid({"namespaces": {"/": None}, **data})


@pytest.mark.parametrize(
    "text",
    [
        "server: {port: 65535}",
        "server: {port: 80.0}",
        "server: {ping_interval: 0.001}",
        "server: {ping_interval: 0.5ms}",
        "server: {ping_timeout: 999999999h}",
        "server: {max_payload: 1}",
        "server: {max_payload: 1e6}",
        "server: {max_payload: 1.5MB}",
        "server: {host: gateway.example}",
        'server: {host: "::1"}',
        "server: {path: /a/b.c/~d_e-f}",
        "limits: {sockets: 1, attachments: 10, depth: 200, send_buffer: 1, overload_after: 1ms}",
        "limits: {sockets: 1000000000, send_buffer: 999999.999KB, overload_after: unlimited}",
        'server: {cors_origins: ["https://[::1]:8443", "http://10.0.0.1"]}',
        "services: {a1_b: A._b1.C}",
        "plugins: []",
    ],
)
def test_the_edges_of_what_is_right_are_right(load_text: Load, text: str) -> None:
    assert load_text("namespaces: {/: }\n" + text).namespaces
