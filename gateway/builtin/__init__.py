"""The built-in plugins: `builtin.jwt` in a gateway.yaml is `jwt` here.

They are written like any plugin: they import only what `gateway` exports.
"""

from gateway.builtin.api_key import api_key
from gateway.builtin.concurrency import concurrency
from gateway.builtin.http import http
from gateway.builtin.ip_allow import ip_allow
from gateway.builtin.jwt import jwt
from gateway.builtin.jwt_refresh import jwt_refresh
from gateway.builtin.log import log
from gateway.builtin.origin import origin
from gateway.builtin.presence import presence
from gateway.builtin.present import present
from gateway.builtin.rate_limit import rate_limit
from gateway.builtin.request_id import request_id
from gateway.builtin.timeout import timeout
from gateway.builtin.validate import validate

__all__ = [
    "api_key",
    "concurrency",
    "http",
    "ip_allow",
    "jwt",
    "jwt_refresh",
    "log",
    "origin",
    "presence",
    "present",
    "rate_limit",
    "request_id",
    "timeout",
    "validate",
]
