"""A thread of this process as a host of bodies: the worker's own code behind an in-process link.

Theory of operation. What goes to the thread and comes from it are the messages of ``protocol.messages``,
values pickled, so that every consumer owns its copy; only code goes by reference. All invocations are
sent at once: ``async`` bodies wait for their I/O side by side. Plain bodies run one after the other
there. Like a pool it is pumped by its owner. A thread cannot be killed: what does not end in
``grace_s`` when it is cancelled is reported as cancelled, logged as an error, and left behind.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

from executor.actions import Action, ReportCancelled
from executor.codec import BY_REFERENCE, PICKLED, Codec
from executor.host import Broken, Code, Invocation, Reports
from executor.inbox import Inbox
from executor.limits import GRACE_S
from executor.peer import Writer
from executor.worker import Worker
from protocol.framing import coordinator_session, worker_session
from protocol.messages import (
    AttemptKey,
    Cancel,
    Digest,
    Drain,
    Goodbye,
    LeftRunning,
    Produce,
    RunId,
    ThrowCancel,
)
from protocol.transport import Connection, thread_link
from protocol.values import Value

log = logging.getLogger(__name__)

_THREAD: Final = 1  # the only worker of its kind; numbers them for the inbox
_CODEC: Final = Codec(PICKLED.dumps, BY_REFERENCE.loads, PICKLED.dump_exception)


class ThreadHost:
    """One thread, started by the first ``invoke``; ``stop`` it, then wait for ``has_ended``."""

    def __init__(self, *, grace_s: float = GRACE_S) -> None:
        self.has_ended = True
        """Whether there is no thread, or none any more that is waited for."""
        self._grace_s = grace_s
        self._held = _Held()
        self._inbox = Inbox(self._held, self._do)
        self._codes: dict[Digest, Code] = {}
        self._writer = _CodeKeeper(self._codes)
        self._link: Connection | None = None
        self._thread: Thread | None = None
        self._failures: list[BaseException] = []  # how the thread ended, if not by being stopped
        self._is_left = Event()  # our end of the link is closed
        self._deadlines: dict[AttemptKey, float] = {}  # of attempts that were cancelled
        self._stop_by = math.inf

    # -- verbs of Host ------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation) -> None:
        if self._thread is None:
            self._start()
        self._held.add(invocation.key)
        self._writer.invoke(invocation)

    def deliver(self, key: AttemptKey, port: int, first: int, values: list[Value]) -> None:
        self._writer.deliver(key, port, first, values)

    def end_stream(self, key: AttemptKey, port: int, count: int, broken: Broken | None = None) -> None:
        self._writer.end_stream(key, port, count, broken)

    def produce(self, key: AttemptKey, upto: int) -> None:
        self._writer.session.add(Produce(key, upto))

    def throw_cancel(self, key: AttemptKey) -> None:
        self._writer.session.add(ThrowCancel(key))

    def cancel(self, key: AttemptKey) -> None:
        if self._held.cancel(key):
            self._deadlines[key] = monotonic() + self._grace_s
            self._writer.session.add(Cancel(key))

    def recall(self, key: AttemptKey) -> None:
        self.cancel(key)

    def release(self, run: RunId) -> None:
        self._writer.release(run)

    # -- driving ------------------------------------------------------------------------------------

    def attach(self, run: RunId, reports: Reports) -> None:
        """Say what happens to the attempts of a run to ``reports``."""
        self._inbox.reports[run] = reports

    def detach(self, run: RunId) -> None:
        self._inbox.reports.pop(run, None)

    def is_in_line(self, key: AttemptKey) -> bool:  # noqa: ARG002 - as a pool's
        """Nothing waits for a worker here."""
        return False

    def sockets(self) -> list[Any]:
        """What to poll for reading."""
        return [] if self._link is None else [self._link.socket]

    def on_readable(self, _: object, __: float) -> None:
        """Take what has come. Early and repeated calls do no harm."""
        while self._link is not None and (parts := self._link.receive(wait=False)) is not None:
            if self._failures:
                self._fail()
            envelope = self._writer.session.read(parts)
            if envelope is None:
                continue
            self._inbox.take(_THREAD, envelope)
            if any(isinstance(message, Goodbye) for message in envelope.messages):
                self._leave()

    def next_deadline(self) -> float:
        """When ``on_deadline`` is to be called, on the clock of ``time.monotonic``; maybe never."""
        if not self._deadlines:
            return self._stop_by
        self._deadlines = {key: at for key, at in self._deadlines.items() if key in self._held}
        return min(self._stop_by, *self._deadlines.values(), math.inf)

    def on_deadline(self, now: float) -> None:
        """Give up what has had its time."""
        for key in [key for key, deadline in self._deadlines.items() if deadline <= now]:
            del self._deadlines[key]
            if key in self._held:
                self._held.ended(key, None)
                self._held.was_abandoned = True
                log.error(
                    "%s goes on in its thread %g s after it was cancelled; a thread cannot be killed: "
                    'it is left behind (with placement="process" it would have been ended)',
                    key,
                    self._grace_s,
                )
                self._inbox.reports_of(key.run).cancelled(key)
        if self._stop_by <= now:
            self._abandon()

    def flush(self) -> None:
        """Send what was written since the last call."""
        if self._link is not None and self._writer.session.has_output:
            for parts in self._writer.session.take():
                self._link.send(parts)

    def stop(self) -> None:
        """Let the thread end; ``has_ended`` says when it has, or that it won't. To be pumped on."""
        if self._link is not None and self._stop_by == math.inf:
            self._writer.session.add(Drain())
            self.flush()
            self._stop_by = monotonic() + self._grace_s
            if self._held.was_abandoned:
                self._abandon()

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            assert isinstance(action, ReportCancelled), action
            self._inbox.reports_of(action.key.run).cancelled(action.key)

    # -- the thread ---------------------------------------------------------------------------------

    def _start(self) -> None:
        self._link, theirs = thread_link()
        self._thread = Thread(
            target=_work,
            args=(theirs, self._codes, self._failures, self._is_left),
            name="orchestrator thread nodes",
            daemon=True,  # one that is left behind does not keep the process from ending
        )
        self._thread.start()
        self.has_ended = False

    def _fail(self) -> None:
        """The thread has ended by an error of our own code, and nothing follows."""
        self._leave()
        for key in self._held.attempts():
            self._held.ended(key, None)
            self._inbox.reports_of(key.run).cancelled(key)
        raise self._failures[0]

    def _abandon(self) -> None:
        if not self._held.was_abandoned:
            log.error(
                "the thread of the nodes with placement='thread' has not ended after %g s: something "
                "that they have started goes on, and is left behind",
                self._grace_s,
            )
        self._thread = None
        self._leave()

    def _leave(self) -> None:
        """What was sent stays readable for the thread, however late it comes to that."""
        link, self._link = self._link, None
        self._stop_by = math.inf
        if link is not None:
            link.close(None)
            self._is_left.set()
        if self._thread is not None:
            self._thread.join()  # it has said goodbye
        self.has_ended = True


def _work(
    connection: Connection, codes: dict[Digest, Code], failures: list[BaseException], is_left: Event
) -> None:
    try:
        Worker(connection, worker_session(), codes=codes, codec=_CODEC).run()
    except BaseException as error:  # noqa: BLE001 - raised again in the coordinator
        failures.append(error)
        connection.send([b"the thread has failed"])
    connection.close(None)  # the goodbye is to be read
    is_left.wait()
    connection.context.term()


class _CodeKeeper(Writer):
    """Keeps code for the thread to find instead of sending it."""

    def __init__(self, codes: dict[Digest, Code]) -> None:
        super().__init__(coordinator_session())
        self._codes = codes

    def _define(self, code: Code) -> None:
        self._codes[code.digest] = code


class _Held:
    """The attempts that the thread holds; there is no end to how many (``executor.inbox.Leases``)."""

    def __init__(self) -> None:
        self.was_abandoned = False
        self._leases: dict[AttemptKey, _Lease] = {}

    def __contains__(self, key: AttemptKey) -> bool:
        return key in self._leases

    def attempts(self) -> list[AttemptKey]:
        return list(self._leases)

    def add(self, key: AttemptKey) -> None:
        self._leases[key] = _Lease()

    def cancel(self, key: AttemptKey) -> bool:
        lease = self._leases.get(key)
        if lease is None or lease.cancelled:
            return False
        lease.cancelled = True
        return True

    def left_running(self, _: int, __: LeftRunning) -> str | None:
        """What a body has started in this process is the user's to see."""
        return None

    def leased_to(self, _: int, key: AttemptKey) -> _Lease | None:
        return self._leases.get(key)

    def ended(self, key: AttemptKey, _: float | None, __: int = 0) -> list[Action]:
        del self._leases[key]
        return []

    def given_up(self, key: AttemptKey) -> list[Action]:
        return [ReportCancelled(key), *self.ended(key, None)]

    def given_back(self, _: int, keys: list[AttemptKey]) -> list[Action]:
        raise AssertionError(f"nobody asked for {keys}")

    def assign_line(self) -> list[Action]:
        return []


class _Lease:
    """A claim that nobody else waits for."""

    __slots__ = ("cancelled",)

    def __init__(self) -> None:
        self.cancelled = False

    @property
    def is_ending(self) -> bool:
        return self.cancelled

    def emits(self, _: int) -> bool:
        return False

    def waits(self, _: int, __: int, ___: int) -> bool:
        return False

    def answers_cancel(self, _: int) -> bool:
        return False
