"""Files to Python objects: plugins by name, and how to call them.

    sources                        plugin folders -> their bytes at one moment
    modules                        these bytes -> modules, made together
    sysmodules                     the one reading whose modules are in sys.modules
    plugins                        a name in the configuration -> a plugin
    module_globals                 what modules keep that functions change
    signature, options, arguments  a callable -> how it wants to be called

Knows neither the configuration nor the event loop.
"""

from gateway.loader.annotations import first_annotation, parameters_of, unchecked
from gateway.loader.arguments import Arguments, arguments_of
from gateway.loader.module_globals import global_doubts
from gateway.loader.options import BoundOptions, bind_options
from gateway.loader.plugins import (
    BrokenPlugin,
    Plugin,
    PluginSet,
    load_plugins,
    make_plugins,
    method_fault,
)
from gateway.loader.signature import (
    Role,
    doubts,
    handler_fault,
    is_async_callable,
    middleware_fault,
)
from gateway.loader.sources import Sources, folder_fault, read_sources
from gateway.loader.sysmodules import abandon

__all__ = [
    "Arguments",
    "BoundOptions",
    "BrokenPlugin",
    "Plugin",
    "PluginSet",
    "Role",
    "Sources",
    "abandon",
    "arguments_of",
    "bind_options",
    "doubts",
    "first_annotation",
    "folder_fault",
    "global_doubts",
    "handler_fault",
    "is_async_callable",
    "load_plugins",
    "make_plugins",
    "method_fault",
    "middleware_fault",
    "parameters_of",
    "read_sources",
    "unchecked",
]
