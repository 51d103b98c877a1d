"""Certificates: the TLS context that they make, and why they make none."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from gateway.config.model import BusTlsConfig, ListenTlsConfig, TlsConfig

__all__ = [
    "bus_context",
    "certificate_digest",
    "member_contexts",
    "read_certificate",
    "tls_context",
    "tls_faults",
]


def read_certificate(tls: TlsConfig) -> TlsConfig:
    """Return the block with what its files hold now; as it is if one cannot be read."""
    try:
        return replace(tls, content=(tls.cert.read_bytes(), tls.key.read_bytes()))
    except OSError:
        return tls


def certificate_digest(tls: TlsConfig) -> str:
    """Return a digest of the files, which changes when the certificate is renewed.

    Raises `ValueError`, with a sentence for the operator, for a file that cannot be read.
    """
    return hashlib.sha256(b"".join(_content(tls))).hexdigest()


def tls_faults(tls: TlsConfig) -> Iterator[str]:
    """Yield why no listener can use the files: each that cannot be read, else what is wrong."""
    unread: list[str] = []
    if tls.content is None:
        unread += (fault for path in (tls.cert, tls.key) if (fault := _unread(path)))
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
        with _files(tls) as (cert, key):
            # Without a password, OpenSSL asks for one on the terminal and waits.
            context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot use {tls.cert} with {tls.key}: {_reason(error)}") from None
    return context


def member_contexts(tls: ListenTlsConfig) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a member that listens and of one that connects.

    Both accept every certificate of the authority, whatever names are in it. Raises `ValueError`
    with a sentence for the operator.
    """
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in contexts:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(tls.ca)
        except OSError:
            raise ValueError(_no_certificate(tls.ca)) from None
        _show(context, tls.cert, tls.key)
    return contexts


def bus_context(tls: BusTlsConfig | None) -> ssl.SSLContext:
    """Return the context of a connection to Redis or NATS; `None` is with what the system trusts.

    Raises `ValueError` with a sentence for the operator.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca if tls else None)
    except OSError:
        raise ValueError(_no_certificate(tls.ca if tls else None)) from None
    if tls is not None and tls.cert is not None:
        _show(context, tls.cert, tls.key)
    return context


def _show(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    """Show a certificate to the other end. Raises `ValueError`."""
    try:
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot use {cert} with {key}: {_reason(error)}") from None


def _reason(error: Exception) -> object:
    if isinstance(error, ssl.SSLError) and not error.reason:
        return "they are not a certificate and its key in PEM form"
    return getattr(error, "reason", None) or error


def _no_certificate(ca: Path | None) -> str:
    return f"cannot use {ca}: it holds no certificate in PEM form"


def _content(tls: TlsConfig) -> tuple[bytes, bytes]:
    """Return what the files held when they were read, or hold now. Raises `ValueError`."""
    try:
        return tls.content or (tls.cert.read_bytes(), tls.key.read_bytes())
    except OSError as error:
        raise ValueError(f"cannot read {error.filename}: {error.strerror}") from None


@contextmanager
def _files(tls: TlsConfig) -> Iterator[tuple[Path, Path]]:
    """Give OpenSSL, which takes nothing but files, what was read of the two.

    Where no file can be in memory alone, these are the files themselves.
    """
    if tls.content is None or not hasattr(os, "memfd_create"):
        yield tls.cert, tls.key
        return
    with ExitStack() as stack:
        cert, key = (stack.enter_context(_in_memory(each)) for each in tls.content)
        yield cert, key


@contextmanager
def _in_memory(content: bytes) -> Iterator[Path]:
    with open(os.memfd_create("sockgw certificate"), "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")
