"""The snapshot: a gateway.yaml and everything it leads to, read at one moment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway import config as configs
from gateway.config.model import GatewayConfig
from gateway.errors import Problem
from gateway.loader import Sources, global_doubts, read_sources
from gateway.pages import KnownFile, PageFiles, PageFolders, folders_of, page_problems

__all__ = ["Inputs", "Snapshot", "take_snapshot"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files, globs, plugin and page folders a gateway is made from, as they were when read.

    Equal inputs have the same names and contents, whatever their time stamps. `sources` is the
    digest of the plugin files, `page_files` that of the files in `page_folders`. `known_pages` are
    those of them that are read again only when their stamps have changed.
    """

    record: configs.FileRecord
    folders: tuple[Path, ...]
    sources: str
    page_folders: PageFolders = field(default_factory=PageFolders)
    page_files: str = ""
    known_pages: Mapping[Path, KnownFile] = field(default_factory=dict, repr=False, compare=False)

    def again(self) -> Inputs:
        """Read the same files, globs and folders now."""
        sources = read_sources(self.folders).digest
        pages = self.page_folders.read(self.known_pages)
        return replace(
            self,
            record=self.record.again(),
            sources=sources,
            page_files=pages.digest,
            known_pages=pages.known,
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A gateway.yaml and everything it leads to as it was at one moment; no plugin code has run.

    With `problems`, `config` is the part without them; `None` if nothing can be checked. Then the
    plugin folders are unknown, and `sources` is empty.
    """

    file: Path
    document: configs.Document
    config: GatewayConfig | None
    problems: tuple[Problem, ...]
    sources: Sources
    page_files: PageFiles
    inputs: Inputs


def take_snapshot(file: Path, environ: Mapping[str, str], beside: Path | None = None) -> Snapshot:
    """Read `file`, what it includes and refers to, and its plugin folders. Raises nothing.

    Files that values refer to are relative to `beside`, by default the folder of `file`.
    """
    document = configs.read(file, environ, beside)
    config, problems = configs.validate(file, document)
    folders = tuple(folder for folder, _ in config.plugins) if config else ()
    sources = read_sources(folders)
    if config is not None and _may_have_workers(config, document):
        config = replace(config, warnings=(*config.warnings, *global_doubts(sources)))
    certificates = _certificates(config) if config else {}
    files = [path for tls in certificates.values() for path in (tls.cert, tls.key)]
    record = document.record.including(*files)
    if config:  # read after it is recorded: what changes in between is read once more
        config = _with_certificates(config)
        certificates = _certificates(config)
    page_folders = folders_of(config)
    pages = page_folders.read()
    inputs = Inputs(
        record, folders, sources.digest, page_folders, pages.digest, known_pages=pages.known
    )
    if config:
        config = _with_fingerprint(config, sources.digest, pages.digest)
    found = page_problems(config, document, pages, record, folders)
    problems = (*problems, *_tls_problems(certificates, document), *found)
    return Snapshot(file, document, config, problems, sources, pages, inputs)


def _may_have_workers(config: GatewayConfig, document: configs.Document) -> bool:
    """True if there are several workers, or would be on a machine with more CPUs."""
    server = document.data.get("server")
    is_auto = isinstance(server, dict) and server.get("workers") == "auto"
    return is_auto or config.server.workers > 1


def _certificates(config: configs.GatewayConfig) -> Mapping[str, configs.TlsConfig]:
    """Return the certificates by the blocks of their listeners."""
    found = {"server": config.server.tls, "api": config.api.tls if config.api else None}
    return {block: tls for block, tls in found.items() if tls is not None}


def _with_certificates(config: configs.GatewayConfig) -> configs.GatewayConfig:
    """Return the config with what the files of its certificates hold now."""
    server, api = config.server, config.api
    if server.tls is not None:
        server = replace(server, tls=configs.read_certificate(server.tls))
    if api is not None and api.tls is not None:
        api = replace(api, tls=configs.read_certificate(api.tls))
    return replace(config, server=server, api=api)


def _with_fingerprint(config: configs.GatewayConfig, *digests: str) -> configs.GatewayConfig:
    """Return the config with a fingerprint of the plugins and pages beside it, too."""
    whole = " ".join((config.fingerprint, *digests))
    return replace(config, fingerprint=hashlib.sha256(whole.encode()).hexdigest())


def _tls_problems(
    certificates: Mapping[str, configs.TlsConfig], document: configs.Document
) -> Iterator[Problem]:
    for block, tls in certificates.items():
        for fault in configs.tls_faults(tls):
            written = fault.replace(f"{document.folder.absolute()}{os.sep}", "")
            yield document.around(block, "tls").problem(written)
