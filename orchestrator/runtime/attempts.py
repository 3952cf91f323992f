"""Further attempts of what failed or was lost, and the replay of generators (FAULTS P1, P2, F1, F8)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from executor.host import Host, Input, Invocation, WorkerLoss
from orchestrator.runtime.outcome import Failure, Replayed
from orchestrator.runtime.progress import Progress
from orchestrator.runtime.replay import COMPARING, COMPARISON, EQUAL, Comparison, Replay
from orchestrator.runtime.retrying import AT_ONCE, Delay, Tries, after_error, after_loss
from orchestrator.runtime.state import Flight, MapRun, Node, Run
from orchestrator.runtime.streams import Streams
from protocol.messages import UNLIMITED, AttemptKey, ErrorReport
from protocol.values import Value


class Machine(Protocol):
    """What further attempts need of the flow machine."""

    live: dict[AttemptKey, Node]

    def invoke(self, node: Node, key: AttemptKey, inputs: list[Input], credit: int) -> None: ...

    def fail(self, run: Run, failure: Failure) -> None: ...

    def chunks(
        self, key: AttemptKey, first: int, count: int, width: int, values: list[Value]
    ) -> None: ...


class Attempts:
    """Decides over second attempts and makes them.

    ``delayed`` holds what is to be called after a while, by whoever drives the machine.
    """

    def __init__(self, machine: Machine, host: Host, streams: Streams, progress: Progress) -> None:
        self.delayed: list[tuple[Delay, Callable[[], None]]] = []
        self._machine = machine
        self._host = host
        self._streams = streams
        self._progress = progress

    # -- another attempt ------------------------------------------------------------------------------

    def follows_error(self, run: Run, key: AttemptKey, error: ErrorReport) -> bool:
        """An attempt has failed: whether another one follows."""
        return self._follows(run, key, after_error(run.node.spec, tries_of(run, key), error))

    def follows_loss(self, run: Run, key: AttemptKey, loss: WorkerLoss) -> bool:
        """An attempt is lost with its worker: whether another one follows."""
        return self._follows(run, key, after_loss(run.node.spec, tries_of(run, key), loss))

    def _follows(self, run: Run, key: AttemptKey, delay: Delay | None) -> bool:
        if delay is None or not self._streams.can_rewind(run):
            return False
        run.node.retries += 1
        if isinstance(run, MapRun):
            again = partial(self._element_again, run, run.in_flight[key.element])
        else:
            run.rests = False
            run.waiting.clear()
            run.is_between_attempts = True
            again = partial(self._again, run)
        if delay == AT_ONCE:
            again()
        else:
            self.delayed.append((delay, again))
        self._progress.note(run.node)
        return True

    def _again(self, run: Run) -> None:
        node = run.node
        if node.run is not run or not run.is_between_attempts:
            return
        run.is_between_attempts = False
        run.key = _next(run.key)
        self._streams.rewind(run)
        if run.emitted or run.throws:
            run.replay = Replay(run.emitted, run.throws, self._streams.log_of(run))
            credit = run.replay.credit
            run.credit = max(run.emitted, 1)
        else:
            credit = run.credit = max(1, self._streams.allowance(node))
        self._machine.invoke(node, run.key, run.inputs, credit)
        self._streams.hand_on_buffered(run)
        if run.replay is None:
            self._throw_again(run)
        self._progress.note(node)

    def _element_again(self, run: MapRun, flight: Flight) -> None:
        if run.node.run is run and run.in_flight.get(flight.key.element) is flight:
            flight.key = _next(flight.key)
            self._machine.invoke(run.node, flight.key, flight.inputs, UNLIMITED)

    # -- replay -----------------------------------------------------------------------------------------

    def chunks(
        self,
        run: Run,
        key: AttemptKey,
        first: int,
        count: int,
        width: int,
        values: list[Value],
    ) -> None:
        """A generator that runs again has yielded these: compare what its readers have had."""
        replay = run.replay
        assert replay is not None
        assert first == replay.came, (run.node.name, key, first, replay.came)
        again = min(count, replay.upto - first)
        if again < count:
            rest = (key, first + again, count - again, width, values[again * width :])
            replay.postponed.append(lambda: self._machine.chunks(*rest))
        differing = replay.compare(width, values[: again * width])
        replay.came += again
        for comparison in differing:
            self._compare(run, COMPARING - run.comparisons, 0, comparison)
            run.comparisons += 1
        self._go_on(run)

    def cancel_thrown(self, run: Run, emitted: int) -> None:
        """A cancel that an earlier attempt was thrown has been thrown again."""
        assert run.replay is not None
        run.replay.answers_awaited -= 1
        run.thrown_at = emitted
        self._go_on(run)

    def _go_on(self, run: Run) -> None:
        replay = run.replay
        assert replay is not None
        if replay.comparing:
            return
        if replay.is_over:
            self._end(run)
        elif not replay.answers_awaited and replay.throws and replay.came >= replay.throws[0]:
            replay.throws.popleft()
            replay.answers_awaited = 1
            self._host.throw_cancel(run.key)
            self._host.produce(run.key, replay.credit)

    def _end(self, run: Run) -> None:
        """It has come to where the one before was lost: what it says from now on is new."""
        replay, run.replay = run.replay, None
        assert replay is not None
        self._throw_again(run)
        self._streams.open_gate(run.node)
        for report in replay.postponed:
            report()
        self._progress.note(run.node)

    def _throw_again(self, run: Run) -> None:
        for _ in range(run.cancels_unanswered):
            self._host.throw_cancel(run.key)

    # -- comparing --------------------------------------------------------------------------------------

    def _compare(self, run: Run, element: int, attempt: int, comparison: Comparison) -> None:
        assert run.replay is not None
        key = AttemptKey(run.key.run, run.key.node, run.number, element, attempt)
        run.replay.comparing[key] = comparison
        self._machine.live[key] = run.node
        self._host.invoke(Invocation(key, COMPARISON, [comparison.before, comparison.now]))

    def compared(self, run: Run, key: AttemptKey, outputs: list[Value]) -> None:
        """A worker has compared two values."""
        replay = run.replay
        assert replay is not None
        comparison = replay.comparing.pop(key)
        if outputs != [EQUAL]:
            replay.differing.append(comparison.chunk)
        if replay.differing and not replay.comparing:
            self._machine.fail(run, Replayed(run.node.name, run.key, min(replay.differing)))
        else:
            self._go_on(run)

    def not_compared(self, run: Run, key: AttemptKey) -> None:
        """The worker that was to compare has died; what kills several cannot be compared."""
        assert run.replay is not None
        if key.attempt + 1 < run.node.spec.retry.loss_attempts:
            comparison = run.replay.comparing.pop(key)
            self._compare(run, key.element, key.attempt + 1, comparison)
        else:
            self.compared(run, key, [])


def tries_of(run: Run, key: AttemptKey) -> Tries:
    """How an attempt's run, or its element of a map, has fared so far."""
    if isinstance(run, MapRun):
        return run.in_flight[key.element].tries
    if run.tries is None:
        run.tries = Tries()
    return run.tries


def _next(key: AttemptKey) -> AttemptKey:
    return AttemptKey(key.run, key.node, key.generation, key.element, key.attempt + 1)
