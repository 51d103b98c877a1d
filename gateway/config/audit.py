"""Finds insecure settings in a valid gateway.yaml, and plugins that others may write."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from math import inf, log2
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from gateway.config import At, BackendConfig, Document, GatewayConfig, Use, is_loopback, with_slash
from gateway.errors import Place
from gateway.limits import bounded_by

__all__ = ["SEVERITIES", "Finding", "Severity", "audit", "warn_of_writable"]


Severity = Literal["high", "medium", "low"]

SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")
"""The worst first."""

LONG_IDLE = 15 * 60.0
"""Seconds of idleness that no proxy needs: Google's keep connections for 10 minutes."""

WIDEST_PREFIX = 7
"""Bits of the widest network that may be all one's own: fc00::/7, the private ones of IPv6."""

LEAST_BITS = 96
"""Bits of a token that cannot be guessed."""

_SECOND_LEVEL = frozenset(["ac", "co", "com", "edu", "gov", "ne", "net", "or", "org"])
_SHARED = frozenset(
    {
        *("amazonaws.com", "appspot.com", "azurewebsites.net", "cloudfront.net", "firebaseapp.com"),
        *("fly.dev", "github.io", "gitlab.io", "glitch.me", "herokuapp.com", "netlify.app"),
        *("ngrok-free.app", "ngrok.io", "onrender.com", "pages.dev", "surge.sh", "vercel.app"),
        *("trycloudflare.com", "web.app", "workers.dev"),
    }
)
"""Domains that hosting services give to anyone."""

_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}  # RFC 7518, section 3.2
_ATOM = r"(?:\[(?:[^\]\\]|\\.)+\]|\\.|[^()\[\]\\|*+?{}])"
_NESTED = re.compile(
    rf"(?<!\\)\((?:\?:)?(?:{_ATOM}[*+?])*{_ATOM}[*+](?:{_ATOM}[*+?])*\)(?:[*+]|\{{\d+,)"
)
"""A group that is repeated, and consists of repetitions alone, in a regular expression.

In how many ways it matches a text doubles with each character. In `(-a+)*` there is but one.
"""

_NODES_NAME = "socket.io"
"""The name that Node's adapters have for a cluster by default."""

_JWT, _API_KEY, _ORIGIN, _LOG = "builtin.jwt", "builtin.api_key", "builtin.origin", "builtin.log"


@dataclass(frozen=True, slots=True)
class Finding:
    """One insecure setting: its place, what is wrong and what to write instead."""

    severity: Severity
    at: At
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A config to audit, and the document it was made from."""

    config: GatewayConfig
    document: Document

    def at(self, *path: str | int) -> At:
        """Return the place of a value, or of the innermost block around it."""
        return self.document.around(*path)

    def middleware(self) -> Iterator[Use]:
        yield from self.config.server.handshake_middleware
        for namespace in self.config.namespaces.values():
            yield from namespace.connection_middleware
            yield from namespace.packet_middleware
            for route in namespace.routes.values():
                yield from route.middleware

    def value(self, path: tuple[str | int, ...]) -> object:
        value: object = self.document.data
        for key in path:
            value = value[key]  # type: ignore[index]
        return value


def audit(config: GatewayConfig, document: Document) -> tuple[Finding, ...]:
    """All findings, the worst first, then by place. `config` is that of `document`."""
    subject = Subject(config, document)
    found = {
        Finding(check.severity, at, message, check.remedy)
        for check in _CHECKS
        for at, message in check.look(subject)
    }
    return tuple(sorted(found, key=_rank))


def _rank(each: Finding) -> tuple[int, Place, str, str]:
    return SEVERITIES.index(each.severity), each.at.place, each.remedy, each.message


Look = Callable[[Subject], Iterator[tuple[At, str]]]


def _any_origin(subject: Subject) -> Iterator[tuple[At, str]]:
    if subject.config.server.cors_origins == "*":
        yield subject.at("server", "cors_origins"), "every web page may connect"


def _strangers(subject: Subject) -> Iterator[tuple[At, str]]:
    for at, origin in _origins(subject):
        if "://*." in origin and _is_for_anyone(urlsplit(origin).hostname or ""):
            yield at, f"{origin} allows the pages of strangers"


def _everyone_is_trusted(subject: Subject) -> Iterator[tuple[At, str]]:
    for index, proxy in enumerate(subject.config.server.trusted_proxies):
        if proxy != "unix" and ip_network(proxy).prefixlen < WIDEST_PREFIX:
            message = f"{proxy} trusts strangers: they can claim any address, scheme and host"
            yield subject.at("server", "trusted_proxies", index), message


def _open_redis(subject: Subject) -> Iterator[tuple[At, str]]:
    cluster = subject.config.cluster
    redis = cluster.redis if cluster else None
    if redis is None or redis.password or redis.path:
        return
    hosts = [host for host, _ in redis.sentinel.hosts] if redis.sentinel else [redis.host]
    if not all(map(is_loopback, hosts)) and not (redis.tls and redis.tls.cert):
        message = "no password: who reaches this Redis can send to all clients"
        yield subject.at("cluster", "redis"), message


def _plain_redis(subject: Subject) -> Iterator[tuple[At, str]]:
    cluster = subject.config.cluster
    redis = cluster.redis if cluster else None
    if redis is None or redis.is_tls or redis.path or redis.sentinel:
        return
    if redis.password and not is_loopback(redis.host):
        yield subject.at("cluster", "redis", "url"), "the password goes to Redis without TLS"


def _open_nats(subject: Subject) -> Iterator[tuple[At, str]]:
    nats = subject.config.cluster.nats if subject.config.cluster else None
    if nats is None or nats.password or nats.token or (nats.tls and nats.tls.cert):
        return
    if not all(is_loopback(urlsplit(url).hostname or "") for url in nats.urls):
        message = "no password: who reaches this NATS can send to all clients"
        yield subject.at("cluster", "nats"), message


def _plain_nats(subject: Subject) -> Iterator[tuple[At, str]]:
    nats = subject.config.cluster.nats if subject.config.cluster else None
    if nats is None or nats.is_tls or not (nats.password or nats.token):
        return
    if not all(is_loopback(urlsplit(url).hostname or "") for url in nats.urls):
        yield subject.at("cluster", "nats", "url"), "the password goes to NATS without TLS"


def _shared_name(subject: Subject) -> Iterator[tuple[At, str]]:
    cluster = subject.config.cluster
    if cluster and cluster.redis and cluster.name == _NODES_NAME and not cluster.accept:
        message = "the name that every Socket.IO server has by default: strangers may share it"
        yield subject.at("cluster", "name"), message


def _short_key(subject: Subject) -> Iterator[tuple[At, str]]:
    for use in subject.middleware():
        key, names = use.options.get("key"), use.options.get("algorithms")
        if use.name != _JWT or not isinstance(key, str) or not isinstance(names, list):
            continue
        least = max((_SECRET_BYTES.get(str(name), 0) for name in names), default=0)
        if len(key.encode()) < least:
            message = f"the secret has {len(key.encode())} bytes of {least}: it can be guessed"
            yield use.option_at["key"], message


def _writable_files(subject: Subject) -> Iterator[tuple[At, str]]:
    for file in subject.config.files:
        if is_writable_by_others(file):
            yield At("", Place(str(file))), "any user of this machine may write this file"


def _writable_plugins(subject: Subject) -> Iterator[tuple[At, str]]:
    for folder, at in subject.config.plugins:
        for path in writable_plugins(folder):
            yield at, f"any user of this machine may write {path}, which runs as the daemon"


def _no_authentication(subject: Subject) -> Iterator[tuple[At, str]]:
    if subject.config.server.handshake_middleware:
        return
    for path in subject.document.keys:
        if len(path) != 2 or path[0] != "namespaces":
            continue
        if not subject.config.namespaces[with_slash(str(path[1]))].connection_middleware:
            message = "no connection middleware: anyone who can reach the gateway may connect"
            yield subject.document.key_at(*path), message


def _literal_secret(subject: Subject) -> Iterator[tuple[At, str]]:
    secrets = subject.config.secrets
    for path in sorted(secrets.paths - secrets.filled, key=str):
        if not _is_public(subject, path):
            yield subject.at(*path), "a secret is written in the file"


def _unlimited(subject: Subject) -> Iterator[tuple[At, str]]:
    for path in subject.document.values:
        of_all = path[:-1] == ("limits",)
        of_a_namespace = path[:1] == ("namespaces",) and path[2:-1] == ("limits",)
        # A namespace without a bound of its own is held by the gateway's; one socket of it is not.
        if of_all or (of_a_namespace and path[-1] not in ("sockets", "handlers")):
            what = bounded_by(str(path[-1]))
            if what and subject.value(path) == "unlimited":
                yield subject.at(*path), f"no limit on {what}"


def _long_idle(subject: Subject) -> Iterator[tuple[At, str]]:
    timeout = subject.config.limits.keepalive_timeout
    if LONG_IDLE < timeout < inf:
        message = f"a connection may be idle for {timeout:g} s, and takes a file descriptor"
        yield subject.at("limits", "keepalive_timeout"), message


def _slow_pattern(subject: Subject) -> Iterator[tuple[At, str]]:
    message = "a repetition of repetitions: a few characters of a client can take seconds"
    for path in subject.document.values:
        if "namespaces" not in path[:1] or not {"schema", "events"} & set(path[2:-1]):
            continue
        if path[-1] == "pattern" and _NESTED.search(str(subject.value(path))):
            yield subject.at(*path), message
        elif path[-2] == "patternProperties" and _NESTED.search(str(path[-1])):
            yield subject.document.key_at(*path), message


def _open_token(subject: Subject) -> Iterator[tuple[At, str]]:
    admin = subject.config.admin
    if admin and not admin.socket and not is_loopback(admin.host):
        message = "the admin listener speaks plain HTTP to other machines: its token can be read"
        yield subject.at("admin", "host"), message


def _open_api(subject: Subject) -> Iterator[tuple[At, str]]:
    api = subject.config.api
    if api and not api.socket and not api.tls and not is_loopback(api.host):
        message = "the api speaks plain HTTP to other machines: its tokens can be read"
        yield subject.at("api", "host"), message


def _weak_token(subject: Subject) -> Iterator[tuple[At, str]]:
    api = subject.config.api
    for index, token in enumerate(api.tokens if api else ()):
        if _bits(token.token) < LEAST_BITS:
            message = f"the token of {token.name} is short, or made of few characters: a guess away"
            yield subject.at("api", "tokens", index, "token"), message


def _bits(secret: str) -> float:
    """Estimate the bits of a secret that was made of the kinds of characters in it, at random."""
    kinds = {"d": 10, "a": 26, "A": 26, "-": 10}
    used = {
        "d" if c.isdigit() else "A" if c.isupper() else "a" if c.isalpha() else "-" for c in secret
    }
    alphabet = min(sum(kinds[each] for each in used), 2 * len(set(secret)))
    return len(secret) * log2(alphabet)


def _open_admin(subject: Subject) -> Iterator[tuple[At, str]]:
    admin = subject.config.admin
    if admin and not admin.socket and not admin.token and is_loopback(admin.host):
        message = "any user of this machine may reload the gateway, and have it load other files"
        yield subject.at("admin"), message


def _readable_key(subject: Subject) -> Iterator[tuple[At, str]]:
    config = subject.config
    for block, tls in (("server", config.server.tls), ("api", config.api and config.api.tls)):
        if tls and os.path.exists(tls.key) and tls.key.stat().st_mode & stat.S_IROTH:
            yield subject.at(block, "tls", "key"), "any user of this machine may read the key"


def _no_tls(subject: Subject) -> Iterator[tuple[At, str]]:
    server = subject.config.server
    if not server.tls and not is_loopback(server.host):
        yield subject.at("server", "host"), "plain HTTP to other machines"


def _open_backend(subject: Subject) -> Iterator[tuple[At, str]]:
    for name, backend in subject.config.backends.items():
        if backend.url.startswith("http://") and not _is_here(backend):
            yield subject.at("backends", name, "url"), "plain HTTP to another machine"


def _unsigned(subject: Subject) -> Iterator[tuple[At, str]]:
    for name, backend in subject.config.backends.items():
        if not backend.sign and not _is_here(backend):
            message = "requests are not signed: others can pretend to be the gateway"
            yield subject.at("backends", name), message


def _open_spool(subject: Subject) -> Iterator[tuple[At, str]]:
    for backend in subject.config.backends.values():
        spool = backend.sessions.spool if backend.sessions else None
        if spool and spool.folder and is_writable_by_others(spool.folder):
            yield spool.at, "any user of this machine may delete what a backend is to be told"


def _is_here(backend: BackendConfig) -> bool:
    return backend.socket is not None or _is_local(backend.url)


def _one_address(subject: Subject) -> Iterator[tuple[At, str]]:
    config = subject.config
    if config.limits.sockets_per_address == inf and not is_loopback(config.server.host):
        yield subject.at("server", "host"), "one address may take up all connections"


def _token_in_query(subject: Subject) -> Iterator[tuple[At, str]]:
    for use in subject.middleware():
        source = use.options.get("source")
        if use.name in (_JWT, _API_KEY) and str(source).startswith("query."):
            message = "clients show their secret in the URL, which proxies log"
            yield use.option_at["source"], message


def _lasting_socket(subject: Subject) -> Iterator[tuple[At, str]]:
    for use in subject.middleware():
        if use.name == _JWT and use.options.get("on_expiry") == "ignore":
            yield use.option_at["on_expiry"], "a socket outlives the token that let it in"


def _local_origin(subject: Subject) -> Iterator[tuple[At, str]]:
    for at, origin in _origins(subject):
        if _is_local(origin):
            yield at, "pages of a development server may connect"


def _origins(subject: Subject) -> Iterator[tuple[At, str]]:
    """Yield the origins that are allowed, with the places of their lists."""
    origins = subject.config.server.cors_origins
    for origin in origins if isinstance(origins, tuple) else ():
        yield subject.at("server", "cors_origins"), origin
    for use in subject.middleware():
        allowed = use.options.get("allow")
        if use.name == _ORIGIN and isinstance(allowed, list):
            yield from ((use.option_at["allow"], str(origin)) for origin in allowed)


def _debug_log(subject: Subject) -> Iterator[tuple[At, str]]:
    for use in subject.middleware():
        if use.name == _LOG and use.options.get("level") == "debug":
            yield use.option_at["level"], "logs a line for every packet"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look for; `look` yields the position and message of each case."""

    severity: Severity
    remedy: str
    look: Look


_CHECKS = (
    Check("high", "list the origins that may, or write same-origin", _any_origin),
    Check("high", "name a domain of your own, as in https://*.example.com", _strangers),
    Check("high", "list the addresses of your proxies", _everyone_is_trusted),
    Check("high", "write password: ${REDIS_PASSWORD}, which Redis requires", _open_redis),
    Check("high", "write token: ${NATS_TOKEN}, which NATS requires", _open_nats),
    Check("high", "make one with: openssl rand -base64 64", _short_key),
    Check("high", "chmod o-w", _writable_files),
    Check("high", "chmod -R o-w", _writable_plugins),
    Check("medium", "add builtin.jwt, builtin.api_key or your own", _no_authentication),
    Check("medium", "write ${VAR} or ${file:PATH}, and change the secret", _literal_secret),
    Check("medium", "remove it to have the default, or write a number", _unlimited),
    Check("medium", "write it without, such as a+ for (a+)+", _slow_pattern),
    Check("medium", "listen on a Unix socket, or on loopback behind TLS", _open_token),
    Check(
        "medium", "give it tls, or listen on a Unix socket, or on loopback behind TLS", _open_api
    ),
    Check("medium", "make one with: openssl rand -hex 32", _weak_token),
    Check("medium", "write admin: {socket: admin.sock}, or add a token", _open_admin),
    Check("medium", "chmod 600", _readable_key),
    Check("medium", "write https://, or a Unix socket", _open_backend),
    Check("medium", "write sign: ${file:PATH}, and have it verified", _unsigned),
    Check("medium", "chmod 700", _open_spool),
    Check("low", "a little longer than the proxy in front keeps connections is enough", _long_idle),
    Check("low", "write rediss://, or keep Redis in a network of its own", _plain_redis),
    Check("low", "write tls://, or keep NATS in a network of its own", _plain_nats),
    Check("low", "write cluster: {name: ...}, unless Node servers are to join", _shared_name),
    Check("low", "add tls, or leave it to a proxy in front", _no_tls),
    Check("low", "write limits: {sockets_per_address: N}, or leave it to a proxy", _one_address),
    Check("low", "write source: auth.token, or a header", _token_in_query),
    Check("low", "leave it out, and have clients refresh their token", _lasting_socket),
    Check("low", "leave out localhost where it is served to others", _local_origin),
    Check("low", "leave out the level", _debug_log),
)


def _is_public(subject: Subject, path: tuple[str | int, ...]) -> bool:
    """Tell whether a value that looks like a secret is the hash of one, or a public key."""
    if "with" not in path:
        return False
    use = subject.value(path[: path.index("with", 2)])
    name = use.get("use") if isinstance(use, dict) else None
    options = use.get("with") if isinstance(use, dict) else None
    if name == _API_KEY:
        return True
    algorithms = options.get("algorithms") if isinstance(options, dict) else None
    return name == _JWT and not any(str(each).startswith("HS") for each in algorithms or ())


def _is_local(origin: str) -> bool:
    return is_loopback(urlsplit(origin).hostname or "")


def _is_for_anyone(host: str) -> bool:
    """Tell whether anyone can have a subdomain of this; knows the commonest such domains only."""
    labels = host.removeprefix("*.").split(".")
    if len(labels) == 1:
        return labels != ["localhost"]
    of_a_country = len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _SECOND_LEVEL
    return of_a_country or ".".join(labels) in _SHARED


log = logging.getLogger("sockgw.server")


def is_writable_by_others(path: Path) -> bool:
    """Tell whether any user of this machine may change a file, or the files of a folder."""
    try:
        return bool(path.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


def writable_plugins(folder: Path) -> Iterator[Path]:
    """Yield the folder and the code in it that other users may change."""
    if is_writable_by_others(folder):
        yield folder
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        names = sorted([*folders, *(name for name in files if name.endswith(".py"))])
        yield from (path for name in names if is_writable_by_others(path := Path(root, name)))


def warn_of_writable(config: GatewayConfig) -> None:
    """Log a warning when other users may write plugins."""
    found = [path for folder, _ in config.plugins for path in writable_plugins(folder)]
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        log.warning("any user may write %s%s, which runs as you: chmod -R o-w", found[0], more)
