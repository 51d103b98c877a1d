from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gateway.builtin
from gateway.loader import load_plugins

HERE = Path(gateway.builtin.__file__).parent
NAMES = [path.stem for path in sorted(HERE.glob("[!_]*.py"))]


def test_each_file_is_a_built_in_of_its_name() -> None:
    assert gateway.builtin.__all__ == NAMES
    plugins = load_plugins([])
    for name in NAMES:
        plugin = plugins.resolve(f"builtin.{name}")
        assert plugin.place.file == str(HERE / f"{name}.py")
        assert plugin.is_factory


def test_what_only_one_built_in_needs_is_not_imported_for_the_others() -> None:
    code = (
        "import gateway.builtin, sys; print(*{'jwt', 'cryptography', 'aiohttp'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
