"""Small gateways for tests: a gateway.yaml and plugin files in a folder of their own."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

__all__ = ["write"]


def write(folder: Path, config: str, **plugins: str) -> Path:
    """Write gateway.yaml and plugins/NAME.py; `a__b` is plugins/a/b.py. Returns the YAML's path."""
    for name, source in plugins.items():
        path = folder / "plugins" / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
    (folder / "plugins").mkdir(exist_ok=True)
    file = folder / "gateway.yaml"
    file.write_text(dedent(config))
    return file
