"""The ways to a Redis: a password, a Unix socket, Sentinels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.cluster.redis import RedisBus
from gateway.cluster.redis_channels import Channels
from gateway.cluster.redis_connection import Server
from tests.deadline import until
from tests.programs.redis import Redis, redis


@asynccontextmanager
async def connecting(server: Server) -> AsyncIterator[RedisBus]:
    bus = RedisBus("tag-0", server, Channels("test", "tag-0"))
    bus.start()
    yield bus
    await bus.close()


async def test_a_password_and_a_user_that_may_do_what_is_needed() -> None:
    commands = "hello ping publish subscribe psubscribe unsubscribe punsubscribe pubsub role"
    commands += " eval get set"
    allowed = " ".join(f"+{each}" for each in commands.split())
    async with redis() as running:
        answer = await running.command(
            *("ACL SETUSER gate on >secret allchannels ~test-lead -@all", allowed)
        )
        assert answer == b"+OK"
        server = Server(port=running.port, username="gate", password="secret")
        async with connecting(server) as bus:
            await until(lambda: bus.is_up or bus.state.fault)
            assert bus.state.fault == ""
            assert await running.command("SET test-lead free") == b"+OK"
            await bus.lease.decide()
            assert bus.lease.is_here
        async with connecting(Server(port=running.port, username="gate", password="x")) as bus:
            await until(lambda: bus.state.fault)
            assert bus.state.fault.startswith("WRONGPASS")


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "redis.sock")
    async with redis("--unixsocket", path), connecting(Server(path=path)) as bus:
        await until(lambda: bus.is_up)


async def test_what_is_no_redis_is_told() -> None:
    async with redis() as running, connecting(Server(path="/none")) as bus:
        await until(lambda: bus.state.fault)
        assert bus.state.fault == "no such file or directory"
        assert running.port


async def test_sentinels_tell_where_the_master_is(tmp_path: Path) -> None:
    async with redis() as master, redis() as other:
        file = tmp_path / "sentinel.conf"
        file.write_text(
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 500\n"
        )
        assert await other.command("REPLICAOF 127.0.0.1", str(master.port)) == b"+OK"
        sentinel = Redis()
        await sentinel.start(str(file), "--sentinel")
        try:
            hosts = (("127.0.0.1", 1), ("127.0.0.1", sentinel.port))
            async with connecting(Server(sentinels=hosts, master="none")) as bus:
                await until(lambda: bus.state.fault)
                assert "no master 'none'" in bus.state.fault
            async with connecting(Server(sentinels=hosts, master="main")) as bus:
                await until(lambda: bus.is_up)
                found = await bus._link.connection.ask(b"CONFIG", b"GET", b"port")  # type: ignore[union-attr]
                assert str(master.port).encode() in str(found).encode()
        finally:
            await sentinel.kill()
