"""Certificates: the TLS context that they make, and why they make none."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path

from gateway.config.model import TlsConfig

__all__ = ["certificate_digest", "tls_context", "tls_faults"]


def certificate_digest(tls: TlsConfig) -> str:
    """Return a digest of the files, which changes when the certificate is renewed.

    Raises `ValueError`, with a sentence for the operator, for a file that cannot be read.
    """
    try:
        return hashlib.sha256(tls.cert.read_bytes() + tls.key.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"cannot read {error.filename}: {error.strerror}") from None


def tls_faults(tls: TlsConfig) -> Iterator[str]:
    """Yield why no listener can use the files: each that cannot be read, else what is wrong."""
    unread = [fault for path in (tls.cert, tls.key) if (fault := _unread(path))]
    yield from unread
    try:
        if not unread:
            tls_context(tls)
    except ValueError as error:
        yield str(error)


def _unread(path: Path) -> str | None:
    try:
        path.read_bytes()
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    return None


def tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """Return the context for a listener. Raises `ValueError` with a sentence for the operator."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password, OpenSSL asks for one on the terminal and waits.
        context.load_cert_chain(tls.cert, tls.key, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(error, ssl.SSLError) and not error.reason:
            reason = "they are not a certificate and its key in PEM form"
        raise ValueError(f"cannot use {tls.cert} with {tls.key}: {reason}") from None
    return context
