"""Three NATS servers that are a cluster: one may be killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import nats as client

from gateway.cluster.nats import NatsBus, NatsServer
from gateway.cluster.nats_lease import BUCKET
from tests.cluster.lease_servers import NatsLease
from tests.cluster.test_lease import SHORT, Cluster
from tests.deadline import deadline, until
from tests.ports import free_port
from tests.programs.nats import Nats


@asynccontextmanager
async def three(folder: Path) -> AsyncIterator[list[Nats]]:
    """Run three servers with JetStream."""
    ports = [free_port() for _ in range(3)]
    at = [f"nats://127.0.0.1:{port}" for port in ports]
    async with AsyncExitStack() as stack:
        servers = []
        for number, own in enumerate(at):
            options = ["--jetstream", "--store_dir", str(folder / f"store-{number}")]
            options += ["--server_name", f"server-{number}", "--cluster_name", "tests"]
            options += ["--cluster", own, "--routes", ",".join(at)]
            server = Nats(*options)
            stack.push_async_callback(server.kill)
            servers.append(await server.start())
        yield servers


async def test_the_server_that_a_member_is_on_is_killed(tmp_path: Path) -> None:
    """Its members go to another one, the lease is on the two that are left, and none runs twice."""
    async with three(tmp_path) as servers:
        urls = NatsServer(tuple(each.url for each in servers))
        found = Cluster(tmp_path, NatsLease(servers[0], urls), SHORT)
        await found.join("tag-0", "tag-1")
        await until(lambda: found.notes() and found.notes()[-1][0] == "+")
        holder = next(each.bus for each in found.members.values() if each.bus.lease.is_here)
        assert isinstance(holder, NatsBus)
        assert holder._client is not None
        assert holder._client.connected_url is not None
        (killed,) = [each for each in servers if each.port == holder._client.connected_url.port]
        await killed.kill()
        await until(lambda: holder.state.changes and holder.is_up)
        holders = found.members.values()
        await until(
            lambda: any(each.bus.lease.is_here for each in holders) and found.notes()[-1][0] == "+"
        )
        left = next(each for each in servers if each is not killed)
        assert await replicas(left) == 3
        for tag in list(found.members):
            await found.leave(tag)
        found.check()


async def replicas(server: Nats) -> int | None:
    """On how many servers the bucket is; none answers while they elect a leader."""
    connected = await client.connect(server.url)
    try:
        async with deadline():
            while True:
                with suppress(TimeoutError):
                    info = await connected.jetstream(timeout=1).stream_info(f"KV_{BUCKET}")
                    return info.config.num_replicas
    finally:
        await connected.close()
