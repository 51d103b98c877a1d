"""A bench run as a command, small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["figures_of"]

ROOT = Path(__file__).parents[2]


def figures_of(file: Path, bench: str, *options: str, timeout: float = 55) -> dict[str, Any]:
    """Run a bench that has to end well; gives the figures it writes to `file`."""
    done = subprocess.run(
        [sys.executable, "-m", bench, *options, "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    figures: dict[str, Any] = json.loads(file.read_text())
    return figures
