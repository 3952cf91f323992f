"""Runs many bodies in one thread: the same code in every worker process and inline.

Theory of operation. The hub is told by the verbs of ``executor.host.Host`` what to run and what came
for whom; :meth:`Hub.step` advances one body that can go on by one step and says what happened by the
verbs of ``Reports``. A body rests when it waits for a chunk (*blocked*) or when it has emitted all that
its credit allows (*at the gate*); a resting body costs nothing and holds no slot. The hub itself
never waits, opens no socket and reads no clock but the one that measures steps.

    opened -> ready -> stepping -+-> ready           (chunk emitted, credit left)
                ^                +-> at the gate     (chunk emitted, credit used up)
                |                +-> blocked         (reads a stream that has nothing yet)
                +--- resting <---+-> ended           (returned, raised, cancelled)
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

from executor.accumulation import ShapeError
from executor.attempt import Attempt, Port
from executor.body import NO_VALUE, SKIP, StreamCancelled
from executor.body_task import BodyTask
from executor.code import LoadedCode
from executor.codec import PICKLED, Codec
from executor.failure import describe
from executor.host import Broken, Invocation, Reports
from executor.instances import Instances
from executor.interrupting import Gate
from executor.life_cycle import NATURAL_END, Awaiting, Blocked, Raised, Returned, Step, Yielded
from executor.opening import NotOpened, Opener
from executor.resuming import BodyResume
from executor.states import StateError
from executor.unwinding import finish_unwinding, unwind
from protocol.messages import (
    Absence,
    AttemptKey,
    Digest,
    Fault,
    Missing,
    RunId,
)
from protocol.values import Value

log = logging.getLogger(__name__)


def _nothing(*_: object) -> None:
    pass


BRIEF_S: Final = 0.0005
"""A body that was over in less may be waited for by what others have said before it."""


class Hub:
    """A host of bodies (``executor.host.Host``); single-threaded.

    ``mark`` is told which attempt is stepped, and None after it. ``before_long`` is called before a body
    begins that may take long: what was said before should not wait for it. ``may_begin`` is asked before
    a body begins; one that may not waits for the next ``revoke``. ``on_take`` is called when a body has
    taken a chunk, with whether that was the last it had: it may now compute for long before it
    comes back. ``open_task`` makes the task of an ``async`` body on the event loop there is; without it,
    awaiting anything but a stream is an error in the body. ``make_context`` makes what bodies ask for by
    ``current_context()``; without it that comes with their invocations.
    """

    def __init__(
        self,
        codec: Codec = PICKLED,
        *,
        mark: Callable[[AttemptKey | None], None] = _nothing,
        on_take: Callable[[bool], None] = _nothing,
        before_long: Callable[[], None] = _nothing,
        may_begin: Callable[[AttemptKey], bool] | None = None,
        open_task: Callable[[BodyResume], BodyTask] | None = None,
        make_context: Callable[[AttemptKey], object] | None = None,
        consumes_inputs: bool = False,
    ) -> None:
        self.reports: Reports
        self.codec = codec
        self.consumes_inputs = consumes_inputs
        """Whether invocations are its own, to be emptied as their inputs become arguments."""
        self.on_take = on_take
        self._before_long = before_long
        self._may_begin = may_begin
        self._fenced: list[Attempt] = []
        self.reading_children = 0
        """How many tasks that bodies have spawned wait for a chunk."""
        self._brief: set[Digest] = set()  # the codes of bodies that were over in a moment
        self.gate = Gate()
        self.mark = mark
        self._attempts: dict[AttemptKey, Attempt] = {}
        # A body that was resting goes before those that begin or go on: others wait for it.
        self._woken: deque[Attempt] = deque()
        self._ready: deque[Attempt] = deque()
        self._instances = Instances(codec.loads, codec.save)
        self._opener = Opener(codec, self._instances, open_task, make_context)

    def attach(self, reports: Reports) -> None:
        """Say what happens from now on to ``reports``; to be called before any verb."""
        self.reports = reports

    # -- verbs of Host --------------------------------------------------------------------------

    def invoke(self, invocation: Invocation) -> None:
        attempt = Attempt(self, invocation)
        self._attempts[invocation.key] = attempt
        self._make_ready(attempt, self._ready)

    def deliver(self, key: AttemptKey, port: int, first: int, values: list[Value]) -> None:
        attempt = self._attempts.get(key)
        if attempt is not None and attempt.ports[port].receive(first, values):
            self.wake(attempt, port)

    def end_stream(self, key: AttemptKey, port: int, count: int, broken: Broken | None = None) -> None:
        attempt = self._attempts.get(key)
        if attempt is not None:
            attempt.ports[port].end = count
            attempt.ports[port].broken = broken
            self.wake(attempt, port)

    def produce(self, key: AttemptKey, upto: int) -> None:
        attempt = self._attempts.get(key)
        if attempt is not None and upto > attempt.credit:
            attempt.credit = upto
            # A chunk yielded in answer to a cancel went past the gate: then this may not open it.
            if attempt.at_gate and attempt.emitted < upto:
                self._make_ready(attempt, self._woken)

    def throw_cancel(self, key: AttemptKey) -> None:
        attempt = self._attempts.get(key)
        if attempt is not None:
            # Cancels that come before this one is thrown are merged into it (rule 58).
            attempt.cancels_pending += 1
            if attempt.at_gate:
                self._make_ready(attempt, self._woken)

    def cancel(self, key: AttemptKey) -> None:
        attempt = self._attempts.get(key)
        if attempt is not None:
            self._retire(attempt)
            self._instances.abandon(attempt.invocation)
            self.mark(key)
            if attempt.task is None:
                attempt.close()
                self.reports.cancelled(key)
            else:
                unwind(attempt, attempt.task, lambda: self.reports.cancelled(key))
            self.mark(None)

    def recall(self, key: AttemptKey) -> None:
        self.cancel(key)  # the hub only hears of it between steps, so nothing is running

    def revoke(self, keys: list[AttemptKey]) -> list[AttemptKey]:
        """Forget those that have not begun, and report nothing of them: which they were."""
        unbegun = [
            key
            for key in keys
            if (attempt := self._attempts.get(key)) is not None and attempt.body is None
        ]
        for key in unbegun:
            self._attempts.pop(key).ended = True
        fenced, self._fenced = self._fenced, []
        self._ready.extendleft(reversed(fenced))
        return unbegun

    def release(self, run: RunId) -> None:
        self._instances.release(run)

    def forget_codes(self) -> None:
        """Drop what is kept of codes; what was invoked has its own."""
        self._opener.forget_codes()
        self._brief.clear()

    # -- driving --------------------------------------------------------------------------------

    @property
    def ready(self) -> int:
        """How many bodies can be advanced now, some of which may have been given up."""
        return len(self._woken) + len(self._ready)

    def seconds_of(self, key: AttemptKey) -> float:
        """How long an attempt has been stepped."""
        attempt = self._attempts.get(key)
        return 0.0 if attempt is None else attempt.seconds

    @property
    def has_begun(self) -> bool:
        """Whether some body has taken a step and not its last one."""
        return bool(self._attempts) and any(each.body is not None for each in self._attempts.values())

    @property
    def is_ready(self) -> bool:
        return bool(self._woken or self._ready)

    def step(self) -> bool:
        """Advance one body that can go on by one step; False if there is none."""
        while queue := self._woken or self._ready:
            attempt = queue.popleft()
            attempt.queued = False
            if attempt.ended:
                continue
            self._advance(attempt)
            return True
        return False

    def report_rest(self) -> bool:
        """Nothing that bodies await can come, but chunks: say which of them rest, if that is news."""
        if not self.reading_children:  # each body has said that it waits, and nothing else can be news
            return False
        return sum(attempt.report_rest() for attempt in list(self._attempts.values())) > 0

    def close(self) -> None:
        """Close every body, so that its ``finally`` blocks run; reports nothing."""
        for attempt in list(self._attempts.values()):
            self._retire(attempt)
            attempt.close()

    # -- stepping -------------------------------------------------------------------------------

    def _advance(self, attempt: Attempt) -> None:
        # Pickling what it gives and closing it run its code too, so all of that is on its account.
        self.mark(attempt.key)
        try:
            self._advance_marked(attempt)
        finally:
            self.mark(None)

    def _advance_marked(self, attempt: Attempt) -> None:
        throws = attempt.cancels_pending if attempt.rests_at_yield else 0
        started = perf_counter()
        try:
            outcome = self._next_step(attempt, throws)
        finally:
            attempt.seconds += perf_counter() - started
        if outcome is None:
            return
        attempt.cancels_pending -= throws
        if throws and not isinstance(outcome, Returned | Raised):
            # Before the chunk that answers it: who has that chunk must know what it answers.
            self.reports.cancel_thrown(attempt.key, throws, attempt.emitted)
        self._settle(attempt, outcome)

    def _next_step(self, attempt: Attempt, throws: int) -> Step | None:
        if attempt.body is None:
            if self._may_begin is not None and not self._may_begin(attempt.key):
                self._fenced.append(attempt)
                return None
            if attempt.invocation.code.digest not in self._brief:
                self._before_long()
            opened = self._opener.open(attempt)
            if isinstance(opened, NotOpened):
                self._fail(attempt, opened.fault, opened.error)
                return None
            attempt.body = opened
        elif throws:
            attempt.cancel_thrown = True
            cancelled = StreamCancelled("a reader cancelled the stream")
            return attempt.step(attempt.body.throw, cancelled)
        return attempt.step(attempt.body.advance)

    def _settle(self, attempt: Attempt, outcome: Step) -> None:
        match outcome:
            case Returned():
                self._finish(attempt, outcome.value)
            case Yielded():
                self._emit(attempt, outcome.chunk)
            case Blocked(port):
                assert isinstance(port, Port)
                attempt.waiting = port
                attempt.report_wait(port)
            case Awaiting():
                self._await(attempt, outcome)
            case Raised(error):
                self._end_by(attempt, error)

    def _await(self, attempt: Attempt, awaiting: Awaiting) -> None:
        assert attempt.body is not None
        if attempt.task is None:
            refused = TypeError(
                f"an 'async def' body awaited {awaiting.awaited!r}; here it can await its streams only"
            )
            self._settle(attempt, self.gate.step(attempt.body.throw, refused))
            return
        attempt.awaits = True
        attempt.rest_is_known = False
        attempt.task.carry(awaiting)

    def resume(self, attempt: Attempt, step: Callable[..., Step], argument: object) -> Awaiting | None:
        """Step an ``async`` body in its task; returns what it awaits then, if that is no stream."""
        if attempt.queued:
            attempt.queued = False
            (self._woken if attempt in self._woken else self._ready).remove(attempt)
        attempt.at_gate, attempt.waiting = False, None
        self.mark(attempt.key)
        try:
            started = perf_counter()
            outcome = self.gate.step(step, argument)
            attempt.seconds += perf_counter() - started
            attempt.awaits = isinstance(outcome, Awaiting)
            attempt.rest_is_known = False
            if isinstance(outcome, Awaiting):
                return outcome
            if attempt.ended:
                finish_unwinding(attempt, outcome)
            else:
                self._settle(attempt, outcome)
        finally:
            self.mark(None)
        return None

    # -- what a step led to -----------------------------------------------------------------------

    def _emit(self, attempt: Attempt, chunk: object) -> None:
        key = attempt.key
        try:
            outputs = _outputs(attempt.code, chunk, "yielded")
            dumps = self.codec.dumps
            values = [dumps(output) for output in outputs] if attempt.invocation.send_chunks else []
        except BaseException as error:  # noqa: BLE001 - pickling runs user code
            self._fail(attempt, _fault_of(error), error)
            return
        try:
            attempt.accumulator.add(outputs)
        except BaseException as error:  # noqa: BLE001 - accumulate= is the user's
            self._fail(attempt, Fault.BODY, error)
            return
        self.reports.chunks(key, attempt.emitted, 1, len(outputs), values)
        attempt.emitted += 1
        if attempt.emitted < attempt.credit or attempt.cancels_pending:
            self._make_ready(attempt, self._ready)
        else:
            attempt.at_gate = True

    def _finish(self, attempt: Attempt, value: object) -> None:
        if attempt.task is None:
            self._complete(attempt, value)
        else:
            attempt.task.end()
            attempt.end_streams()
            attempt.task.when_childless(lambda: self._complete(attempt, value))

    def _complete(self, attempt: Attempt, value: object) -> None:
        if attempt.ended:
            return  # given up while tasks that it had spawned went on
        try:
            final = self._final(attempt, value)
            missing = final if isinstance(final, Missing) else None
            outputs = (
                [] if isinstance(final, Missing) else [self.codec.dumps(output) for output in final]
            )
            state = self._instances.checkpoint(attempt.invocation)
        except BaseException as error:  # noqa: BLE001 - pickling runs user code
            self._fail(attempt, _fault_of(error), error)
            return
        self._retire(attempt)
        self.reports.completed(attempt.key, attempt.emitted, attempt.seconds, outputs, missing, state)

    def _final(self, attempt: Attempt, value: object) -> tuple[object, ...] | Missing:
        if value is SKIP:
            return Missing(Absence.SKIP, "the body returned SKIP")
        if value is NO_VALUE:
            return Missing(Absence.NO_VALUE, "the body returned NO_VALUE")
        if value is NATURAL_END:
            return attempt.accumulator.final()
        return _outputs(attempt.code, value, "returned")

    def _end_by(self, attempt: Attempt, error: BaseException) -> None:
        if attempt.task is not None:
            attempt.task.end()
        if isinstance(error, StreamCancelled) and attempt.cancel_thrown:
            # Rule 59a: not caught, so the run ends here and the cancel goes on upstream.
            for port in attempt.ports.values():
                port.cancel()
            self._finish(attempt, NATURAL_END)
        else:
            self._fail(attempt, Fault.BODY, error)

    def _fail(self, attempt: Attempt, fault: Fault, error: BaseException) -> None:
        self._retire(attempt)
        if attempt.task is None:
            attempt.close()
        else:
            unwind(attempt, attempt.task, _nothing)
        self._instances.abandon(attempt.invocation)
        # A body that has raised has its code.
        retry_on = attempt.code.retry_on if fault is Fault.BODY else ()
        report, cause = describe(error, fault, self.codec.dump_exception, retry_on)
        self.reports.failed(attempt.key, attempt.emitted, attempt.seconds, report, cause)

    # -- bookkeeping ------------------------------------------------------------------------------

    def _make_ready(self, attempt: Attempt, queue: deque[Attempt]) -> None:
        attempt.at_gate = False
        attempt.waiting = None
        if not attempt.queued:
            attempt.queued = True
            queue.append(attempt)

    def wake(self, attempt: Attempt, port: int) -> None:
        if attempt.waiting is not None and attempt.waiting.index == port:
            self._make_ready(attempt, self._woken)
        if attempt.reading_children:
            attempt.ports[port].wake_children()

    def _retire(self, attempt: Attempt) -> None:
        attempt.ended = True
        del self._attempts[attempt.key]
        code = attempt.invocation.code.digest
        if attempt.seconds < BRIEF_S:
            self._brief.add(code)
        else:
            self._brief.discard(code)
        attempt.end_streams()


def _outputs(code: LoadedCode, value: object, verb: str) -> tuple[object, ...]:
    if not code.multiple_outputs:
        return (value,)
    if not isinstance(value, tuple):
        raise ShapeError(
            f"the body {verb} {type(value).__name__}; "
            "with multiple_outputs=True it must be a tuple, one element per output"
        )
    return value


def _fault_of(error: BaseException) -> Fault:
    if isinstance(error, StateError):
        return Fault.STATE
    return Fault.SHAPE if isinstance(error, ShapeError) else Fault.OUTPUT
