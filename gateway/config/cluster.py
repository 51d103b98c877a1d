"""The `cluster` block: what it says, and what the schema cannot check of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from gateway.config.include import Data, Document
from gateway.config.messages import is_loopback, with_slash
from gateway.config.model import (
    AcceptConfig,
    BusTlsConfig,
    ClusterConfig,
    ListenConfig,
    ListenTlsConfig,
    NatsConfig,
    RedisConfig,
    SentinelConfig,
)
from gateway.config.tls import bus_context, member_contexts
from gateway.errors import Problem

__all__ = ["build_cluster", "cluster_problems"]

PORT, SENTINEL_PORT = 6379, 26379
HOST = "127.0.0.1"


def build_cluster(folder: Path, data: Mapping[str, Any] | None) -> ClusterConfig | None:
    """The config of a block, of which parts with a problem are left out.

    Files are relative to `folder`. `None` without a block, or if too little is left of it.
    """
    if not data or not (data.get("redis") or data.get("nats")):
        return None
    given = {key: data[key] for key in ("name", "readyz") if key in data}
    accept = tuple(_accept(each) for each in data.get("accept") or () if each)
    redis = _redis(folder, data["redis"]) if data.get("redis") else None
    nats = _nats(folder, data["nats"]) if data.get("nats") else None
    listen = _listen(folder, data["listen"]) if data.get("listen") is not None else None
    return ClusterConfig(redis, nats, accept=accept, listen=listen, **given)


def _listen(folder: Path, data: Mapping[str, Any]) -> ListenConfig:
    given = {key: data[key] for key in ("host", "port", "advertise", "secret") if key in data}
    given.setdefault("advertise", given.get("host", HOST))
    tls = data.get("tls") or {}
    files = {key: folder / tls[key] for key in tls}
    is_whole = files.keys() == {"cert", "key", "ca"}
    return ListenConfig(tls=ListenTlsConfig(**files) if is_whole else None, **given)


def _redis(folder: Path, data: Mapping[str, Any]) -> RedisConfig:
    url = urlsplit(data.get("url", ""))
    sentinel = data.get("sentinel")
    is_file = url.scheme == "unix"
    return RedisConfig(
        host=url.hostname or "127.0.0.1",
        port=url.port or PORT,
        path=str(folder / unquote(url.path)) if is_file else "",
        username=data.get("username") or unquote(url.username or ""),
        password=data.get("password") or unquote(url.password or ""),
        is_tls=url.scheme == "rediss" or data.get("tls") is not None,
        tls=_tls(folder, data.get("tls")),
        sentinel=_sentinel(sentinel) if sentinel else None,
    )


def _nats(folder: Path, data: Mapping[str, Any]) -> NatsConfig:
    urls = (written,) if isinstance(written := data.get("url") or (), str) else tuple(written)
    return NatsConfig(
        urls=urls,
        username=data.get("username", ""),
        password=data.get("password", ""),
        token=data.get("token", ""),
        is_tls=data.get("tls") is not None or any(url.startswith("tls:") for url in urls),
        tls=_tls(folder, data.get("tls")),
    )


def _tls(folder: Path, data: Mapping[str, str] | None) -> BusTlsConfig | None:
    if data is None:
        return None
    return BusTlsConfig(**{key: folder / data[key] for key in data})


def _sentinel(data: Mapping[str, Any]) -> SentinelConfig:
    hosts = tuple(_host(written) for written in data.get("hosts") or () if written)
    return SentinelConfig(data.get("master", ""), hosts, data.get("username"), data.get("password"))


def _host(written: str) -> tuple[str, int]:
    """Return host and port of `host`, `host:port` or `[address]:port`."""
    found = urlsplit(f"//{written}")
    return found.hostname or "", found.port or SENTINEL_PORT


def _accept(written: str | Mapping[str, Any]) -> AcceptConfig:
    data: Mapping[str, Any] = {"from": written} if isinstance(written, str) else written
    namespaces, operations = data.get("namespaces"), data.get("operations")
    return AcceptConfig(
        source=data.get("from", "emitter"),
        namespaces=None if namespaces is None else tuple(map(with_slash, namespaces)),
        operations=None if operations is None else tuple(operations),
        channel=data.get("channel", "socketio"),
    )


def cluster_problems(document: Document) -> Iterator[Problem]:
    """Find what the block lacks, and what does not go together in it."""
    block = _mapping(document.data.get("cluster"))
    if document.data.get("cluster") is not None and ("redis" in block) == ("nats" in block):
        yield document.key_at("cluster").problem("write either redis or nats")
    if "redis" in block:
        yield from _redis_problems(document, _mapping(block["redis"]))
        yield from _twice(document, block.get("accept"))
    if "nats" in block:
        yield from _nats_problems(document, _mapping(block["nats"]))
        if block.get("accept"):
            message = "goes with redis: Node servers and emitters are not on NATS"
            yield document.key_at("cluster", "accept").problem(message)
    if block.get("listen") is not None:
        yield from _listen_problems(document, _mapping(block["listen"]))


def _redis_problems(document: Document, redis: Mapping[str, Any]) -> Iterator[Problem]:
    at = ("cluster", "redis")
    yield from _lacks(document, "redis", "hiredis")
    if redis and ("url" in redis) == ("sentinel" in redis):
        message = "write either url or sentinel"
        yield document.key_at(*at).problem(message)
    url = redis.get("url")
    if isinstance(url, str):
        yield from _url_problems(document, url, is_tls=redis.get("tls") is not None)
    yield from _tls_problems(document, "redis", _mapping(redis.get("tls")))
    yield from _bad_hosts(document, _mapping(redis.get("sentinel")).get("hosts"))


def _nats_problems(document: Document, nats: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _lacks(document, "nats", "nats")
    url = nats.get("url")
    for index, written in enumerate(url if isinstance(url, list) else [url]):
        try:
            port = urlsplit(str(written)).port
            is_valid = port is None or port > 0
        except ValueError:
            is_valid = False
        if not is_valid:
            path: tuple[str | int, ...] = ("cluster", "nats", "url")
            path += (index,) if isinstance(url, list) else ()
            yield document.at(*path).problem("the host or port of this URL is none")
    if "token" in nats and "username" in nats:
        message = "write either token, or username and password"
        yield document.key_at("cluster", "nats", "token").problem(message)
    yield from _tls_problems(document, "nats", _mapping(nats.get("tls")))


def _lacks(document: Document, engine: str, library: str) -> Iterator[Problem]:
    if find_spec(library) is None:
        message = f"needs a library that is not installed: pip install 'sockgw[{engine}]'"
        yield document.key_at("cluster", engine).problem(message)


def _tls_problems(document: Document, engine: str, tls: Mapping[str, Data]) -> Iterator[Problem]:
    at, is_whole = ("cluster", engine, "tls"), ("cert" in tls) == ("key" in tls)
    if not is_whole:
        yield document.key_at(*at).problem("cert and key belong together")
    files = {key: document.folder / str(each) for key, each in tls.items()}
    missing = [key for key, file in files.items() if not file.is_file()]
    for key in missing:
        yield document.at(*at, key).problem(f"cannot read {files[key]}")
    if files.keys() <= {"ca", "cert", "key"} and is_whole and not missing:
        try:
            bus_context(BusTlsConfig(**files))
        except ValueError as error:
            yield document.key_at(*at).problem(str(error))


def _listen_problems(document: Document, listen: dict[str, Data]) -> Iterator[Problem]:
    at, host = ("cluster", "listen"), listen.get("host", HOST)
    is_guarded = any((*at, key) in document.keys for key in ("secret", "tls"))
    if not is_guarded and not is_loopback(str(host)):
        message = "write secret or tls: whoever reaches this port could take over every session"
        yield document.key_at(*at).problem(message)
    if host in {"0.0.0.0", "::"} and "advertise" not in listen:
        message = f"write advertise: no machine can connect to {host}"
        yield document.key_at(*at, "host").problem(message)
    files = {key: document.folder / str(each) for key, each in _mapping(listen.get("tls")).items()}
    missing = [key for key, file in files.items() if not file.is_file()]
    for key in missing:
        yield document.at(*at, "tls", key).problem(f"cannot read {files[key]}")
    if files.keys() == {"cert", "key", "ca"} and not missing:
        try:
            member_contexts(ListenTlsConfig(**files))
        except ValueError as error:
            yield document.key_at(*at, "tls").problem(str(error))


def _url_problems(document: Document, url: str, *, is_tls: bool) -> Iterator[Problem]:
    try:
        found = urlsplit(url)
        is_valid = found.port is None or found.port > 0
    except ValueError:
        is_valid = False
    at = document.at("cluster", "redis", "url")
    if not is_valid:
        yield at.problem("the host or port of this URL is none")
    elif found.scheme == "unix" and is_tls:
        yield at.problem("a Unix socket has no TLS: leave out tls")


def _bad_hosts(document: Document, hosts: Data) -> Iterator[Problem]:
    for index, written in enumerate(hosts if isinstance(hosts, list) else ()):
        try:
            host, _ = _host(str(written))
        except ValueError:
            host = ""
        if not host:
            at = document.at("cluster", "redis", "sentinel", "hosts", index)
            yield at.problem("expected a host or host:port, such as 10.0.0.1:26379")


def _twice(document: Document, accept: Data) -> Iterator[Problem]:
    seen = set()
    for index, written in enumerate(accept if isinstance(accept, list) else ()):
        source = written if isinstance(written, str) else _mapping(written).get("from")
        if source in seen:
            message = f"{source!r} is above already"
            yield document.at("cluster", "accept", index).problem(message)
        seen.add(str(source))


def _mapping(data: Data) -> dict[str, Data]:
    return data if isinstance(data, dict) else {}
