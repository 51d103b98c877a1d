"""The compiler: config and plugins -> blueprint. The only one that knows the three layers.

Nothing is started: every name is resolved, every factory of middleware and handlers is called,
every chain is folded. What is wrong anywhere is reported at its line in the YAML, all at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from gateway import config as configs
from gateway.api import Gateway, Middleware
from gateway.config.model import At, GatewayConfig, NamespaceConfig, RouteConfig, Use
from gateway.errors import ConfigError, PluginError, Problem
from gateway.loader import (
    Plugin,
    PluginSet,
    arguments_of,
    bind_options,
    folder_fault,
    handler_fault,
    load_plugins,
    middleware_fault,
)
from gateway.runtime.blueprint import (
    GATEWAY_EVENTS,
    Blueprint,
    NamespaceBlueprint,
    Recipe,
    Route,
)
from gateway.runtime.chain import Link, fold
from gateway.runtime.fault import FAULTS
from gateway.runtime.route import answer, nothing
from gateway.runtime.trace import trace_middleware, trace_route

__all__ = ["compile_config", "load"]


def load(
    file: Path,
    environ: Mapping[str, str],
    *,
    trace: bool = False,
    former: Blueprint | None = None,
) -> tuple[GatewayConfig, Blueprint]:
    """Read `file` and its plugins and compile them: all that start, reload and check share.

    Raises `ConfigError` with every problem found.
    """
    config = configs.load(file, environ)
    problems = [
        at.problem(fault) for folder, at in config.plugins if (fault := folder_fault(folder))
    ]
    if problems:
        raise ConfigError(problems)
    plugins = load_plugins([folder for folder, _ in config.plugins])
    return config, compile_config(config, plugins, trace=trace, former=former)


def compile_config(
    config: GatewayConfig,
    plugins: PluginSet,
    *,
    trace: bool = False,
    former: Blueprint | None = None,
) -> Blueprint:
    """Compile `config` with `plugins`. Raises `ConfigError` with every problem found.

    What a factory made for `former` is carried over where nothing it was made from has changed.
    `trace` wraps every link and handler with log lines.
    """
    return _Compilation(config, plugins, trace, former).blueprint()


class _Compilation:
    """One run of the compiler: collects problems instead of stopping at the first."""

    def __init__(
        self, config: GatewayConfig, plugins: PluginSet, trace: bool, former: Blueprint | None
    ) -> None:
        self._config = config
        self._plugins = plugins
        self._trace = trace
        self._former = former.instances if former else {}
        self._instances: dict[Hashable, object] = {}
        self._problems: list[Problem] = list(plugins.problems)

    def blueprint(self) -> Blueprint:
        namespaces = {
            name: self._namespace(name, config) for name, config in self._config.namespaces.items()
        }
        services = {name: self._recipe(name, use) for name, use in self._config.services.items()}
        if self._problems:
            raise ConfigError(self._problems)
        digest = hashlib.sha256(f"{self._config.digest} {self._plugins.digest}".encode())
        return Blueprint(
            digest=digest.hexdigest(),
            namespaces=MappingProxyType(namespaces),
            services=MappingProxyType({n: r for n, r in services.items() if r is not None}),
            instances=MappingProxyType(self._instances),
        )

    def _namespace(self, name: str, config: NamespaceConfig) -> NamespaceBlueprint:
        connection = self._links(config.connection_middleware)
        packet = self._links(config.packet_middleware)
        routes: dict[str, Route] = {}
        for event, route in config.routes.items():
            if (built := self._route(event, route, config)) is not None:
                routes[event] = built
        serial = "namespace" if config.order == "serial" else None
        unrouted = Route(end=nothing, timeout=config.packet_timeout, serial=serial)
        return NamespaceBlueprint(
            name=name,
            connection_links=connection,
            packet_links=packet,
            connection=fold(connection),
            packet=fold(packet),
            routes={e: r for e, r in routes.items() if e not in GATEWAY_EVENTS and e != "*"},
            events={e: r for e, r in routes.items() if e in GATEWAY_EVENTS},
            fallback=routes.get("*", unrouted),
            connect_timeout=config.connect_timeout,
        )

    def _links(self, uses: tuple[Use, ...]) -> tuple[Link, ...]:
        return tuple(link for use in uses if (link := self._link(use)) is not None)

    def _link(self, use: Use) -> Link | None:
        plugin = self._resolve(use)
        made = plugin and self._made(use, plugin)
        if not plugin or not made:
            return None
        if fault := middleware_fault(made):
            return self._report(use.at, fault)
        run: Middleware = made  # type: ignore[assignment]  # middleware_fault has just said so
        if self._trace:
            run = trace_middleware(plugin.name, run)
        return Link(plugin.name, run, plugin.place)

    def _route(self, event: str, config: RouteConfig, namespace: NamespaceConfig) -> Route | None:
        plugin = self._resolve(config.use)
        handler = plugin and self._made(config.use, plugin)
        if not plugin or not handler:
            return None
        if fault := handler_fault(handler):
            return self._report(config.use.at, fault)
        end = answer(handler, arguments_of(handler))
        if self._trace:
            end = trace_route(event, plugin.name, end)
        return Route(
            end=end,
            handler=plugin.name,
            place=plugin.place,
            timeout=config.timeout or namespace.packet_timeout,
            cancel_on_disconnect=config.on_disconnect == "cancel",
            serial=_queue(event, config, namespace),
        )

    def _recipe(self, name: str, use: Use) -> Recipe | None:
        plugin = self._resolve(use)
        if plugin is None:
            return None
        if not plugin.is_factory or plugin.method:
            return self._report(
                use.at, f"'{plugin.name}' is no factory: a service is made by a class or a def"
            )
        options = self._options(use, plugin, given=("gateway",))
        if options is None:
            return None
        key = (name, *_key(use, plugin))
        return Recipe(key, partial(_make_service, plugin, options), use.at.problem)

    def _made(self, use: Use, plugin: Plugin) -> object | None:
        """What `use` stands for: the plugin itself, or what its factory makes of the options."""
        if not plugin.is_factory:
            if use.options:
                at = next(iter(use.option_at.values()), use.at)
                return self._report(at, f"'{plugin.name}' is an async def, it takes no options")
            return plugin.target
        key = _key(use, plugin)
        if key not in self._instances:
            options = self._options(use, plugin)
            if options is None:
                return None
            try:
                made = self._former.get(key) or plugin.make(options)
            except FAULTS as error:
                reason = f"{type(error).__name__}: {error}"
                return self._report(use.at, f"'{plugin.name}' could not be made: {reason}")
            self._instances[key] = made
        made = self._instances[key]
        return getattr(made, plugin.method) if plugin.method else made

    def _options(
        self, use: Use, plugin: Plugin, given: tuple[str, ...] = ()
    ) -> Mapping[str, object] | None:
        bound = bind_options(plugin.target, use.options, given)
        for option, fault in bound.faults:
            self._report(use.option_at.get(option or "", use.at), f"'{plugin.name}': {fault}")
        return None if bound.faults else bound.options

    def _resolve(self, use: Use) -> Plugin | None:
        try:
            return self._plugins.resolve(use.name)
        except PluginError as error:
            # A name in a file that does not import: the import's own problem says it all.
            if not error.reported:
                self._report(use.at, error.message)
            return None

    def _report(self, at: At, message: str) -> None:
        self._problems.append(at.problem(message))


def _queue(event: str, config: RouteConfig, namespace: NamespaceConfig) -> str | None:
    order = config.order or namespace.order
    if order == "concurrent":
        return None
    return "namespace" if config.order is None else f"route {event}"


def _key(use: Use, plugin: Plugin) -> tuple[str, str, str]:
    made_from = plugin.name.removesuffix(f".{plugin.method}")
    return (made_from, json.dumps(use.options, sort_keys=True, default=repr), plugin.digest)


def _make_service(plugin: Plugin, options: Mapping[str, object], gateway: Gateway) -> object:
    wants_gateway = plugin.takes("gateway")
    return plugin.make({**options, "gateway": gateway} if wants_gateway else options)
