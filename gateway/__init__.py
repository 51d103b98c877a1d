"""sockgw, a declarative, hot-reloading Socket.IO gateway: the names that plugins import."""

from gateway.api import (
    Answers,
    Gateway,
    Handler,
    Handshake,
    Namespace,
    Next,
    Socket,
    Value,
    Volatile,
)
from gateway.context import Context, HandshakeContext, HandshakeMiddleware, Middleware, Services
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
    "Volatile",
]
