"""A cluster over TLS: certificates that are right, and what is told of those that are not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from gateway.cluster.nats import NatsBus, NatsServer
from gateway.config.model import BusTlsConfig
from gateway.config.tls import bus_context
from tests.authority import Authority, Files
from tests.cluster.linked import Cable
from tests.daemon.gateway_of_workers import until_true
from tests.daemon.test_cluster import get, until_status
from tests.daemon_in_loop import served
from tests.deadline import until
from tests.gateway_files import write
from tests.ports import free_port
from tests.programs.nats import nats
from tests.programs.redis import redis

CONFIG = """
cluster: {{name: shop, {engine}: {{url: "{url}", tls: {tls}}}}}
admin: {{port: {port}}}
namespaces: {{/: }}
"""


@dataclass
class Case:
    """What the server shows, what the gateway has, and what is told: `""` if it gets in.

    `asks` is true of a server that asks for a certificate. `shows` is the gateway's: one of the
    same authority, of another one, or none.
    """

    told: str = ""
    host: str = "127.0.0.1"
    is_expired: bool = False
    trusts_other: bool = False
    asks: bool = False
    shows: str = ""


CASES = {
    "right": Case(),
    "right, both ways": Case(asks=True, shows="same"),
    "expired": Case("its certificate is refused: certificate has expired", is_expired=True),
    "other authority": Case(
        "its certificate is refused: unable to get local issuer certificate", trusts_other=True
    ),
    "other host": Case(
        "its certificate is refused: IP address mismatch, certificate is not valid for '127.0.0.1'",
        host="redis.example",
    ),
    "none shown": Case("certificate of this member", asks=True),
    "other shown": Case("certificate of this member", asks=True, shows="other"),
}


def shown(folder: Path, case: Case) -> tuple[Files, str]:
    """What the server has, and the block of the gateway."""
    one, other = Authority(folder, "one"), Authority(folder, "other")
    trusted = other.file if case.trusts_other else one.file
    block = f'{{ca: "{trusted}"'
    if case.shows:
        own = (one if case.shows == "same" else other).sign("member.example")
        block += f', cert: "{own.cert}", key: "{own.key}"'
    return one.sign(case.host, is_expired=case.is_expired), block + "}"


@asynccontextmanager
async def server(engine: str, files: Files, *, asks: bool) -> AsyncIterator[str]:
    """A Redis behind something that ends TLS, or NATS; gives its URL."""
    async with AsyncExitStack() as stack:
        if engine == "nats":
            options = ["--tls", "--tlscert", str(files.cert), "--tlskey", str(files.key)]
            options += ["--tlsverify", "--tlscacert", str(files.ca)] if asks else []
            running = await stack.enter_async_context(nats(*options))
            yield running.url
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key)
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(files.ca)
        cable = Cable((await stack.enter_async_context(redis())).port, context)
        await cable.mend()
        stack.push_async_callback(cable.cut)
        yield f"rediss://127.0.0.1:{cable.port}"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ["redis", "nats"])
async def test_what_is_shown_and_what_is_told(
    tmp_path: Path, engine: str, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = CASES[case]
    files, tls = shown(tmp_path, found)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(server(engine, files, asks=found.asks))
        port = free_port()
        text = CONFIG.format(engine=engine, url=url, tls=tls, port=port)
        await stack.enter_async_context(served(write(tmp_path, text)))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        if not found.told:
            await until_status(http, port, up=True, fault="")
            return

        async def is_told() -> bool:
            _, status = await get(http, port, "/-/status")
            return found.told in status["cluster"]["fault"]

        await until_true(is_told)
        told = [each.message for each in caplog.records if "is away" in each.message]
        assert len(told) == 1
        assert found.told in told[0]
        assert (await get(http, port, "/readyz"))[0] == 200


async def test_nats_without_tls_is_told_nothing(tmp_path: Path) -> None:
    """Whoever is between could say that the server has no TLS, and read the password."""
    heard = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        writer.write(b'INFO {"server_id":"x","max_payload":1048576,"auth_required":true}\r\n')
        heard += await reader.read()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    tls = bus_context(BusTlsConfig(ca=Authority(tmp_path).file))
    server = NatsServer((f"nats://127.0.0.1:{port}",), "gate", "secret", tls=tls)
    bus = NatsBus("tag-0", server, "shop")
    bus.start()
    await until(lambda: bus.state.fault)
    assert bus.state.fault == "it does not speak TLS"
    await bus.close()
    listener.close()
    assert heard == b""
