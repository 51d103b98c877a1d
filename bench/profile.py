"""Profile sockgw under a work: `python -m bench.profile chat`.

Prints the functions by their own time, in microseconds a message, and writes a flame graph. The C
code that a function calls, with the kernel and the garbage collector, counts as its own time;
`--native` shows the C functions instead, if perf is installed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from bench.load import BUILD, LoadError, build
from bench.peers import PEERS
from bench.speed import FOLDER
from bench.trial import Bench
from bench.works import WORKS, Work

__all__ = ["main"]

PEER = PEERS["sockgw"]
PY_SPY = BUILD / "venv/bin/py-spy"

Samples = Counter[str]


def main() -> None:
    """Profile the work that the command line names."""
    options = _options()
    work: Work = WORKS[options.work]
    build()
    PEER.install()
    PEERS["python-socketio"].install()  # py-spy comes with the peers in Python
    FOLDER.mkdir(exist_ok=True)
    record = _perf if options.native else _py_spy
    try:
        samples, cost = _profile(work, options.seconds, record)
    except (LoadError, RuntimeError) as error:
        sys.exit(f"bench: {error}")
    print(f"{work.title}: {cost:.1f} us while being profiled")
    for function, count in samples.most_common(options.top):
        share = count / samples.total()
        print(f"{share:6.1%}  {share * cost:6.2f} us  {function}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("work", nargs="?", default="chat", choices=WORKS, metavar="WORK")
    parser.add_argument("--seconds", type=int, default=8, help="length of a recording")
    parser.add_argument("--native", action="store_true", help="C functions instead, with perf")
    parser.add_argument("--top", type=int, default=30, help="functions to print")
    return parser.parse_args()


def _profile(
    work: Work, seconds: int, record: Callable[[Work, int, int], Samples]
) -> tuple[Samples, float]:
    """The samples, and the CPU of a message in microseconds."""
    bench = Bench(warmup=2.0, seconds=seconds * 2.0 + 2.0)
    samples = Samples()
    with bench.serve(PEER, work.shape) as server:
        watch = Thread(target=lambda: samples.update(record(work, server.pids[0], seconds)))
        measured = bench.run(server, PEER, work.load, ready=watch.start)
        watch.join()
    return samples, measured.server_cpu / max(measured.messages, 1) * 1e6


def _py_spy(work: Work, pid: int, seconds: int) -> Samples:
    """Python functions, by the innermost of each stack; the flame graph is a second recording."""
    # A process that is stopped for a sample stops at a system call, which then seems slow.
    command = [str(PY_SPY), "record", "--nonblocking", "--gil", "--function", "--rate", "250"]
    command += ["--pid", str(pid), "--duration", str(seconds)]
    stacks, flames = (FOLDER / f"profile-{work.name}.{kind}" for kind in ("txt", "svg"))
    for kind, file in (("raw", stacks), ("flamegraph", flames)):
        _quietly([*command, "--format", kind, "--output", str(file)])
    samples = Samples()
    for line in stacks.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if stack:
            samples[stack.rpartition(";")[2]] += int(count)
    print(f"flame graph: {flames}")
    return samples


def _perf(work: Work, pid: int, seconds: int) -> Samples:
    """C functions, the kernel's too, each after the name of its library."""
    file = str(BUILD / f"profile-{work.name}.perf")
    _quietly(["perf", "record", "-F", "999", "-p", str(pid), "-o", file, "sleep", str(seconds)])
    report = ["perf", "report", "-i", file, "--stdio", "--no-children", "-F", "sample,dso,sym"]
    samples = Samples()
    for line in _quietly(report).splitlines():
        words = line.split(maxsplit=3)
        if len(words) == 4 and words[0].isdigit():
            samples[f"{Path(words[1]).name.split('.')[0].strip('[')}: {words[3]}"] += int(words[0])
    return samples


def _quietly(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
