"""Authorities of the tests, and the certificates that they sign."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme

__all__ = ["Authority", "Files"]


@dataclass(frozen=True)
class Files:
    """The files of a certificate, its key, and the authority that has signed it."""

    cert: Path
    key: Path
    ca: Path


class Authority:
    """An authority whose files are in `folder`, named after it."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self._name = folder, name
        self._ca = trustme.CA()
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def sign(self, host: str = "127.0.0.1", *, is_expired: bool = False) -> Files:
        """Sign a certificate of a host."""
        until = datetime(2020, 1, 1, tzinfo=UTC) if is_expired else None
        signed = self._ca.issue_cert(host, not_after=until)
        name = f"{self._name}-{host}-{'expired' if is_expired else 'valid'}"
        cert, key = (self._folder / f"{name}.{kind}" for kind in ("cert", "key"))
        signed.private_key_pem.write_to_path(key)
        for number, each in enumerate(signed.cert_chain_pems):
            each.write_to_path(cert, append=number > 0)
        return Files(cert, key, self.file)
