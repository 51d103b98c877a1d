"""A Kubernetes ConfigMap, mounted as a folder and updated as the kubelet does it."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["swapped_in"]


def swapped_in(folder: Path, version: str, files: dict[str, str]) -> None:
    """Mount `files`, or update them: they are links through `..data`, which alone is replaced.

    The steps are those of `AtomicWriter` in kubernetes/pkg/volume/util/atomic_writer.go.
    """
    (folder / version).mkdir()
    for name, text in files.items():
        (folder / version / name).write_text(text)
    new, data = folder / "..data_tmp", folder / "..data"
    new.symlink_to(version)
    former = data.resolve() if data.is_symlink() else None
    new.replace(data)
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data", name))
    if former:
        for path in former.iterdir():
            if path.name not in files:
                (folder / path.name).unlink()
        shutil.rmtree(former)
