"""sockgw, a declarative, hot-reloading Socket.IO gateway: the names that plugins import."""

from gateway.api import (
    Answers,
    Context,
    Gateway,
    Handler,
    Handshake,
    Middleware,
    Namespace,
    Next,
    Services,
    Socket,
    Value,
    Volatile,
)
from gateway.errors import (
    ConfigError,
    GatewayError,
    Place,
    PluginError,
    Problem,
    Reject,
    UsageError,
)

__all__ = [
    "Answers",
    "ConfigError",
    "Context",
    "Gateway",
    "GatewayError",
    "Handler",
    "Handshake",
    "Middleware",
    "Namespace",
    "Next",
    "Place",
    "PluginError",
    "Problem",
    "Reject",
    "Services",
    "Socket",
    "UsageError",
    "Value",
    "Volatile",
]
