"""Fuzz the decoders: `python -m tests.fuzz.run --seconds 60`.

Guided by coverage where atheris is installed (`pip install -e '.[fuzz]'`); without it the corpus
is replayed and its inputs are changed at random. An input that fails is kept in the corpus.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).parents[2]
LENGTH = 4096
"""Bytes of an input."""


def main() -> None:
    """Fuzz each target for its share of the time; exit with 1 when one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=1, help="of what is changed at random")
    parser.add_argument("--target", help="fuzz this one, and no other")
    parser.add_argument("--guided", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.guided:
        _guide(options.target, options.seconds, options.seed, Path(options.guided))
    names = [options.target] if options.target else _names()
    share = options.seconds / len(names)
    each = _each_guided if _has_atheris() else _each_at_random
    results = [each(name, share, options.seed) for name in names]
    raise SystemExit(not all(results))


def _names() -> list[str]:
    from tests.fuzz.targets import TARGETS

    return list(TARGETS)


def _has_atheris() -> bool:
    try:
        import atheris  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def _each_guided(name: str, seconds: float, seed: int) -> bool:
    """In a process of its own, which libFuzzer ends as it likes."""
    from tests.fuzz.targets import keep

    with tempfile.TemporaryDirectory() as found:
        command = [sys.executable, "-m", "tests.fuzz.run", "--guided", found, "--target", name]
        done = subprocess.run(
            [*command, "--seconds", str(seconds), "--seed", str(seed)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        last = [line for line in done.stderr.splitlines() if line.startswith(("#", "Done"))]
        print(f"{name}: {last[-1] if last else done.stderr[-2000:]}")
        failures = list(Path(found).glob("crash-*")) + list(Path(found).glob("timeout-*"))
        for failure in failures:
            print(f"{name}: kept as {keep(name, failure.read_bytes())}\n{done.stderr[-3000:]}")
    return done.returncode == 0 and not failures


def _guide(name: str, seconds: float, seed: int, found: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["gateway"]):
        from tests.fuzz.targets import CORPUS, TARGETS

    grown = found / "corpus"
    grown.mkdir()
    options = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={LENGTH}",
        f"-seed={seed}",
        f"-artifact_prefix={found}/",
        "-timeout=5",
        "-rss_limit_mb=1024",
    ]
    atheris.Setup([sys.argv[0], *options, str(grown), str(CORPUS / name)], TARGETS[name])
    atheris.Fuzz()


def _each_at_random(name: str, seconds: float, seed: int) -> bool:
    from tests.fuzz.targets import TARGETS, corpus, keep

    inputs = [path.read_bytes() for path in corpus(name)] or [b""]
    rng, until, runs = random.Random(seed), time.monotonic() + seconds, 0
    while runs < len(inputs) or time.monotonic() < until:
        data = inputs[runs] if runs < len(inputs) else _changed(rng, rng.choice(inputs))
        if not _holds(TARGETS[name], data):
            print(f"{name}: kept as {keep(name, data)}")
            return False
        runs += 1
    print(f"{name}: {runs} inputs at random, for want of atheris")
    return True


def _holds(target: Callable[[bytes], None], data: bytes) -> bool:
    try:
        target(data)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return False
    return True


def _changed(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data[:LENGTH])
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(changed))
        piece = rng.choice([rng.randbytes(rng.randint(1, 4)), bytes(changed[at : at + 8]), b"["])
        changed[at : at + rng.randint(0, 4)] = piece
    return bytes(changed)


if __name__ == "__main__":
    main()
