"""Address and certificate change while the gateway serves; open sockets stay."""

from __future__ import annotations

import asyncio
import shutil
import socket
import stat

import aiohttp
import pytest

from gateway.errors import ConfigError
from tests.certificates import TLS, der, presented
from tests.deadline import deadline
from tests.ports import free_port
from tests.raw_client import raw
from tests.reload.calling_client import caller
from tests.reload.edited_daemon import CONFIG, WATCHED, Running


def install(one: Running, name: str) -> None:
    """Have this certificate where the configuration says."""
    shutil.copy(TLS / f"{name}.pem", one.folder / "cert.pem")
    shutil.copy(TLS / f"{name}.key", one.folder / "key.pem")


async def is_refused(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url):
            return False
    except aiohttp.ClientConnectorError:
        return True


async def test_port_changes_and_changes_back_under_open_sockets(gateway) -> None:
    ports = [free_port(), free_port()]
    config = CONFIG + "server: {port: PORT}\n"
    async with (
        gateway(config.replace("PORT", str(ports[0])), port=None) as one,
        caller(one.url) as first,
    ):
        one.config(config.replace("PORT", str(ports[1])))
        verdict = await one.reload()
        assert f"~ server.port: {ports[0]} -> {ports[1]}" in verdict.plan.changes
        assert one.url == f"http://127.0.0.1:{ports[1]}"
        assert await is_refused(f"http://127.0.0.1:{ports[0]}")
        async with caller(one.url) as second:
            one.config(config.replace("PORT", str(ports[0])))
            one.say("two")
            assert (await one.reload()).result == "applied"
            assert await first.call("say") == await second.call("say") == ["two"]
            async with caller(f"http://127.0.0.1:{ports[0]}") as third:
                assert await third.call("say") == ["two"]


async def test_a_port_that_is_taken_leaves_everything_and_is_tried_again(gateway) -> None:
    async with gateway(CONFIG + "server: {port: 0}\n", port=None) as one:
        old = one.url
        port = free_port()
        with socket.create_server(("127.0.0.1", port)):
            one.config(CONFIG + f"server: {{port: {port}}}\n")
            for _ in range(2):
                assert (await one.reload()).result == "failed"
                assert one.url == old
                assert await one.said() == "one"
        assert (await one.reload()).result == "applied"
        assert one.url.endswith(f":{port}")
        assert await one.said() == "one"


TLS_CONFIG = WATCHED + (
    "server: {port: 0, tls: {cert: cert.pem, key: key.pem}}\n"
    "namespaces: {/: {routes: {say: chat.say}}}\n"
)
PLAIN_CONFIG = TLS_CONFIG.replace(", tls: {cert: cert.pem, key: key.pem}", "")


async def test_certificate_is_added_renewed_and_taken_away_under_open_sockets(gateway) -> None:
    async with gateway(PLAIN_CONFIG, port=None) as one, caller(one.url) as client:
        install(one, "one")
        one.config(TLS_CONFIG)
        assert (await one.verdict()).result == "applied"
        assert one.url.startswith("https:")
        assert "~ server.tls: unset -> cert.pem, key.pem" in one.verdicts[-1].plan.changes
        assert await presented(one.url) == der("one")
        install(one, "two")
        while await presented(one.url) != der("two"):
            await one.verdict()
        assert one.verdicts[-1].plan.changes == ("~ server.tls: renewed",)
        one.config(PLAIN_CONFIG)
        while not one.url.startswith("http:"):
            await one.verdict()
        assert await one.said() == "one"
        assert await client.call("say") == ["one"]
        assert (await one.api.status())["last_reload"]["result"] == "applied"


@pytest.mark.parametrize("broken", ["half", "another", "empty", "missing"])
async def test_broken_certificate_is_refused_and_the_old_one_serves(gateway, broken: str) -> None:
    async with gateway(PLAIN_CONFIG, port=None) as one:
        install(one, "one")
        one.config(TLS_CONFIG.replace("quiet", "watch: 'off', quiet"))
        assert (await one.verdict()).result == "applied"
        cert = one.folder / "cert.pem"
        if broken == "missing":
            cert.unlink()
        else:
            text = (TLS / "two.pem").read_text()
            cert.write_text({"half": text[: len(text) // 2], "another": text, "empty": ""}[broken])
        if broken == "missing":
            with pytest.raises(ConfigError, match=r":2:\d+: server\.tls: cannot read "):
                await one.api.plan(None)
        verdict = await one.reload()
        [problem] = verdict.problems
        assert (verdict.result, problem.path, problem.place.line) == ("failed", "server.tls", 2)
        assert await presented(one.url) == der("one")
        install(one, "two")
        assert (await one.reload()).result == "applied"
        assert await presented(one.url) == der("two")


async def test_clients_of_a_unix_socket(gateway) -> None:
    """They come and go with the key, and `sockets_per_address` does not take them for one."""
    plugin = """
        async def say(ctx): return ctx.socket.handshake.address
    """
    config = CONFIG + "limits: {sockets_per_address: 1}\nserver: {SERVER}\n"
    on_socket = config.replace("SERVER", "socket: run/clients.sock")
    async with gateway(on_socket, port=None, chat=plugin) as one:
        path = one.folder / "run/clients.sock"
        assert one.url == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        async with caller(one.url) as first, raw(one.url, "polling") as second:
            assert str(await second.join()).startswith("40")
            assert await first.call("say") == ["unix"]
            port = free_port()
            one.config(config.replace("SERVER", f"port: {port}"))
            verdict = await one.reload()
            assert verdict.plan.changes == (
                f"~ server.port: 7001 -> {port}",
                "~ server.socket: run/clients.sock -> unset",
            )
            assert not path.exists()
            async with caller(one.url) as third:
                assert await third.call("say") == ["127.0.0.1"]
            assert await first.call("say") == ["unix"]
            one.config(on_socket.replace("sock}", 'sock, socket_mode: "0660"}'))
            verdict = await one.reload()
            assert "~ server.socket_mode: 0666 -> 0660" in verdict.plan.changes
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            async with caller(one.url) as third:
                assert await third.call("say") == ["unix"]
    assert not path.exists()


async def test_a_trusted_proxy_on_a_unix_socket_tells_the_client(gateway) -> None:
    """Then `sockets_per_address` counts its clients by their own addresses."""
    config = CONFIG + (
        "limits: {sockets_per_address: 1}\n"
        "server: {socket: clients.sock, trusted_proxies: [unix]}\n"
    )
    say = "async def say(ctx): return ctx.socket.handshake.address\n"
    async with gateway(config, port=None, chat=say) as one:
        for number in (1, 2):
            address = f"192.0.2.{number}"
            async with raw(one.url, "polling", {"X-Forwarded-For": address}) as client:
                await client.join()
                await client.send('420["say"]')
                assert await client.receive() == f'430["{address}"]'
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    async with raw(one.url, headers={"X-Forwarded-For": address}):
                        pass
                assert refused.value.status == 503


async def test_a_socket_that_cannot_be_made_is_told_at_its_place(gateway) -> None:
    async with gateway(CONFIG) as one:
        one.config(CONFIG + "server: {socket: plugins/chat.py/run/clients.sock}\n")
        # What the command line says goes before the file.
        assert (await one.reload()).result == "applied"
    async with gateway(CONFIG + "server: {socket: one.sock}\n", port=None) as one:
        one.config(CONFIG + "server: {socket: plugins/chat.py/run/clients.sock}\n")
        verdict = await one.reload()
        [problem] = verdict.problems
        assert (problem.path, problem.place.line) == ("server.socket", 6)
        assert problem.message == (
            f"cannot listen on {one.folder}/plugins/chat.py/run/clients.sock: Not a directory"
        )
        assert await one.said() == "one"


TOKEN = "a secret of 16 and more"


async def test_admin_listener_comes_moves_and_goes(gateway) -> None:
    ports = [free_port(), free_port()]
    async with gateway() as one, aiohttp.ClientSession() as kept:
        for _ in range(2):
            for port in ports:
                one.config(CONFIG + f"admin: {{port: {port}}}\n")
                assert (await one.reload()).result == "applied"
                url = f"http://127.0.0.1:{port}/-/status"
                async with kept.get(url) as response:
                    assert (await response.json())["generation"] == one.verdicts[-1].generation
            assert await is_refused(f"http://127.0.0.1:{ports[0]}")
            one.config(CONFIG)
            assert (await one.reload()).result == "applied"
            for port in ports:
                with pytest.raises(aiohttp.ClientConnectorError):
                    await kept.get(f"http://127.0.0.1:{port}/-/status")


async def test_the_admin_call_that_moves_its_listener_is_answered(gateway) -> None:
    async with gateway(CONFIG + "admin: {socket: one.sock}\n") as one:
        one.config(CONFIG + "admin: {socket: two.sock}\n")
        assert (await one.post("/-/reload"))["result"] == "applied"
        assert not (one.folder / "one.sock").exists()
        one.config(CONFIG)
        assert (await one.post("/-/reload"))["result"] == "applied"
        assert not (one.folder / "two.sock").exists()


async def test_no_connection_keeps_the_rights_it_had_under_another_token(gateway) -> None:
    """Once the block is gone there is no token to ask for, and so nobody to answer."""
    async with gateway(CONFIG + f"admin: {{port: {free_port()}, token: {TOKEN}}}\n") as one:
        port = int(one.admin.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        one.config(CONFIG)
        assert (await one.reload()).result == "applied"
        writer.write(b"GET /-/status HTTP/1.1\r\nHost: x\r\n\r\n")
        async with deadline():
            rest = await reader.read()
        assert b"generation" not in rest
        writer.close()


async def test_a_new_token_holds_at_once(gateway) -> None:
    config = CONFIG + f"admin: {{socket: admin.sock, token: {TOKEN}}}\n"
    async with gateway(config) as one:
        old = {"Authorization": f"Bearer {TOKEN}"}
        new = {"Authorization": f"Bearer {TOKEN} now"}
        one.config(config.replace(TOKEN, f"{TOKEN} now"))
        assert (await one.post("/-/reload", headers=old))["changes"] == ["~ admin.token"]
        refusal = {"error": "a bearer token is needed"}
        assert await one.get("/-/status", headers=old) == refusal
        assert (await one.get("/-/status", headers=new))["generation"] == 2
