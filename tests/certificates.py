"""The certificates in `daemon/tls`, and the one that a listener shows."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

__all__ = ["TLS", "der", "presented"]

TLS = Path(__file__).parent / "daemon/tls"


async def presented(url: str) -> bytes:
    """The certificate that is shown to a new connection to `url`."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = int(url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return certificate


def der(name: str) -> bytes:
    """The certificate of that name, as it is presented."""
    return ssl.PEM_cert_to_DER_cert((TLS / f"{name}.pem").read_text())
