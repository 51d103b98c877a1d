"""Makes a process a member of the cluster that its config names."""

from __future__ import annotations

import asyncio
import secrets
from typing import Protocol

from gateway.cluster.accept import Accept, Rule
from gateway.cluster.bus import Bus
from gateway.cluster.emitter import ClusterEmitter
from gateway.cluster.links import Links, LinkSettings
from gateway.cluster.local import LocalBus
from gateway.cluster.members import Members
from gateway.cluster.peer import Mesh
from gateway.cluster.redis_copies import RedisCopies
from gateway.config.model import (
    AcceptConfig,
    ClusterConfig,
    ListenConfig,
    NatsConfig,
    RedisConfig,
)
from gateway.config.tls import bus_context, member_contexts
from gateway.daemon.serving import Serving

__all__ = ["TAG", "join", "new_tag"]

TAG = 5
"""Characters of a member's tag."""


class ClusterBus(Bus, Protocol):
    """An engine between machines, on which members tell by beats that they are there."""

    @property
    def beats(self) -> Members: ...

    @property
    def copies(self) -> RedisCopies | None:
        """Where copies of spools are kept, `None` if the engine keeps nothing."""


def new_tag() -> str:
    """Return a tag, which no other member has."""
    return secrets.token_urlsafe(TAG)[:TAG]


def join(serving: Serving, mesh: Mesh, number: int = 1) -> ClusterEmitter:
    """Let a process reach other members: those of `mesh`, and of the cluster if it is in one.

    `number` is that of the worker. To be called before anything starts in the process. Returns the
    emitter that plugins get.
    """
    config, local = serving.build.config.cluster, LocalBus(mesh)
    bus: Bus = local
    accept = Accept()
    if config is not None:
        bus = between = _bus(config, mesh.tag)
        mesh.on_lost.append(lambda peer: _ended(between.beats, peer.tag))
        accept = _accept(config.accept)
        if between.copies is not None:
            serving.sessions.use(between.copies)
        if config.listen is not None:
            settings, engine = _link_settings(config.listen, number), serving.sockets.engine
            serving.links = Links(engine, serving.http, settings, between.beats, mesh.peers)
    emitter = ClusterEmitter(serving.sockets.hub, bus, number, accept, local)
    serving.bus = bus
    if config is not None:
        serving.configurations = emitter.configurations
    return emitter


def _ended(beats: Members, tag: str) -> None:
    """Note the end of a worker on this machine, once what it has said until then is read."""
    asyncio.get_running_loop().call_soon(beats.ended, tag)


def _link_settings(config: ListenConfig, number: int) -> LinkSettings:
    """The settings of a worker, which listens on a port of its own."""
    port = config.port + number - 1 if config.port else 0
    tls = member_contexts(config.tls) if config.tls else None
    return LinkSettings(config.host, port, config.advertise, config.secret.encode(), tls)


def _bus(config: ClusterConfig, tag: str) -> ClusterBus:
    if config.redis is not None:
        return _redis_bus(config, config.redis, tag)
    assert config.nats is not None
    return _nats_bus(config.name, config.nats, tag)


def _nats_bus(name: str, nats: NatsConfig, tag: str) -> ClusterBus:
    # nats-py, which this imports, is an extra.
    from gateway.cluster.nats import NatsBus, NatsServer  # noqa: PLC0415

    tls = bus_context(nats.tls) if nats.is_tls else None
    server = NatsServer(nats.urls, nats.username, nats.password, nats.token, tls)
    return NatsBus(tag, server, name)


def _redis_bus(config: ClusterConfig, redis: RedisConfig, tag: str) -> ClusterBus:
    # hiredis, which this imports, is an extra.
    from gateway.cluster.redis import RedisBus  # noqa: PLC0415
    from gateway.cluster.redis_channels import Channels, Dialects  # noqa: PLC0415
    from gateway.cluster.redis_connection import Server  # noqa: PLC0415

    sentinel = redis.sentinel
    server = Server(
        redis.host,
        redis.port,
        redis.path,
        redis.username,
        redis.password,
        bus_context(redis.tls) if redis.is_tls else None,
        sentinel.hosts if sentinel else (),
        sentinel.master if sentinel else "",
        (sentinel.username if sentinel else "") or "",
        (sentinel.password if sentinel else "") or "",
    )
    channels = {each.source: each.channel for each in config.accept}
    dialects = Dialects("node" in channels, channels.get("python-socketio", ""))
    return RedisBus(tag, server, Channels(config.name, tag, dialects))


def _accept(accepted: tuple[AcceptConfig, ...]) -> Accept:
    def rule(each: AcceptConfig) -> Rule:
        namespaces, operations = each.namespaces, each.operations
        return Rule(
            None if namespaces is None else frozenset(namespaces),
            None if operations is None else frozenset(operations),
        )

    return Accept({each.source: rule(each) for each in accepted})
