"""Each finding has its exact line here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.invoke import invoke
from tests.gateway_files import write

BAD_CONFIG = 78
GUARDED = "namespaces: {/: {connection_middleware: [auth]}}\n"
JWT = "namespaces:\n  /:\n    connection_middleware:\n      - {use: builtin.jwt, with: {%s}}\n"
ADD_AUTH = "add builtin.jwt, builtin.api_key or your own"
ROUTE = (
    "namespaces:\n"
    "  /: {connection_middleware: [auth], routes: {say: {use: chat.say, schema: [%s]}}}"
)
SLOW = (
    "a repetition of repetitions: a few characters of a client can take seconds; "
    "write it without, such as a+ for (a+)+"
)
REFER = "write ${VAR} or ${file:PATH}, and change the secret"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "0123456789abcdef" * 4)
    monkeypatch.setenv("WEAK", "passwordpassword")
    return tmp_path


def findings(folder: Path, config: str) -> list[str]:
    write(folder, config)
    *lines, count = invoke("audit", "--fail-on", "never").stdout.splitlines()
    assert count.startswith("no" if not lines else str(len(lines)))
    return lines


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            GUARDED + 'cluster: {name: shop, redis: {url: "redis://10.0.0.5"}}',
            (
                "2:30: high: cluster.redis: no password: who reaches this Redis can send to all "
                "clients; write password: ${REDIS_PASSWORD}, which Redis requires"
            ),
        ),
        (
            GUARDED + 'cluster: {name: shop, redis: {url: "redis://:${SECRET}@10.0.0.5"}}',
            (
                "2:36: low: cluster.redis.url: the password goes to Redis without TLS; "
                "write rediss://, or keep Redis in a network of its own"
            ),
        ),
        (
            GUARDED + 'cluster: {name: shop, nats: {url: "nats://10.0.0.5"}}',
            (
                "2:29: high: cluster.nats: no password: who reaches this NATS can send to all "
                "clients; write token: ${NATS_TOKEN}, which NATS requires"
            ),
        ),
        (
            GUARDED + 'cluster: {nats: {url: "nats://10.0.0.5", token: "${SECRET}"}}',
            (
                "2:23: low: cluster.nats.url: the password goes to NATS without TLS; "
                "write tls://, or keep NATS in a network of its own"
            ),
        ),
        (
            GUARDED + 'cluster: {redis: {url: "redis://127.0.0.1"}}',
            (
                "2:10: low: cluster: the name that every Socket.IO server has by default: "
                "strangers may share it; write cluster: {name: ...}, unless Node servers are to "
                "join"
            ),
        ),
        (
            GUARDED + 'cluster: {name: shop, redis: {url: "redis://u:pw123456@127.0.0.1"}}',
            "2:36: medium: cluster.redis.url: a secret is written in the file; " + REFER,
        ),
        (
            GUARDED + 'server: {cors_origins: "*"}',
            (
                "2:24: high: server.cors_origins: every web page may connect; "
                "list the origins that may, or write same-origin"
            ),
        ),
        (
            GUARDED + 'server: {trusted_proxies: [10.0.0.0/8, unix, "fc00::/7", 0.0.0.0/0]}',
            (
                "2:58: high: server.trusted_proxies[3]: 0.0.0.0/0 trusts strangers: "
                "they can claim any address, scheme and host; list the addresses of your proxies"
            ),
        ),
        (
            GUARDED + 'server: {trusted_proxies: ["::/0"]}',
            (
                "2:28: high: server.trusted_proxies[0]: ::/0 trusts strangers: "
                "they can claim any address, scheme and host; list the addresses of your proxies"
            ),
        ),
        (
            GUARDED + 'server: {cors_origins: ["https://*.example.com", "https://*.com"]}',
            (
                "2:24: high: server.cors_origins: https://*.com allows the pages of strangers; "
                "name a domain of your own, as in https://*.example.com"
            ),
        ),
        (
            GUARDED + 'server: {cors_origins: ["https://*.example.com", "https://*.co.uk"]}',
            (
                "2:24: high: server.cors_origins: https://*.co.uk allows the pages of strangers; "
                "name a domain of your own, as in https://*.example.com"
            ),
        ),
        (
            GUARDED + 'server: {cors_origins: ["https://*.example.com", "https://*.github.io"]}',
            (
                "2:24: high: server.cors_origins: https://*.github.io allows the pages of "
                "strangers; name a domain of your own, as in https://*.example.com"
            ),
        ),
        (
            GUARDED + "limits: {keepalive_timeout: 1h}",
            (
                "2:29: low: limits.keepalive_timeout: a connection may be idle for 3600 s, and "
                "takes a file descriptor; a little longer than the proxy in front keeps "
                "connections is enough"
            ),
        ),
        (
            GUARDED + "limits: {keepalive_timeout: unlimited}",
            (
                "2:29: medium: limits.keepalive_timeout: no limit on how long a connection may be "
                "idle; remove it to have the default, or write a number"
            ),
        ),
        (
            GUARDED + "limits: {connections: unlimited}",
            (
                "2:23: medium: limits.connections: no limit on how many connections may be open; "
                "remove it to have the default, or write a number"
            ),
        ),
        (
            JWT % "algorithms: [HS256], key: '${SHORT:-hunter2}'",
            (
                "4:56: high: namespaces./.connection_middleware[0].with.key: the secret "
                "has 7 bytes of 32: it can be guessed; make one with: openssl rand -base64 64"
            ),
        ),
        (
            "namespaces:\n  /:\n  chat: {routes: {say: chat.say}}\n",
            (
                "3:3: medium: namespaces.chat: no connection middleware: anyone who can reach "
                f"the gateway may connect; {ADD_AUTH}"
            ),
        ),
        (
            GUARDED + "server: {handshake_middleware: [{use: a, with: {token: hunter2}}]}",
            (
                "2:56: medium: server.handshake_middleware[0].with.token: a secret is written in "
                f"the file; {REFER}"
            ),
        ),
        (
            ROUTE % "{pattern: '^([a-z]+ ?)*$'}",
            f"2:87: medium: namespaces./.routes.say.schema[0].pattern: {SLOW}",
        ),
        (
            ROUTE % "{patternProperties: {'^(x*y?){2,}$': {}}}",
            (
                "2:98: medium: "
                f"namespaces./.routes.say.schema[0].patternProperties.^(x*y?){{2,}}$: {SLOW}"
            ),
        ),
        (
            GUARDED + "admin: {socket: a.sock, token: 0123456789abcdefg}",
            f"2:32: medium: admin.token: a secret is written in the file; {REFER}",
        ),
        (
            GUARDED + "services: {store: {use: store, with: {db: {password: hunter2}}}}",
            (
                "2:54: medium: services.store.with.db.password: a secret is written in the "
                f"file; {REFER}"
            ),
        ),
        (
            GUARDED + 'admin: {host: 0.0.0.0, token: "${SECRET}"}',
            (
                "2:15: medium: admin.host: the admin listener speaks plain HTTP to other "
                "machines: its token can be read; "
                "listen on a Unix socket, or on loopback behind TLS"
            ),
        ),
        (
            GUARDED
            + "api: {host: 0.0.0.0, tokens: [{name: a, token: '${SECRET}', scopes: [read]}]}",
            (
                "2:13: medium: api.host: the api speaks plain HTTP to other machines: its tokens "
                "can be read; give it tls, or listen on a Unix socket, or on loopback behind TLS"
            ),
        ),
        (
            GUARDED + "api: {tokens: [{name: a, token: '${WEAK}', scopes: [read]}]}",
            (
                "2:33: medium: api.tokens[0].token: the token of a is short, or made of few "
                "characters: a guess away; make one with: openssl rand -hex 32"
            ),
        ),
        (
            GUARDED + "admin: {port: 7002}",
            (
                "2:8: medium: admin: any user of this machine may reload the gateway, and "
                "have it load other files; write admin: {socket: admin.sock}, or add a token"
            ),
        ),
        (
            GUARDED + "server: {host: 0.0.0.0}",
            (
                "2:16: low: server.host: plain HTTP to other machines; "
                "add tls, or leave it to a proxy in front"
            ),
        ),
        (
            GUARDED + "server: {host: 0.0.0.0, tls: {cert: cert.pem, key: none.pem}}",
            (
                "2:16: low: server.host: one address may take up all connections; "
                "write limits: {sockets_per_address: N}, or leave it to a proxy"
            ),
        ),
        (
            JWT % "algorithms: [ES256], jwks_file: keys, on_expiry: ignore",
            (
                "4:73: low: namespaces./.connection_middleware[0].with.on_expiry: a socket "
                "outlives the token that let it in; leave it out, and have clients refresh their "
                "token"
            ),
        ),
        (
            JWT % "algorithms: [ES256], jwks_file: keys, source: query.token",
            (
                "4:73: low: namespaces./.connection_middleware[0].with.source: clients "
                "show their secret in the URL, which proxies log; "
                "write source: auth.token, or a header"
            ),
        ),
        (
            GUARDED + 'server: {cors_origins: ["https://a.example", "http://localhost:5173"]}',
            (
                "2:24: low: server.cors_origins: pages of a development server may "
                "connect; leave out localhost where it is served to others"
            ),
        ),
        (
            JWT.replace("builtin.jwt", "builtin.origin") % 'allow: ["http://127.0.0.1"]',
            (
                "4:38: low: namespaces./.connection_middleware[0].with.allow: pages of a "
                "development server may connect; leave out localhost where it is served to others"
            ),
        ),
        (
            JWT.replace("builtin.jwt", "builtin.log") % "level: debug",
            (
                "4:35: low: namespaces./.connection_middleware[0].with.level: logs a line for "
                "every packet; leave out the level"
            ),
        ),
        (
            ROUTE.replace("schema: [%s]", "middleware: [{use: builtin.log, with: {level: debug}}]"),
            (
                "2:107: low: namespaces./.routes.say.middleware[0].with.level: logs a line for "
                "every packet; leave out the level"
            ),
        ),
    ],
)
def test_a_finding_has_its_place_its_severity_and_how_to_mend_it(
    here: Path, config: str, line: str
) -> None:
    assert f"gateway.yaml:{line}" in findings(here, config)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("sockets", "how many may be connected"),
        ("connections_per_second", "how many may connect in a second"),
        ("auth_size", "the auth of a CONNECT"),
        ("refusals", "the CONNECTs that are refused, one after the other"),
        ("packets_per_second", "the packets of one socket in a second"),
        ("bytes_per_second", "the bytes of one connection in a second"),
        ("handlers", "the packets in flight"),
        ("handlers_per_socket", "the packets of one socket in flight"),
        ("rooms_per_socket", "the rooms of one socket"),
        ("answer_buffer", "the bytes of the answers to one call"),
        ("send_buffer", "the bytes that wait for a client that does not read"),
        ("send_packets", "the packets that wait for a client that does not read"),
        ("overload_after", "how late the gateway may run"),
    ],
)
def test_a_limit_that_is_none_is_found(here: Path, key: str, what: str) -> None:
    place = f"gateway.yaml:2:{12 + len(key)}: medium: limits.{key}: no limit on {what}"
    told = f"{place}; remove it to have the default, or write a number"
    assert findings(here, GUARDED + f"limits: {{{key}: unlimited}}") == [told]


def test_a_limit_that_is_none_in_a_namespace_is_found(here: Path) -> None:
    limits = "{sockets: unlimited, handlers: unlimited, rooms_per_socket: unlimited}"
    line = (
        "gateway.yaml:1:117: medium: namespaces./.limits.rooms_per_socket: no limit on the rooms "
        "of one socket; remove it to have the default, or write a number"
    )
    assert findings(here, GUARDED.replace("]}}", f"], limits: {limits}}}}}")) == [line]


def test_what_others_may_write_is_found(here: Path) -> None:
    file = write(here, GUARDED + "plugins: plugins\n", chat="", rooms__lobby="")
    for path in (file, here / "plugins/chat.py", here / "plugins/rooms"):
        path.chmod(0o777)
    *lines, count = invoke("audit", "--fail-on", "never").stdout.splitlines()
    runs = "which runs as the daemon; chmod -R o-w"
    plugins = "gateway.yaml:2:10: high: plugins: any user of this machine may write plugins"
    assert lines == [
        "gateway.yaml:1:1: high: any user of this machine may write this file; chmod o-w",
        f"{plugins}/chat.py, {runs}",
        f"{plugins}/rooms, {runs}",
    ]
    assert count == "3 findings: 3 high"


def test_a_key_that_others_may_read_is_found(here: Path) -> None:
    (here / "key.pem").touch(mode=0o644)
    config = GUARDED + "server: {tls: {cert: cert.pem, key: key.pem}}"
    line = "gateway.yaml:2:37: medium: server.tls.key: any user of this machine may read the key"
    assert f"{line}; chmod 600" in findings(here, config)
    (here / "key.pem").chmod(0o600)
    assert findings(here, config) == []


@pytest.mark.parametrize(
    "config",
    [
        GUARDED,
        GUARDED + "server: {host: '::1', cors_origins: [https://a.example]}",
        GUARDED
        + "server: {host: 0.0.0.0, tls: {cert: cert.pem, key: none.pem}}\n"
        + "limits: {sockets_per_address: 100}",
        GUARDED + "limits: {sockets_per_address: unlimited}",
        "namespaces: {/: }\nserver: {handshake_middleware: [gate]}",
        GUARDED + "services: {limits: {use: limits, with: {sockets: unlimited}}}",
        GUARDED + 'admin: {port: 7002, token: "${SECRET}"}',
        GUARDED + "admin: {socket: admin.sock}",
        JWT % 'algorithms: [HS512], key: "${SECRET}"',
        JWT % 'algorithms: [ES256], key: "-----BEGIN PUBLIC KEY-----"',
        JWT.replace("jwt", "api_key") % "keys: {one: 0123}",
        JWT.replace("builtin.jwt", "builtin.log") % "level: info",
        GUARDED + 'services: {store: {use: store, with: {password: "${SECRET}", keys: 0}}}',
        ROUTE % r"{pattern: '^[a-z]+(-[a-z]+)*$'}, {pattern: '\(a+\)+(ab)+c*(d+)?'}",
    ],
)
def test_what_is_well_is_not_found(here: Path, config: str) -> None:
    assert findings(here, config) == []


@pytest.mark.parametrize(
    ("fail_on", "status"), [(None, 0), ("high", 0), ("medium", 1), ("low", 1), ("never", 0)]
)
def test_the_exit_code_is_what_was_asked_for(here: Path, fail_on: str | None, status: int) -> None:
    write(here, "namespaces: {/: }\nserver: {host: 0.0.0.0}\n")
    result = invoke("audit", *(["--fail-on", fail_on] if fail_on else []))
    assert result.exit_code == status
    assert result.stdout.splitlines()[-1] == "3 findings: 1 medium, 2 low"


def test_something_high_fails_it_unless_told_otherwise(here: Path) -> None:
    write(here, GUARDED + 'server: {cors_origins: "*"}')
    assert invoke("audit").exit_code == 1


@pytest.mark.parametrize("option", ["--json", "--format=json"])
def test_json_is_for_programs(here: Path, option: str) -> None:
    write(here, "namespaces: {/: }\n")
    assert json.loads(invoke("audit", option).stdout) == {
        "findings": [
            {
                "severity": "medium",
                "file": "gateway.yaml",
                "line": 1,
                "column": 14,
                "path": "namespaces./",
                "message": "no connection middleware: anyone who can reach the gateway may connect",
                "fix": ADD_AUTH,
            }
        ],
        "problems": [],
        "warnings": [],
    }


def test_a_file_with_problems_is_refused_as_check_refuses_it(here: Path) -> None:
    write(here, "namespaces: {/: }\nadmin: {host: 0.0.0.0}\n")
    result = invoke("audit")
    assert (result.exit_code, result.stdout) == (BAD_CONFIG, "")
    assert result.stderr == invoke("check").stderr
    assert "0.0.0.0 can be reached from other machines: add a token" in result.stderr


def test_no_plugin_is_run(here: Path) -> None:
    write(here, GUARDED, auth="open('ran', 'w')")
    assert invoke("audit").stdout == "no findings\n"
    assert not (here / "ran").exists()


def test_a_spool_that_others_may_write(here: Path) -> None:
    folder = here / "spool"
    folder.mkdir()
    backend = "backends: {a: {url: 'unix:a.sock', sessions: {spool: {folder: spool}}}}\n"
    folder.chmod(0o700)
    assert findings(here, GUARDED + backend) == []
    folder.chmod(0o777)
    [line] = findings(here, GUARDED + backend)
    assert line == (
        "gateway.yaml:2:63: medium: backends.a.sessions.spool.folder: any user of this machine may "
        "delete what a backend is to be told; chmod 700"
    )
