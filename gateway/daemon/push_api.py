"""The api listener: pushes of other services, and lists of sockets, over HTTP."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.config import is_loopback
from gateway.config.model import ApiConfig, ApiToken, GatewayConfig
from gateway.daemon.access import NOT_FOR_PAGES, expect, has_token, is_named, is_of_a_page
from gateway.daemon.admin import AdminLog
from gateway.daemon.fleet import Fleet
from gateway.daemon.listener import AppServer, Listener
from gateway.engineio.violations import EventCounter
from gateway.push.keys import Keys
from gateway.push.openapi import DOCUMENT
from gateway.push.operations import (
    MOST_SECONDS,
    OPERATIONS,
    Call,
    FindSocket,
    ListNamespaces,
    ListRooms,
    ListSockets,
    Push,
    batch_of,
    listing_of,
    parsed,
    push_of,
)
from gateway.push.problems import PushError, problem

__all__ = ["MOST_BODY", "MOST_BYTES", "MOST_REQUESTS", "PushApi"]

LOG = logging.getLogger("sockgw.push")

MOST_BODY = 1_000_000
"""Bytes of the body of a request at most."""

MOST_REQUESTS = 1_000
"""Requests that are worked on at the same time at most."""

MOST_BYTES = 64_000_000
"""Bytes of all their bodies at most."""

LONGEST_KEY = 255
"""Characters of an Idempotency-Key at most."""

JSON, PROBLEM = "application/json", "application/problem+json"

TOKEN: web.RequestKey[ApiToken] = web.RequestKey("token", ApiToken)
"""Whose request it is."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PushApi:
    """The operations of the api listener, which a `fleet` performs.

    `listener` is where it is asked; connections end when its address changes. `former` is as of
    `Listener`.
    `counts` has how many requests were answered, by operation and status. `keys` are those of
    pushes that are not to be done twice.
    """

    def __init__(self, fleet: Fleet, former: socket.socket | None = None) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()
        self.keys = Keys()
        self.in_flight = 0
        self._bytes = 0
        self._fleet = fleet
        self._refused = EventCounter("refused", ("unauthorized", "forbidden"))
        app = web.Application(client_max_size=MOST_BODY)
        _add_routes(app, self)
        self.listener = Listener(AppServer(app, AdminLog("api")), former)

    def metrics(self) -> Iterator[Metric]:
        """Collect the metrics of the api."""
        requests = CounterMetricFamily(
            "sockgw_push_requests",
            "Requests to the api by operation and HTTP status.",
            labels=["operation", "status"],
        )
        for (operation, status), count in self.counts.items():
            requests.add_metric([operation, str(status)], count)
        yield requests
        yield GaugeMetricFamily(
            "sockgw_push_in_flight", "Requests to the api that are worked on.", self.in_flight
        )
        yield GaugeMetricFamily("sockgw_push_keys", "Idempotency keys known.", len(self.keys))
        yield CounterMetricFamily(
            "sockgw_push_replayed",
            "Pushes that were not done again, because of their idempotency key.",
            value=self.keys.replayed,
        )
        yield CounterMetricFamily(
            "sockgw_push_keys_forgotten",
            "Idempotency keys that were forgotten before their time, because there were too many.",
            value=self.keys.forgotten,
        )

    # Every request

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, and count it; whatever fails is a problem in JSON."""
        operation = request.match_info.route.name or "unknown"
        try:
            self._authorize(request, operation)
            with self._room_for(request):
                response = await handler(request)
        except PushError as error:
            response = self._problem(request, error)
        except web.HTTPException as error:
            response = self._problem(request, _of_http(error))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except (aiohttp.ClientError, web.RequestPayloadError):
            response = self._problem(request, PushError("bad_json", "the body cannot be read"))
        except Exception:
            LOG.exception("a fault in the gateway itself")
            response = self._problem(request, PushError("internal", "internal error"))
        self.counts[operation, response.status] += 1
        token = request.get(TOKEN)
        LOG.debug("%s by %s: %d", operation, token.name if token else "nobody", response.status)
        return response

    def _authorize(self, request: web.Request, operation: str) -> None:
        api = self._config.api
        if api is None:  # for an instant after a reload removed it
            raise PushError("unavailable", "there is no api any more")
        if is_of_a_page(request):
            raise PushError("forbidden", NOT_FOR_PAGES)
        if not _may_be_asked_as(api, request):
            raise PushError("forbidden", "this host name is not allowed: add it to api.hosts")
        found = [token for token in api.tokens if has_token(request, token.token)]
        if found:
            request[TOKEN] = found[0]
        elif operation != "openapi":
            raise PushError("unauthorized", "a bearer token of api.tokens is needed")

    @contextmanager
    def _room_for(self, request: web.Request) -> Iterator[None]:
        """Hold room for a request and its body. Raises `PushError`."""
        size = request.content_length
        size = (MOST_BODY if size is None else size) if request.body_exists else 0
        if size > MOST_BODY:
            raise PushError("too_large", f"the body has {size} bytes of {MOST_BODY}")
        if self.in_flight >= MOST_REQUESTS or self._bytes + size > MOST_BYTES:
            raise PushError("busy", "too many requests at the same time")
        self.in_flight += 1
        self._bytes += size
        try:
            yield
        finally:
            self.in_flight -= 1
            self._bytes -= size

    def _problem(self, request: web.Request, error: PushError) -> web.Response:
        headers = {}
        if error.code == "unauthorized":
            headers["WWW-Authenticate"] = "Bearer"
        if error.status == 503:
            headers["Retry-After"] = "1"
        if error.code in {"unauthorized", "forbidden"}:
            self._refused.record(error.code, _who(request), error.detail)
        return web.Response(
            body=problem(error), status=error.status, content_type=PROBLEM, headers=headers
        )

    @property
    def _config(self) -> GatewayConfig:
        assert self._fleet.snapshot is not None
        assert self._fleet.snapshot.config is not None
        return self._fleet.snapshot.config

    # Pushes

    async def push(self, request: web.Request) -> web.Response:
        """Answer a push."""
        token, body = request[TOKEN], await request.read()
        push = _push(token, request.match_info.route.name or "", parsed(body))
        return await self._once(request, body, lambda: self._done(token, push))

    async def batch(self, request: web.Request) -> web.Response:
        """Answer a batch: one push after the other, each with a status of its own."""
        token, body = request[TOKEN], await request.read()
        pushes = batch_of(parsed(body))
        return await self._once(request, body, lambda: self._all_done(token, pushes))

    async def _once(
        self, request: web.Request, body: bytes, perform: Callable[[], Awaitable[bytes]]
    ) -> web.Response:
        """Answer with what `perform` does, or did for an earlier request with the same key."""
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return _json(await perform())
        if not 0 < len(key) <= LONGEST_KEY:
            raise PushError("bad_key", f"an Idempotency-Key has 1 to {LONGEST_KEY} characters")
        digest = hashlib.sha256(request.path.encode() + b"\0" + body).digest()
        return _json(await self.keys.once((request[TOKEN].name, key), digest, perform))

    async def _done(self, token: ApiToken, push: Push) -> bytes:
        if push.operation == "disconnect":
            LOG.info("%s in %s by %s", push.operation, push.target.namespace, token.name)
        return await self._fleet.push(push)

    async def _all_done(self, token: ApiToken, pushes: list[dict[str, Any]]) -> bytes:
        seconds, results = 0.0, []
        for each in pushes:
            try:
                push = _push(token, each.get("operation"), _without_operation(each))
                seconds += push.timeout if isinstance(push, Call) else 0.0
                if seconds > MOST_SECONDS:
                    text = f"the calls of a batch may take {MOST_SECONDS:g} s together"
                    raise PushError("bad_request", text)
                status, body = 200, await self._done(token, push)
            except PushError as error:
                status, body = error.status, problem(error)
            results.append(b'{"status":%d,"body":%b}' % (status, body))
        return b'{"results":[%b]}' % b",".join(results)

    # Lists

    async def namespaces(self, request: web.Request) -> web.Response:
        """List the namespaces that a token may read."""
        scopes = request[TOKEN].scopes
        names = frozenset(
            scope.removeprefix("read:") for scope in scopes if scope.startswith("read:")
        )
        if "read" not in scopes and not names:
            raise _lacking(request[TOKEN], "read")
        return await self._listed(ListNamespaces(None if "read" in scopes else names))

    async def rooms(self, request: web.Request) -> web.Response:
        """List the rooms of a namespace."""
        query = {**_query(request), "namespace": request.match_info["namespace"]}
        return await self._page(request, listing_of(ListRooms, query))

    async def sockets(self, request: web.Request) -> web.Response:
        """List the sockets of a namespace, or of a room or user in it."""
        return await self._page(request, listing_of(ListSockets, _query(request)))

    async def socket(self, request: web.Request) -> web.Response:
        """Return one socket."""
        token = request[TOKEN]
        names = tuple(each for each in self._config.namespaces if token.allows("read", each))
        if not names:
            raise _lacking(token, "read")
        return await self._listed(FindSocket(request.match_info["id"], names))

    async def openapi(self, request: web.Request) -> web.Response:
        """Return the description of all this."""
        return _json(DOCUMENT)

    async def _page(self, request: web.Request, asked: ListRooms | ListSockets) -> web.Response:
        name = _full(asked.namespace)
        if not request[TOKEN].allows("read", name):
            raise _lacking(request[TOKEN], f"read:{name}")
        return await self._listed(asked)

    async def _listed(
        self, asked: ListNamespaces | ListRooms | ListSockets | FindSocket
    ) -> web.Response:
        return _json(await self._fleet.push(asked))


def _add_routes(app: web.Application, api: PushApi) -> None:
    """Let `app` answer with what `api` does."""
    app.middlewares.append(api.answer)
    for name in OPERATIONS:
        app.router.add_post(f"/v1/{name}", api.push, name=name, expect_handler=expect)
    app.router.add_post("/v1/batch", api.batch, name="batch", expect_handler=expect)
    for name, path, get in (
        ("namespaces", "/v1/namespaces", api.namespaces),
        ("rooms", "/v1/namespaces/{namespace}/rooms", api.rooms),
        ("sockets", "/v1/sockets", api.sockets),
        ("socket", "/v1/sockets/{id}", api.socket),
        ("openapi", "/openapi.json", api.openapi),
    ):
        app.router.add_get(path, get, name=name, expect_handler=expect, allow_head=False)


def _push(token: ApiToken, operation: object, data: object) -> Push:
    """Read a push that a token allows. Raises `PushError`."""
    kind = OPERATIONS.get(operation) if isinstance(operation, str) else None
    if kind is None:
        raise PushError("bad_request", f"operation is one of {', '.join(OPERATIONS)}")
    push = push_of(kind, data)
    name = _full(push.target.namespace)
    if not token.allows("push", name):
        raise _lacking(token, f"push:{name}")
    return push


def _without_operation(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "operation"}


def _lacking(token: ApiToken, scope: str) -> PushError:
    text = f"the token {token.name!r} has no scope {scope}: add it to api.tokens"
    return PushError("forbidden", text)


def _full(namespace: str) -> str:
    return "/" + namespace.removeprefix("/")


def _may_be_asked_as(api: ApiConfig, request: web.Request) -> bool:
    """True if a request asks for this listener; elsewhere than on loopback, names are unknown."""
    if api.socket or not (api.hosts or is_loopback(api.host)):
        return True
    return is_named(request, [api.host.lower(), *api.hosts])


def _query(request: web.Request) -> dict[str, str]:
    """The query, each key once. Raises `PushError`."""
    query = dict(request.query)
    if len(query) < len(request.query):
        raise PushError("bad_request", "each key of the query stands there once")
    return query


def _of_http(error: web.HTTPException) -> PushError:
    """Turn an answer of aiohttp's own into one of ours."""
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return PushError("too_large", f"the body has more than {MOST_BODY} bytes")
    if isinstance(error, web.HTTPMethodNotAllowed):
        return PushError("method_not_allowed", f"{error.method} is not for this path")
    if isinstance(error, web.HTTPNotFound):
        return PushError("not_found", "there is no such path: see /openapi.json")
    return PushError("bad_json", error.reason)


def _who(request: web.Request) -> str:
    token = request.get(TOKEN)
    return f"the token {token.name!r}" if token else str(request.remote or "a Unix socket")


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=JSON)
