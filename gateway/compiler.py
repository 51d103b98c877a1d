"""The compiler: config and plugins to a blueprint. The only module that knows all three layers.

Nothing is started: every name is resolved, every factory of middleware and handlers is called,
every chain is folded. Every problem is reported at its line in the YAML, all at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

from gateway import config as configs
from gateway.agreement import (
    as_middleware,
    backend_faults,
    backends_in,
    chain_fault,
    event_doubts,
    event_faults,
    handler_doubts,
    lonely_doubts,
    option_doubts,
    schema_doubts,
    schema_faults,
)
from gateway.api import Gateway, Handler, Next
from gateway.backends.backend import HttpBackend, make_backends
from gateway.builtin._schema import COST, ArgumentsSchema, BadSchema, Cost
from gateway.config.model import At, GatewayConfig, NamespaceConfig, RouteConfig, Schema, Use
from gateway.config.secrets import Secrets
from gateway.context import Context, HandshakeContext, Presence, Tally
from gateway.errors import ConfigError, Place, PluginError, Problem
from gateway.http.static import Pages
from gateway.loader import (
    BoundOptions,
    BrokenPlugin,
    Plugin,
    PluginSet,
    Role,
    arguments_of,
    bind_options,
    doubts,
    handler_fault,
    make_plugins,
    method_fault,
    middleware_fault,
)
from gateway.pages import make_pages
from gateway.runtime.blueprint import (
    GATEWAY_EVENTS,
    Blueprint,
    NamespaceBlueprint,
    Recipe,
    Route,
)
from gateway.runtime.chain import (
    FLOW,
    AnyContext,
    Chain,
    Link,
    answer,
    checked,
    fold,
    nothing,
    trace_middleware,
    trace_route,
    trace_unrouted,
)
from gateway.runtime.outcome import FAULTS
from gateway.snapshot import Snapshot, take_snapshot

P = ParamSpec("P")
T = TypeVar("T")

__all__ = [
    "Build",
    "compile_config",
    "compile_snapshot",
    "load",
    "schema_cost",
]


@dataclass(frozen=True, slots=True)
class Build:
    """A file that can be served: its config, the plugins it names, and the blueprint of both.

    `warnings` are about what can be served, and is most likely not meant. `pages` are those of
    `server.static`, `page_files` has the digest of each by its path as the file has it. `backends`
    are by name.
    """

    config: GatewayConfig
    plugins: PluginSet
    blueprint: Blueprint
    warnings: tuple[Problem, ...]
    pages: Pages = field(default_factory=dict)
    page_files: Mapping[str, str] = field(default_factory=dict)
    backends: Mapping[str, HttpBackend] = field(default_factory=dict)


def load(
    file: Path,
    environ: Mapping[str, str],
    *,
    trace: bool = False,
    former: Build | None = None,
    beside: Path | None = None,
) -> Build:
    """Read `file` and its plugins and compile them; see `take_snapshot` and `compile_snapshot`."""
    return compile_snapshot(take_snapshot(file, environ, beside), trace=trace, former=former)


def compile_snapshot(
    snapshot: Snapshot, *, trace: bool = False, former: Build | None = None
) -> Build:
    """Import the plugins of a snapshot and compile it: what start, reload and check share.

    Plugin code, and what its factories made, is carried over from `former` where nothing it was
    made from has changed. `trace` wraps every link and handler with log lines. Raises
    `ConfigError` with every problem found.
    """
    if snapshot.config is None:
        raise ConfigError(snapshot.problems)
    plugins = make_plugins(snapshot.sources, former.plugins if former else None)
    made = former.blueprint.instances if former else {}
    build = compile_config(
        snapshot.config,
        plugins,
        trace=trace,
        made=made,
        backends=former.backends if former else {},
        problems=snapshot.problems,
    )
    files = snapshot.page_files
    digest = hashlib.sha256(f"{build.blueprint.digest} {files.digest}".encode()).hexdigest()
    return replace(
        build,
        blueprint=replace(build.blueprint, digest=digest),
        pages=make_pages(files, former.pages if former else {}),
        page_files={str(each.path): each.digest for each in files.files.values()},
    )


def compile_config(
    config: GatewayConfig,
    plugins: PluginSet,
    *,
    trace: bool = False,
    made: Mapping[Hashable, object] = MappingProxyType({}),
    backends: Mapping[str, HttpBackend] = MappingProxyType({}),
    problems: Iterable[Problem] = (),
) -> Build:
    """Compile `config` with `plugins`. Raises `ConfigError` with every problem found.

    `made` are the instances of the former blueprint, `backends` those of the former build: both
    may be used again. `problems` are those of the file itself.
    """
    kept = make_backends(config.backends, config.server.workers, backends)
    compilation = _Compilation(config, plugins, trace, made, kept)
    uninstall = plugins.install()  # annotations and pickles are looked up in sys.modules
    try:
        blueprint = compilation.blueprint()
    finally:
        uninstall()
    told = partial(_as_written, config)
    warnings = tuple(configs.distinct(map(told, compilation.warnings)))
    found = [*problems, *map(told, compilation.problems)]
    if found:
        raise ConfigError(configs.distinct(found), warnings)
    return Build(config, plugins, blueprint, warnings, backends=kept)


def schema_cost() -> Cost:
    """What checking arguments against schemas has cost in this process, of routes and built-ins."""
    return replace(COST)


@dataclass(frozen=True, slots=True)
class _Scope:
    """The namespace around a route: its name, its config, and its packet chain, also folded."""

    name: str
    config: NamespaceConfig
    links: tuple[Link[Context], ...]
    chain: Chain[Context]


class _Compilation:
    """One run of the compiler: collects problems instead of stopping at the first."""

    def __init__(
        self,
        config: GatewayConfig,
        plugins: PluginSet,
        trace: bool,
        made: Mapping[Hashable, object],
        backends: Mapping[str, HttpBackend],
    ) -> None:
        self._config = config
        self._backends = backends
        self._plugins = plugins
        self._traces_all = trace or config.log.level_of(FLOW) == "debug"
        self._trace = self._traces_all
        self._former = made
        self._instances: dict[Hashable, Any] = {}
        self._tallies: list[Tally] = []
        folder_problems = list(_folder_problems(config, plugins))
        self._lacks_folders = bool(folder_problems)
        self.problems = [*plugins.problems, *folder_problems]
        self.warnings = [*config.warnings]

    def blueprint(self) -> Blueprint:
        """Return the blueprint, which is of no use when there are `problems`."""
        config = self._config
        handshake = self._links(config.server.handshake_middleware, HandshakeContext)
        namespaces = {name: self._namespace(name, each) for name, each in config.namespaces.items()}
        services = {
            name: recipe
            for name, use in config.services.items()
            if (recipe := self._collect(self._recipe, name, use)) is not None
        }
        digest = hashlib.sha256(f"{config.digest} {self._plugins.digest}".encode())
        return Blueprint(
            digest=digest.hexdigest(),
            namespaces=MappingProxyType(namespaces),
            services=MappingProxyType(services),
            instances=MappingProxyType(self._instances),
            install=self._plugins.install,
            limits=config.limits,
            handshake_links=handshake,
            handshake=fold(handshake) if handshake else None,
            resources=tuple(self._backends.values()),
            tallies=tuple(self._tallies),
        )

    def _collect(self, part: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call `part`; when it raises `ConfigError`, keep the problems and return `None`."""
        try:
            return part(*args, **kwargs)
        except ConfigError as error:
            self.problems += error.problems
            return None

    def _namespace(self, name: str, config: NamespaceConfig) -> NamespaceBlueprint:
        self._trace = self._traces_all or self._config.log.level_of(FLOW, name) == "debug"
        self.problems += [*event_faults(name, config), *backend_faults(config)]
        self.warnings += event_doubts(config)
        self.warnings += lonely_doubts(name, config)
        connection = self._links(config.connection_middleware, Context)
        packet = self._links(config.packet_middleware, Context)
        scope = _Scope(name, config, packet, fold(packet))
        routes = {
            event: route
            for event, each in config.routes.items()
            if (route := self._collect(self._route, event, each, scope)) is not None
        }
        serial = "namespace" if config.order == "serial" else None
        timeout = config.packet_timeout
        end = trace_unrouted(nothing) if self._trace else nothing
        unrouted = Route(scope.chain, len(packet), end, timeout=timeout, serial=serial)
        return NamespaceBlueprint(
            name=name,
            connection_links=connection,
            packet_links=packet,
            connection=fold(connection),
            routes={e: r for e, r in routes.items() if e not in GATEWAY_EVENTS and e != "*"},
            events={e: r for e, r in routes.items() if e in GATEWAY_EVENTS},
            fallback=routes.get("*", unrouted),
            connect_timeout=config.connect_timeout,
            limits=config.limits,
            user=tuple(config.user.split(".")[1:]) if config.user else None,
        )

    def _links(
        self, uses: tuple[Use, ...], kind: type[AnyContext], *route: str
    ) -> tuple[Link[AnyContext], ...]:
        links = (self._collect(self._link, use, kind, *route) for use in uses)
        return tuple(link for link in links if link is not None)

    def _link(self, use: Use, kind: type[AnyContext], *route: str) -> Link[AnyContext]:
        """Make a link of a chain whose context is of a `kind`, or of a route's own chain.

        `route` is a namespace and an event. What a factory makes is then for this route alone.
        """
        plugin = self._resolve(use, "middleware")
        owner = () if plugin.method else route  # a class with methods is created once
        run: Callable[[AnyContext, Next], Awaitable[None]]
        run = as_middleware(self._made(use, plugin, *owner))
        if fault := middleware_fault(run):
            raise _unfit(use, plugin, fault)
        if fault := chain_fault(run, kind):
            raise _error(use.at, f"'{plugin.name}': {fault}")
        self._doubt(use, plugin, doubts(run, "middleware"))
        if self._trace and not isinstance(run, Presence):  # it is looked for, and has no steps
            run = trace_middleware(plugin.name, run)
        return Link(plugin.name, run, plugin.place, *route[1:])

    def _route(self, event: str, config: RouteConfig, scope: _Scope) -> Route:
        own = self._links(config.middleware, Context, scope.name, event)
        schema = config.schema and self._collect(_schema, config.schema, config.max_values)
        plugin = self._resolve(config.use, "handler")
        handler: Handler = self._made(config.use, plugin)
        if fault := handler_fault(handler):
            raise _unfit(config.use, plugin, fault)
        arguments = arguments_of(handler)
        if schema and config.schema:
            self.problems += schema_faults(config.schema, arguments, plugin.name)
            self.warnings += schema_doubts(config.schema)
        self._doubt(config.use, plugin, handler_doubts(plugin, handler, arguments))
        end = answer(handler, arguments)
        if schema:
            end = checked(schema.check, end)
        if self._trace:
            end = trace_route(event, plugin.name, end)
        return Route(
            chain=fold((*scope.links, *own)) if own else scope.chain,
            length=len(scope.links) + len(own),
            end=end,
            links=own,
            handler=plugin.name,
            place=plugin.place,
            timeout=config.timeout or scope.config.packet_timeout,
            has_own_timeout=config.timeout is not None,
            cancel_on_disconnect=config.on_disconnect == "cancel",
            serial=_queue(event, config, scope.config),
        )

    def _recipe(self, name: str, use: Use) -> Recipe:
        plugin = self._resolve(use, "service")
        if not plugin.is_factory or plugin.method:
            raise _error(
                use.at, f"'{plugin.name}' is no factory: a service is made by a class or a def"
            )
        if not use.is_whole:
            raise ConfigError([])  # its options have a problem of their own
        bound = self._bound(use, plugin, given=("gateway",))
        key = (name, *self._key(use, plugin), use.scope)
        return Recipe(
            key,
            make=partial(_make_service, plugin, bound),
            problem=partial(_masked, use.at, self._config.secrets),
            place=partial(_line_in, self._plugins, plugin),
            scope=use.scope,
        )

    def _made(self, use: Use, plugin: Plugin, *owner: str) -> Callable[..., Any]:
        """Return the plugin that `use` names, or what its factory makes of the options.

        The same options make one instance for each `owner`.
        """
        if fault := method_fault(plugin):
            self.problems.append(use.at.problem(f"'{plugin.name}': {fault}"))
        if not use.is_whole:
            raise ConfigError([])  # its options have a problem of their own
        if not plugin.is_factory:
            if use.options:
                at = next(iter(use.option_at.values()), use.at)
                raise _error(at, f"'{plugin.name}' is an async def: it takes no options")
            return plugin.target
        key = (*self._key(use, plugin), *owner)
        if key not in self._instances:
            former = self._former  # whose instances may well count as false: an empty cache
            self._instances[key] = former[key] if key in former else self._make(use, plugin, key)
        made: Callable[..., Any] = self._instances[key]
        if fault:
            raise ConfigError([])
        return getattr(made, plugin.method) if plugin.method else made

    def _make(self, use: Use, plugin: Plugin, key: Hashable) -> Any:
        bound = self._bound(use, plugin, given=("tally",))
        given = {name: self._tally(key) for name in bound.given}
        try:
            return plugin.target(**bound.kwargs, **given)
        except FAULTS as error:
            if plugin.is_hidden:
                raise _unfit(use, plugin, "") from error
            reason = f"{type(error).__name__}: {error}"
            raise _error(
                _blamed(use, error), f"'{plugin.name}' could not be made: {reason}"
            ) from error

    def _tally(self, key: Hashable) -> Tally:
        """Make the tally of an instance; its name is the same on all members."""
        tally = Tally(hashlib.sha256(repr(key).encode()).hexdigest()[:16])
        self._tallies.append(tally)
        return tally

    def _bound(self, use: Use, plugin: Plugin, given: tuple[str, ...]) -> BoundOptions:
        bound = bind_options(plugin.target, {**use.options, **self._named(use, plugin)}, given)
        own = {name: value for name, value in use.options.items() if name not in given}
        self._doubt(use, plugin, option_doubts(plugin, own))
        if bound.faults:
            # Without options, it is most likely meant to be the middleware or handler itself.
            advice = plugin.is_def and not use.options and "gateway" not in given
            what = "; a plain 'def' is a factory: is an 'async def' meant?" if advice else ""
            raise ConfigError(
                use.option_at.get(option or "", use.at).problem(f"'{plugin.name}': {fault}{what}")
                for option, fault in bound.faults
            )
        return bound

    def _named(self, use: Use, plugin: Plugin) -> Mapping[str, HttpBackend]:
        """Return the backends that options name. Raises `ConfigError`."""
        return backends_in(plugin, use, self._backends, self._config.backend_names)

    def _key(self, use: Use, plugin: Plugin) -> tuple[Hashable, ...]:
        made_from = plugin.name.removesuffix(f".{plugin.method}")
        options = json.dumps(dict(use.options), sort_keys=True, default=repr)
        return (made_from, options, plugin.digest, *self._named(use, plugin).values())

    def _resolve(self, use: Use, role: Role) -> Plugin:
        try:
            return self._plugins.resolve(use.name, role)
        except BrokenPlugin:
            raise ConfigError([]) from None  # the problem of its file says it all
        except PluginError as error:
            if error.place is None and self._lacks_folders and not use.name.startswith("builtin."):
                raise ConfigError([]) from None  # it may well be in a folder that is not there
            raise _error(use.at, error.message) from None

    def _doubt(self, use: Use, plugin: Plugin, found: Iterable[str]) -> None:
        self.warnings += (use.at.warning(f"'{plugin.name}': {each}") for each in found)


def _folder_problems(config: GatewayConfig, plugins: PluginSet) -> Iterator[Problem]:
    for folder, at in config.plugins:
        is_default = at.place == config.at.place
        if folder in plugins.faults and (folder.exists() or not is_default):
            yield at.problem(plugins.faults[folder])


def _as_written(config: GatewayConfig, problem: Problem) -> Problem:
    """Mask secrets, and name plugin files as the file names their folder."""
    message, file = config.secrets.mask(problem.message), problem.place.file
    for folder, _ in config.plugins:
        root = os.path.abspath(folder)
        message = message.replace(root, str(folder))
        if file.startswith(root + os.sep):
            file = str(folder) + file.removeprefix(root)
    return replace(problem, message=message, place=replace(problem.place, file=file))


def _schema(schema: Schema, max_values: int) -> ArgumentsSchema:
    try:
        return ArgumentsSchema(schema.written, max_values)
    except BadSchema as error:
        raise _error(schema.at[error.path], error.message) from None


def _error(at: At, message: str) -> ConfigError:
    return ConfigError([at.problem(message)])


def _unfit(use: Use, plugin: Plugin, fault: str) -> ConfigError:
    """Say why a plugin cannot be used, or more likely why it does not seem to fit."""
    if plugin.is_hidden:
        fault = (
            f"the decorator at {plugin.place} hides what it is: write '@functools.wraps(function)' "
            "above the function that it returns"
        )
    elif plugin.methods:
        fault = f"it is a class: name a method of it, such as {plugin.methods[0]}"
    elif fault.endswith(" NoneType"):
        fault += "; a plain 'def' is a factory, which must return one"
    return _error(use.at, f"'{plugin.name}': {fault}")


def _blamed(use: Use, error: BaseException) -> At:
    """Return the place of the option that an error begins with, as in `option 'rate' must be`."""
    option = re.match(r"option '(\w+)", str(error))
    return use.option_at.get(option[1], use.at) if option else use.at


def _masked(at: At, secrets: Secrets, message: str) -> Problem:
    return at.problem(secrets.mask(message))


def _line_in(plugins: PluginSet, plugin: Plugin, error: BaseException | None) -> Place:
    """The line of plugin code that raised `error`, or that of the plugin's definition."""
    return (plugins.place(error) if error is not None else None) or plugin.place


def _queue(event: str, config: RouteConfig, namespace: NamespaceConfig) -> str | None:
    order = config.order or namespace.order
    if order == "concurrent":
        return None
    return "namespace" if config.order is None else f"route {event}"


def _make_service(plugin: Plugin, bound: BoundOptions, gateway: Gateway) -> object:
    return plugin.target(**bound.kwargs, **dict.fromkeys(bound.given, gateway))
