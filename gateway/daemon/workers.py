"""The workers of a gateway as a fleet: all of them serve a snapshot, or none does."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prometheus_client.core import Metric

from gateway.backends.sessions import Home
from gateway.cluster.handover import Link
from gateway.config.model import GatewayConfig, ServerConfig
from gateway.daemon.control import (
    Abort,
    Ask,
    Commit,
    Committed,
    Compare,
    Compared,
    GiveWay,
    LetGo,
    Linked,
    Message,
    Prepare,
    Push,
    Pushed,
    Ready,
    Refused,
    Start,
    Status,
    packed,
    parcel,
    pickled,
)
from gateway.daemon.fleet import START, Unready
from gateway.daemon.listener import Address, BoundAddress, Listener, Move, Site
from gateway.daemon.log import Format
from gateway.daemon.plan import RESTART_KEYS, Plan
from gateway.daemon.serving import UnusedAddress, public_address
from gateway.daemon.shutdown import CHAINS
from gateway.daemon.sums import Sums, summed_status
from gateway.daemon.supervisor import Supervisor, Worker, WorkerLost
from gateway.daemon.zygote import ZygoteLost
from gateway.errors import ConfigError, Place, Problem
from gateway.push.operations import Operation
from gateway.push.problems import PushError
from gateway.runtime.services import START_TIMEOUT
from gateway.snapshot import Snapshot

__all__ = ["WorkerFleet"]

log = logging.getLogger("sockgw.server")

COMMIT = 5.0
"""Seconds in which a worker has to say that it serves what was ready; it is killed then."""

LEAST_SILENCE, SILENCES = 5.0, 5
"""How long a worker may not answer: at least these seconds, or so often `overload_after`."""

TELL = 2.0
"""Seconds in which a worker has to tell its status or its metrics."""

STOP = 10.0
"""Seconds beyond all that a stop may take, after which a worker is killed."""


class _Door:
    """The connections of the public listener in the supervisor, which accepts none."""

    def __init__(self) -> None:
        self.bound: BoundAddress | None = None

    async def accept_on(self, bound: BoundAddress) -> Site:
        self.bound = bound
        return bound.sock

    async def leave(self) -> None:
        return None

    async def shutdown(self) -> None:
        return None


class WorkerFleet:
    """A fleet of `count` workers.

    `home` is where their spools are. `override` takes precedence over the file's `server` block,
    and `inherited`, a socket for clients that listens already, over everything. `former` is as of
    `Listener`. `log_format` and `verbose` are those of the log.
    """

    def __init__(
        self,
        count: int,
        home: Home,
        override: Mapping[str, Any],
        inherited: socket.socket | None,
        former: socket.socket | None,
        *,
        log_format: Format | None,
        verbose: bool,
    ) -> None:
        self.snapshot: Snapshot | None = None
        self.generation = 0
        self._home = home
        self._override, self._inherited = dict(override), inherited
        self._log_format: Format | None = log_format
        self._verbose = verbose
        self._door = _Door()
        self.listener = Listener(self._door, former)
        self._file: int | None = None  # of the snapshot that serves
        self._unused = UnusedAddress(inherited)
        self._sums = Sums()
        self._open: _Candidate | None = None
        self._turn = asyncio.Lock()
        self._supervisor = Supervisor(
            count,
            self._start,
            self._restart,
            self._sums.keep,
            longest_silence=lambda: _longest_silence(self._config),
        )

    @property
    def workers(self) -> Sequence[Worker]:
        """The workers, by their numbers."""
        return self._supervisor.workers

    @property
    def _config(self) -> GatewayConfig | None:
        return self.snapshot.config if self.snapshot else None

    async def prepare(self, snapshot: Snapshot, *, anyway: bool = False) -> _Candidate | None:
        if self._open is not None:
            await self._open.abort()
        await self._turn.acquire()  # no worker is started again meanwhile
        try:
            self._open = await self._prepare(snapshot, anyway)
        finally:
            if self._open is None:
                self._turn.release()
        return self._open

    async def _prepare(self, snapshot: Snapshot, anyway: bool) -> _Candidate | None:
        assert snapshot.config is not None
        file = packed(snapshot)
        move = Move(self.listener, is_needed=False, bound=None)
        workers: list[Worker] = []
        try:
            if not snapshot.problems:
                move = self.listener.prepare(self._address(snapshot.config.server))
            await self._start_workers(snapshot)
            workers = [worker for worker in self.workers if worker.is_up]
            anyway = anyway or move.is_needed
            ready = await self._ready(workers, snapshot, (move, file), anyway)
            if any(each.plan is None for each in ready):
                if all(each.plan is None for each in ready):
                    await self.give_up(workers, move, file)
                    return None
                ready = await self._ready(workers, snapshot, (move, file), anyway=True)
        except BaseException:
            await self.give_up(workers, move, file)
            raise
        return _Candidate(self, snapshot, workers, ready[0], (move, file))

    async def _ready(
        self, workers: Sequence[Worker], snapshot: Snapshot, given: tuple[Move, int], anyway: bool
    ) -> list[Ready]:
        """Let workers get ready to serve a snapshot. Raises `ConfigError`."""
        sock, file = given[0].bound, given[1]
        asked = Prepare(self.generation + 1, anyway, sock is not None)
        descriptors = [file, sock.sock.fileno()] if sock else [file]
        limit = _longest_start(self._config)
        answers = await _asked(workers, asked, *descriptors, timeout=limit)
        for worker in workers:
            if not worker.is_up:  # it may have ended after its answer
                answers[worker] = None
            elif answers[worker] is None:
                log.error("%s is not ready after %g s: killing it", worker, limit)
                worker.kill()
        ready = [answer for answer in answers.values() if isinstance(answer, Ready)]
        if len(ready) < len(workers) or not workers:
            refused = Unready if _is_fault(answers) else ConfigError
            raise refused(tuple(_problems(answers, snapshot)), _warnings(answers))
        return ready

    async def _start_workers(self, snapshot: Snapshot) -> None:
        try:
            await self._supervisor.start()
        except (OSError, ZygoteLost) as error:
            message = f"no worker can be started: {error}"
            raise Unready([Problem(Place(str(snapshot.file)), "", message)]) from error

    async def give_up(self, workers: Iterable[Worker], move: Move, file: int) -> None:
        """Let workers give up what they are ready for."""
        for worker in workers:
            worker.tell(Abort())
        move.cancel()
        os.close(file)

    async def serve(
        self, snapshot: Snapshot, workers: Sequence[Worker], move: Move, file: int
    ) -> None:
        """Let workers serve what they are ready for; one that does not is started again."""
        config, former = snapshot.config, self._file
        assert config is not None
        if self.snapshot is None:
            lasting = {key: getattr(config.server, key) for key in RESTART_KEYS}
            self._override = {**lasting, **self._override}
        self.snapshot, self._file, self.generation = snapshot, file, self.generation + 1
        answers = await _asked(workers, Commit(), timeout=COMMIT)
        for worker, answer in answers.items():
            if isinstance(answer, Committed):
                worker.state, worker.generation = "serving", answer.generation
            elif worker.is_up:
                log.error("%s did not take up generation %d: killing it", worker, self.generation)
                worker.kill()
        times = [answer.at for answer in answers.values() if isinstance(answer, Committed)]
        self._sums.skew = max(times, default=0.0) - min(times, default=0.0)
        await move.make()
        if former is not None:
            os.close(former)
        self._unused.tell(config.server)

    def release(self) -> None:
        """Let workers be started again: a candidate is done."""
        self._open = None
        self._turn.release()

    async def plan(self, snapshot: Snapshot) -> tuple[Plan, int]:
        file = packed(snapshot)
        try:
            for worker in self._serving():
                try:
                    answer = await worker.ask(Compare(), file)
                except WorkerLost:
                    continue
                if isinstance(answer, Refused):
                    raise ConfigError(answer.problems, answer.warnings)
                if isinstance(answer, Compared):
                    facts = await self.status()
                    return answer.plan, sum(facts["sockets"].get(n, 0) for n in answer.plan.removed)
        finally:
            os.close(file)
        raise ConfigError([Problem(Place(str(snapshot.file)), "", "no worker serves")])

    async def push(self, operation: Operation) -> bytes:
        # The first that serves: what is pushed one after the other arrives in that order.
        worker = next(iter(self._serving()), None)
        if worker is None:
            raise PushError("unavailable", "no worker serves")
        data, descriptors = parcel(pickled(operation))
        try:
            answer = await worker.ask(Push(data), *descriptors)
        except WorkerLost:
            text = f"{worker} ended meanwhile: it may have been done or not"
            raise PushError("unavailable", text) from None
        finally:
            for each in descriptors:
                os.close(each)
        if isinstance(answer, Pushed) and answer.answer is not None:
            return answer.answer
        if isinstance(answer, Pushed):
            raise PushError(answer.code, answer.detail)
        raise PushError("internal", "internal error")

    async def status(self) -> dict[str, Any]:
        answers = await _asked(self._serving(), Ask("status"), timeout=TELL)
        found = {
            worker: answer.facts for worker, answer in answers.items() if isinstance(answer, Status)
        }
        return summed_status(self.workers, found, self.generation)

    async def metrics(self) -> Sequence[Metric]:
        await _asked(self._serving(), Ask("metrics"), timeout=TELL)
        return self._sums.metrics(self.workers)

    async def give_way(self, links: Sequence[Link]) -> None:
        serving = self._serving()
        await _link(serving, links, is_former=False)
        await _asked(serving, GiveWay(), timeout=TELL)
        await self.listener.give_away()

    async def close(self, *, is_replaced: bool = False) -> None:
        config, limit = self._config, STOP
        if config is not None:
            leaving = config.server.stop_timeout + config.reload.close_window
            limit += leaving + 2 * CHAINS
        if is_replaced:  # none ends before all are done: they hand requests on to each other
            await _asked(self._serving(), LetGo(), timeout=limit)
        await self._supervisor.stop(limit)
        await self.listener.close()

    def _serving(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.state == "serving"]

    def _start(self, number: int, tag: str) -> Start:
        home, override = self._home, self._override
        return Start(number, tag, home, override, self._log_format, self._verbose)

    async def _restart(self, worker: Worker) -> None:
        """Start a worker again, to serve what the others do. Raises what `Supervisor` says."""
        async with self._turn:
            await self._supervisor.begin(worker)
            bound, file = self._door.bound, self._file
            if bound is None or file is None:
                return  # it gets the first snapshot with the others
            async with asyncio.timeout(_longest_start(self._config)):
                asked = Prepare(self.generation, anyway=True, has_socket=True)
                answer = await worker.ask(asked, file, bound.sock.fileno())
                if isinstance(answer, Refused):
                    raise WorkerLost("; ".join(map(str, answer.problems)))
                committed = await worker.ask(Commit())
            if not isinstance(committed, Committed):
                raise WorkerLost("it does not serve what was ready")
            worker.state, worker.generation = "serving", committed.generation

    def _address(self, server: ServerConfig) -> Address:
        return public_address(replace(server, **self._override), self._inherited)


class _Candidate:
    """A snapshot that all workers are ready to serve."""

    def __init__(
        self,
        fleet: WorkerFleet,
        snapshot: Snapshot,
        workers: Sequence[Worker],
        ready: Ready,
        given: tuple[Move, int],
    ) -> None:
        self._fleet, self._snapshot, self._workers = fleet, snapshot, workers
        self._ready = ready
        self._move, self._file = given

    @property
    def plan(self) -> Plan:
        return self._ready.plan or Plan()

    @property
    def warnings(self) -> Sequence[Problem]:
        return self._ready.warnings

    @property
    def members(self) -> int:
        return len(self._workers)

    async def link(self, links: Sequence[Link]) -> None:
        await _link(self._workers, links, is_former=True)

    async def commit(self) -> None:
        try:
            await self._fleet.serve(self._snapshot, self._workers, self._move, self._file)
        finally:
            self._fleet.release()

    async def abort(self) -> None:
        try:
            await self._fleet.give_up(self._workers, self._move, self._file)
        finally:
            self._fleet.release()


def _longest_start(config: GatewayConfig | None) -> float | None:
    """Return the seconds in which a worker has to be ready; `None` before any has served."""
    if config is None:
        return None
    return config.reload.load_timeout + len(config.services) * START_TIMEOUT + START


def _longest_silence(config: GatewayConfig | None) -> float:
    late = config.limits.overload_after if config else 0.0
    return max(LEAST_SILENCE, SILENCES * late)


async def _link(workers: Sequence[Worker], links: Sequence[Link], *, is_former: bool) -> None:
    """Give workers their ends of links in turn, and wait until they have joined them."""
    asked = []
    for number, link in enumerate(links):
        if workers:
            worker = workers[number % len(workers)]
            descriptors = [sock.fileno() for sock in link]
            asked.append(_asked([worker], Linked(is_former), *descriptors, timeout=TELL))
    await asyncio.gather(*asked)
    for link in links:
        for sock in link:
            sock.close()


async def _asked(
    workers: Sequence[Worker], message: Message, *descriptors: int, timeout: float | None = None
) -> dict[Worker, Message | None]:
    """Ask workers; the answer of one that ends, or takes longer than `timeout`, is `None`."""

    async def answer(worker: Worker) -> Message | None:
        try:
            async with asyncio.timeout(timeout):
                return await worker.ask(message, *descriptors)
        except (WorkerLost, TimeoutError):
            return None

    answers = await asyncio.gather(*map(answer, workers))
    return dict(zip(workers, answers, strict=True))


def _problems(answers: Mapping[Worker, Message | None], snapshot: Snapshot) -> Iterator[Problem]:
    """Yield each problem once, with the worker that has it if not all that refuse do."""
    refused = {each: answer for each, answer in answers.items() if isinstance(answer, Refused)}
    told: set[Problem] = set()
    for worker, answer in refused.items():
        for problem in answer.problems:
            is_common = all(problem in each.problems for each in refused.values())
            shown = problem
            if not is_common or len(answers) != len(refused):
                shown = replace(problem, message=f"{problem.message} (in {worker})")
            if shown not in told:
                told.add(shown)
                yield shown
    where = Place(str(snapshot.file))
    for worker in (each for each, answer in answers.items() if answer is None):
        yield Problem(where, "", f"{worker} ended while it got ready")
    if not answers:
        yield Problem(where, "", "no worker runs")


def _is_fault(answers: Mapping[Worker, Message | None]) -> bool:
    """True if no worker refuses the snapshot for what it says."""
    refused = [answer for answer in answers.values() if isinstance(answer, Refused)]
    return all(answer.is_fault for answer in refused)


def _warnings(answers: Mapping[Worker, Message | None]) -> tuple[Problem, ...]:
    refused = [answer for answer in answers.values() if isinstance(answer, Refused)]
    return refused[0].warnings if refused else ()
