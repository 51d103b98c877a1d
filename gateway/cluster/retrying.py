"""What all have in common that connect, and connect again whenever that is lost."""

from __future__ import annotations

import os
import random
import ssl

__all__ = ["REFUSED", "Pauses", "words"]

REFUSED = "; it may refuse the certificate of this member, or want one"
"""What is added if a connection over TLS is closed before anything was said.

In TLS 1.3 a certificate is looked at when the other end has begun, and then what is told of it may
be lost.
"""

FIRST, LONGEST = 0.05, 2.0
"""Seconds until the first attempt to connect again, and at most until the next."""


class Pauses:
    """The pauses between attempts, in seconds: each is twice the one before, up to two seconds.

    At random, up to half of a pause is left out, so that not all come back at the same time.
    """

    def __init__(self) -> None:
        self._next = FIRST

    def first(self) -> float:
        """Begin anew, after a connection that was lost."""
        self._next = FIRST
        return _shortened(FIRST)

    def next(self) -> float:
        """Go on, after an attempt that failed."""
        pause, self._next = self._next, min(2 * self._next, LONGEST)
        return _shortened(pause)


def _shortened(pause: float) -> float:
    return pause * random.uniform(0.5, 1)


def words(error: Exception) -> str:
    """Say why there is no connection."""
    if isinstance(error, ssl.SSLError):
        return _of_tls(error)
    number = error.errno if isinstance(error, OSError) else None
    if number is not None:
        return os.strerror(number).lower()
    return str(error) or "it does not answer"


def _of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message.rstrip('.')}"
    reason = error.reason or ""
    if reason in _NO_TLS:
        return "it does not speak TLS"
    if reason.endswith("CERTIFICATE_REQUIRED"):
        return "it wants a certificate of this member: write cert and key in tls"
    told = reason.lower().replace("_", " ") or str(error)
    is_ours = any(what in reason for what in _OF_CERTIFICATES)
    return f"it refuses the certificate of this member: {told}" if is_ours else f"TLS: {told}"


_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}
_OF_CERTIFICATES = ("ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE")
"""What OpenSSL says if the other end is not pleased: RFC 8446, 6.2."""
