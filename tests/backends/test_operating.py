"""What the operator sees of backends: metrics, status, verbs, plans, and no secret anywhere."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from tests.backends.conftest import SECRET, Asking, Site, connected, use
from tests.backends.raw_backend import serve_raw
from tests.backends.test_failures import forever
from tests.cli.daemon_for_verbs import ask, asked
from tests.cli.invoke import invoke
from tests.gateway_files import write
from tests.ports import free_port


def project(folder: Path, url: str, **more: Any) -> Path:
    """Write a gateway with an admin listener, whose event `buy` asks the backend `shop`."""
    config = {
        "server": {"port": 0},
        "reload": {"watch": "off"},
        "admin": {"socket": "admin.sock"},
        "backends": {"shop": {"url": url, "sign": SECRET, **more}},
        "namespaces": {"/": {"routes": {"buy": use("/buy")}}},
    }
    return write(folder, json.dumps(config))


async def metrics(folder: Path, prefix: str = "sockgw_backend_") -> dict[str, float]:
    connector = aiohttp.UnixConnector(str(folder / "admin.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.get("http://localhost/metrics") as answer,
    ):
        lines = (await answer.text()).splitlines()
    told = [line.rsplit(" ", 1) for line in lines if line.startswith(prefix)]
    return {name: float(value) for name, value in told}


async def test_calls_are_in_the_metrics(tmp_path: Path, site: Site) -> None:
    answers = [200, 403, 500]
    site.answer = lambda seen: web.json_response(1, status=answers[len(site.seen) - 1])
    async with asked(project(tmp_path, site.url)) as url, connected(url) as client:
        for _ in answers:
            await client.call("buy")
        found = await metrics(tmp_path)
    outcomes = {name: value for name, value in found.items() if "calls_total" in name and value}
    assert outcomes == {
        f'sockgw_backend_calls_total{{backend="shop",outcome="{each}"}}': 1.0
        for each in ("ok", "refused", "failed")
    }
    assert found['sockgw_backend_seconds_count{backend="shop"}'] == 3.0
    assert found['sockgw_backend_seconds_bucket{backend="shop",le="+Inf"}'] == 3.0
    assert found['sockgw_backend_breaker{backend="shop",state="closed"}'] == 1.0
    assert found['sockgw_backend_in_flight{backend="shop"}'] == 0.0
    assert found['sockgw_backend_retries_total{backend="shop"}'] == 0.0


async def test_the_verb_shows_what_the_daemon_knows(tmp_path: Path, site: Site) -> None:
    file = project(tmp_path, site.url)
    async with asked(file) as url, connected(url) as client:
        await client.call("buy")
        shown = await ask("backends", file)
        told = json.loads((await ask("backends", file, "--format", "json")).stdout)
    text = re.sub(r"p(50|99) [0-9.e+-]+ ms", r"p\1 N ms", shown.stdout)
    assert text == (
        "shop: up\n"
        f"  url       {site.url}\n"
        "  rate      1.0 calls a second, p50 N ms, p99 N ms\n"
        "  now       0 in flight, 0 waiting\n"
        "  outcomes  ok: 1\n"
    )
    facts = told["backends"]["shop"]
    assert (facts["state"], facts["outcomes"]["ok"], facts["gone"]) == ("up", 1, [])
    assert facts["breaker"] == {"closed": 1}


async def test_a_pause_is_shown(tmp_path: Path, site: Site) -> None:
    site.answer = lambda seen: web.Response(status=503, headers={"Retry-After": "9"})
    file = project(tmp_path, site.url)
    async with asked(file) as url, connected(url) as client:
        await client.call("buy")
        shown = await ask("backends", file)
    assert shown.stdout.startswith("shop: paused\n")


async def test_without_backends_there_is_nothing_to_show(tmp_path: Path) -> None:
    file = write(tmp_path, "admin: {socket: admin.sock}\nserver: {port: 0}\nnamespaces: {/: }\n")
    async with asked(file):
        assert (await ask("backends", file)).stdout == "no backends\n"


async def test_a_backend_that_is_down_is_no_reason_to_be_unready(tmp_path: Path) -> None:
    file = project(tmp_path, f"http://127.0.0.1:{free_port()}")
    async with asked(file) as url, connected(url) as client:
        for _ in range(25):
            [answer] = await client.call("buy")
            assert answer["error"]["code"] == "unavailable"
        connector = aiohttp.UnixConnector(str(tmp_path / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.get("http://localhost/readyz") as answer,
        ):
            assert answer.status == 200
        assert client.connected


# probe


async def test_a_probe_is_signed_and_answered(tmp_path: Path, site: Site) -> None:
    file = project(tmp_path, f"{site.url}/base")
    done = await asyncio.to_thread(invoke, "backends", "probe", "shop", file)
    assert done.exit_code == 0
    assert re.fullmatch(r"shop: ok, status 204 after \d+ ms\n", done.stdout)
    [seen] = site.seen
    told = Webhook(SECRET).verify(seen.body, dict(seen.headers))
    assert (seen.path, told["type"], told["socket"]) == ("/base/", "probe", None)


async def test_a_probe_that_is_refused_says_why(tmp_path: Path, site: Site) -> None:
    site.answer = lambda seen: web.Response(status=401)
    file = project(tmp_path, site.url)
    args = ("backends", "probe", "shop", file, "--path", "/x")
    done = await asyncio.to_thread(invoke, *args)
    assert done.exit_code == 1
    assert re.fullmatch(
        r"shop: refused status 401 after \d+ ms: status 401, unauthorized: log in first\n",
        done.stderr,
    )
    told = json.loads((await asyncio.to_thread(invoke, *args, "--format", "json")).stdout)
    assert (told["outcome"], told["status"]) == ("refused", 401)


async def test_a_probe_of_nobody(tmp_path: Path) -> None:
    file = project(tmp_path, f"http://127.0.0.1:{free_port()}")
    done = await asyncio.to_thread(invoke, "backends", "probe", "shop", file)
    assert done.exit_code == 1
    assert re.fullmatch(
        r"shop: unreachable after \d+ ms: cannot connect: connection refused\n", done.stderr
    )


async def test_a_probe_has_a_time_limit(tmp_path: Path) -> None:
    async with serve_raw(forever) as raw:
        file = project(tmp_path, raw.url, timeout="20ms")
        done = await asyncio.to_thread(invoke, "backends", "probe", "shop", file)
    assert (done.exit_code, done.stderr.split()[1]) == (1, "timeout")


def test_a_probe_needs_a_name_that_there_is(tmp_path: Path) -> None:
    file = project(tmp_path, "http://127.0.0.1:9")
    done = invoke("backends", "probe", "shopp", file)
    assert done.exit_code == 1
    assert done.stderr == f"Error: no backend 'shopp' in {file}, did you mean 'shop'?\n"


# Secrets


async def test_no_secret_is_shown(
    tmp_path: Path, site: Site, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    token = "Bearer 0123456789abcdef"
    headers = {"set": {"authorization": token, "x-gateway": "visible"}}
    site.answer = lambda seen: web.Response(status=500, text=SECRET)
    file = project(tmp_path, site.url, headers=headers)
    async with asked(file) as url, connected(url) as client:
        acks = await client.call("buy")
        config = json.loads(file.read_text())
        config["backends"]["shop"]["sign"] = "whsec_" + "QUJD" * 8
        file.write_text(json.dumps(config))
        shown = [await ask(verb, file) for verb in ("backends", "status", "plan", "check")]
    texts = [*(each.output for each in shown), str(acks), caplog.text, capsys.readouterr().err]
    for secret in (SECRET, token, "QUJD" * 8):
        assert [text for text in texts if secret in text] == []
    assert "~ backend 'shop': sign" in shown[2].output
    assert site.seen[0].headers["authorization"] == token


async def test_a_plan_names_backends_and_their_keys(tmp_path: Path, site: Site) -> None:
    file = project(tmp_path, site.url)
    async with asked(file):
        config = json.loads(file.read_text())
        config["backends"] = {
            "shop": {"url": f"{site.url}/v2", "headers": {"forward": ["cookie"]}, "sign": SECRET},
            "other": {"url": site.url},
        }
        file.write_text(json.dumps(config))
        shown = await ask("plan", file)
    assert "+ backend 'other'" in shown.stdout
    assert "~ backend 'shop': headers.forward, url" in shown.stdout


AUDITED = """
backends:
  far: {{url: "http://shop.example.com"}}
  safe: {{url: "https://shop.example.com", sign: "{secret}"}}
  near: {{url: "http://127.0.0.1:9000"}}
  unix: {{url: "unix:/run/app.sock"}}
namespaces: {{/: {{connection_middleware: [auth]}}}}
"""


def test_the_audit_finds_what_others_can_read_or_make_up(tmp_path: Path) -> None:
    file = write(tmp_path, AUDITED.format(secret=SECRET))
    found = invoke("audit", file, "--fail-on", "never").stdout
    assert re.findall(r"backends\.(\S+): ([^;]*);", found) == [
        ("far", "requests are not signed: others can pretend to be the gateway"),
        ("far.url", "plain HTTP to another machine"),
        ("safe.sign", "a secret is written in the file"),
    ]


# CloudEvents


async def test_cloud_events(asking: Asking, site: Site) -> None:
    from cloudevents.core.bindings.http import HTTPMessage, from_binary
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    site.answer = lambda seen: web.json_response("ok")
    namespace = {"routes": {'say "ü%': use("/hook")}}
    async with asking(site.url, namespace, format="cloudevents", sign=SECRET) as gateway:
        client = await gateway.connect()
        assert await client.call('say "ü%', {"a": 1}, b"x") == ["ok"]
    [seen] = site.seen
    Webhook(SECRET).verify(seen.body, dict(seen.headers))
    headers = {name.lower(): value for name, value in seen.headers.items()}
    event = from_binary(HTTPMessage(headers, seen.body), JSONFormat(), CloudEvent)
    assert event.get_type() == "io.sockgw.event"
    assert event.get_source() == "/namespaces/"
    assert event.get_subject() == 'say "ü%'
    assert event.get_id() == seen.headers["webhook-id"]
    assert event.get_extension("socketid") == client.id
    assert event.get_data() == [{"a": 1}, {"$base64": "eA=="}]
