"""sockgw, a declarative, hot-reloading Socket.IO gateway: the names that plugins import."""

from gateway.api import (
    Context,
    Gateway,
    Handler,
    Handshake,
    HandshakeContext,
    HandshakeMiddleware,
    Middleware,
    Namespace,
    Next,
    Services,
    Socket,
    Value,
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
    "ConfigError",
    "Context",
    "Gateway",
    "GatewayError",
    "Handler",
    "Handshake",
    "HandshakeContext",
    "HandshakeMiddleware",
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
]
