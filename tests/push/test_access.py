"""Who may ask the api, and for what."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

import pytest

from gateway.daemon.daemon import StartupInfo
from tests.deadline import until
from tests.push.conftest import Connect
from tests.push.pushed_gateway import CONFIG, TOKENS, Api, pushed, write_gateway

EMIT = {"target": {"namespace": "/shop", "all": True}, "event": "x"}
ROOT = {"target": {"namespace": "/", "all": True}, "event": "x"}


@pytest.mark.parametrize("token", [None, "", "wrong", TOKENS["all"] + "x", TOKENS["all"][:-1], "é"])
async def test_a_token_is_needed(api: Api, token: str | None) -> None:
    found = await api.refused("emit", EMIT, token=token)
    assert found == (401, "unauthorized", "a bearer token of api.tokens is needed")
    assert api.headers["WWW-Authenticate"] == "Bearer"


async def test_only_bearer_tokens_count(api: Api) -> None:
    for value in (TOKENS["all"], f"Basic {TOKENS['all']}", f"bearer {TOKENS['all']}"):
        headers = {"Authorization": value}
        status, _ = await api.ask("POST", "/v1/emit", EMIT, token=None, headers=headers)
        assert status == 401


@pytest.mark.parametrize(
    ("token", "body", "lacks"),
    [
        ("shop", ROOT, "push:/"),
        ("reader", EMIT, "push:/shop"),
        ("shop", {**ROOT, "target": {"namespace": "/shops", "all": True}}, "push:/shops"),
    ],
)
async def test_a_push_needs_its_scope(
    api: Api, token: str, body: dict[str, object], lacks: str
) -> None:
    text = f"the token {token!r} has no scope {lacks}: add it to api.tokens"
    assert await api.refused("emit", body, token=token) == (403, "forbidden", text)


async def test_scopes_that_are_there(api: Api) -> None:
    assert await api.post("emit", EMIT, token="shop")
    assert await api.post("emit", ROOT)
    assert await api.get("sockets?namespace=/shop", token="shop")
    assert await api.get("sockets?namespace=/", token="reader")


async def test_reading_needs_its_scope(api: Api) -> None:
    for path in ("sockets?namespace=/", "namespaces/%2F/rooms"):
        status, answer = await api.ask("GET", f"/v1/{path}", token="shop")
        assert (status, answer["code"]) == (403, "forbidden")
    answer = await api.get("namespaces", token="shop")
    assert [each["namespace"] for each in answer["namespaces"]] == ["/shop"]
    answer = await api.get("namespaces", token="reader")
    assert [each["namespace"] for each in answer["namespaces"]] == ["/", "/shop"]


async def test_a_token_for_pushes_reads_nothing(tmp_path: Path) -> None:
    config = CONFIG.replace("scopes: [push, read]", "scopes: [push]")
    async with pushed(write_gateway(tmp_path, config)) as (api, _):
        for path in ("namespaces", "sockets/x", "sockets?namespace=/", "namespaces/shop/rooms"):
            status, answer = await api.ask("GET", f"/v1/{path}")
            assert (status, answer["code"]) == (403, "forbidden")


async def test_a_web_page_may_not_ask(api: Api) -> None:
    found = await api.refused("emit", EMIT, headers={"Origin": "https://x.example"})
    assert found == (403, "forbidden", "not for web pages")


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("localhost:7003", True),
        ("127.0.0.1", True),
        ("[::1]:7003", True),
        ("push.example.com", True),
        ("PUSH.example.com:443", True),
        ("evil.example", False),
        ("[", False),
        ("", False),
    ],
)
async def test_a_host_name_that_was_led_here(tmp_path: Path, host: str, passes: bool) -> None:
    config = CONFIG.replace("  port: 0\n", "  port: 0\n  hosts: [Push.example.com]\n")
    async with pushed(write_gateway(tmp_path, config)) as (api, _):
        status, answer = await api.ask("POST", "/v1/emit", EMIT, headers={"Host": host})
        assert status == (200 if passes else 403)
        if not passes:
            assert answer["detail"] == "this host name is not allowed: add it to api.hosts"


async def test_tokens_and_the_address_follow_a_reload(tmp_path: Path) -> None:
    file = write_gateway(tmp_path, CONFIG)
    async with pushed(file) as (api, info):
        assert await api.post("emit", EMIT)
        sock = tmp_path / "api.sock"
        changed = CONFIG.replace(TOKENS["all"], "another-0123456789abcdef")
        file.write_text(changed)
        verdict = await info.api.reload()
        assert (verdict.result, verdict.plan.changes) == ("applied", ("~ api.tokens",))
        assert (await api.refused("emit", EMIT))[0] == 401
        assert await api.post("emit", EMIT, token="another-0123456789abcdef")
        file.write_text(changed.replace("  port: 0\n  tokens", "  socket: api.sock\n  tokens"))
        assert (await info.api.reload()).result == "applied"
        assert info.push.url == f"unix:{sock}"
        assert sock.exists()
        file.write_text("namespaces: {/: }\n")
        assert (await info.api.reload()).result == "applied"
        assert not sock.exists()
        file.write_text(changed)
        assert (await info.api.reload()).result == "applied"
        api.url = info.push.url
        assert await api.post("emit", ROOT, token="another-0123456789abcdef")


async def test_an_address_that_is_taken_refuses_the_reload(tmp_path: Path) -> None:
    file = write_gateway(tmp_path, CONFIG.replace("server:", "admin: {port: 0}\nserver:"))
    async with pushed(file) as (api, info):
        port = info.url.rpartition(":")[2]
        file.write_text(file.read_text().replace("api:\n  port: 0", f"api:\n  port: {port}"))
        verdict = await info.api.reload()
        assert verdict.result == "failed"
        [problem] = verdict.problems
        assert problem.path == "api.port"
        assert await api.post("emit", EMIT)


async def test_what_the_log_says(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    for logger in ("sockgw.push", "sockgw.engine"):
        caplog.set_level(logging.DEBUG, logger)
    async with pushed(file) as (api, _):
        await api.post("emit", EMIT, token="shop")
        await api.post("disconnect", {"target": {"namespace": "shop", "users": ["a"]}})
        await api.refused("emit", EMIT, token="wrong-0123456789abcdef")
        await api.refused("emit", EMIT, token="wrong-0123456789abcdef")
        await api.refused("emit", ROOT, token="shop")
    messages = [each for each in caplog.messages if "/v1" not in each]
    assert "emit by shop: 200" in messages
    assert "disconnect in shop by all" in messages
    lacking = "the token 'shop' has no scope push:/: add it to api.tokens"
    refused = [each for each in messages if each.startswith("refused")]
    assert refused == [
        "refused unauthorized by 127.0.0.1: a bearer token of api.tokens is needed",
        f"refused forbidden by the token 'shop': {lacking}",
    ]
    assert not [each for each in caplog.messages if "0123456789abcdef" in each]


async def test_secrets_are_masked(tmp_path: Path) -> None:
    from gateway.config import load

    config = load(write_gateway(tmp_path), {})
    assert TOKENS["shop"] not in config.secrets.mask(f"a token {TOKENS['shop']} is shown")
    assert TOKENS["shop"] not in repr(config.api)


async def test_requests_are_counted(tmp_path: Path) -> None:
    file = write_gateway(tmp_path, CONFIG)
    async with pushed(file) as (api, info):
        await api.post("emit", EMIT)
        await api.refused("emit", EMIT, token=None)
        await api.refused("nothing", EMIT)
        await api.get("namespaces")
        text = (await info.api.metrics()).decode()
    for line in (
        'sockgw_push_requests_total{operation="emit",status="200"} 1.0',
        'sockgw_push_requests_total{operation="emit",status="401"} 1.0',
        'sockgw_push_requests_total{operation="unknown",status="404"} 1.0',
        'sockgw_push_requests_total{operation="namespaces",status="200"} 1.0',
        "sockgw_push_in_flight 0.0",
    ):
        assert line in text


async def test_too_many_requests_and_bytes(
    served: tuple[Api, Connect], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, connect = served
    phone = await connect("ann")
    never = asyncio.Event()

    async def wait(*args: object) -> None:
        await never.wait()

    phone._client.on("call", wait, namespace="/shop")
    monkeypatch.setattr("gateway.daemon.push_api.MOST_REQUESTS", 1)
    call = {"target": {"namespace": "/shop", "users": ["ann"]}, "event": "call", "timeout": 60}
    waiting = asyncio.create_task(api.post("call", call))
    await until(lambda: phone._client.connected and not phone.events.qsize())
    while (await api.refused("emit", EMIT, token=None))[0] != 401:
        pass
    while True:
        status, _ = await api.ask("POST", "/v1/emit", EMIT)
        if status == 503:
            break
    assert api.headers["Retry-After"] == "1"
    found = await api.refused("emit", EMIT)
    assert found == (503, "busy", "too many requests at the same time")
    never.set()
    assert (await waiting)["answers"]
    monkeypatch.setattr("gateway.daemon.push_api.MOST_BYTES", 10)
    assert (await api.refused("emit", EMIT))[1] == "busy"


async def test_a_certificate_is_served_and_renewed(tmp_path: Path) -> None:
    certificates = Path(__file__).parents[1] / "daemon" / "tls"

    def install(name: str) -> bytes:
        text = (certificates / f"{name}.pem").read_text()
        (tmp_path / "cert.pem").write_text(text)
        (tmp_path / "key.pem").write_text((certificates / f"{name}.key").read_text())
        return ssl.PEM_cert_to_DER_cert(text)

    install("one")
    tls = "api:\n  tls: {cert: cert.pem, key: key.pem}\n"
    config = CONFIG.replace("api:\n", tls) + 'reload: {watch: "off", poll_interval: 1h}\n'
    async with pushed(write_gateway(tmp_path, config)) as (api, info):
        assert api.url.startswith("https:")
        await _presents(info, install("two"))
        (tmp_path / "cert.pem").write_text("no certificate")
        verdict = await info.api.reload()
        assert (verdict.result, verdict.problems[0].path) == ("failed", "api.tls")


async def _presents(info: StartupInfo, certificate: bytes) -> None:
    """Reload, and see that a certificate is served."""
    assert (await info.api.reload()).result == "applied"
    host, _, port = info.push.url.removeprefix("https://").partition(":")
    found = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
    assert ssl.PEM_cert_to_DER_cert(found) == certificate
