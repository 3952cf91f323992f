"""A worker process: carries messages between its coordinator and a hub of bodies.

Theory of operation. One thread. While bodies can go on, the hub steps them, and at least every half
millisecond, between two steps, the worker sends what they said and looks for messages. When none can
go on it sends at once and waits for the next message. From the first ``async def`` body on it does the
same inside an asyncio loop (``executor.asyncio_tasks``). It ends when told to (``Drain``), when it is
killed, or with the zygote.
"""

from __future__ import annotations

import atexit
import faulthandler
import mmap
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from executor.body_task import BodyTask, Resume
from executor.codec import PICKLED, Codec
from executor.custody import Custody
from executor.host import Broken, Code, Invocation, Start
from executor.hub import Hub
from executor.interrupting import listen
from executor.marked_output import Printing
from executor.marks import SECRET_BYTES
from executor.offspring import OffspringWatch
from executor.page import BEGUN, CURRENT, FENCE, SINCE, Page
from executor.reporter import Reporter
from protocol.delivery import Epoch
from protocol.framing import Envelope, Parts, Session, worker_session
from protocol.messages import (
    PROTOCOL_VERSION,
    AttemptKey,
    Cancel,
    DefaultInput,
    Define,
    Deliver,
    Digest,
    Drain,
    EndStream,
    Forget,
    FromCoordinator,
    FromWorker,
    Goodbye,
    Hello,
    Invoke,
    LeftRunning,
    Produce,
    Release,
    Revoke,
    Revoked,
    StreamInput,
    ThrowCancel,
    Welcome,
    WireInput,
    WireStart,
)
from protocol.values import Buffer, Value
from protocol.zmtp import Dealer

if TYPE_CHECKING:
    from executor.asyncio_tasks import AsyncioHost

TURN_S: Final = 0.0005
"""How long bodies are stepped before messages are looked at."""

OUTPUT_BYTES: Final = 1 << 20
"""From this much on, output is sent at once."""

BIRTH_S: Final = 0.0001
"""A body that took less has started no process and no thread."""

_COPY_STATUS: Final = 70  # EX_SOFTWARE of sysexits.h
_OOM_SCORE: Final = 500  # the kernel's choice when memory runs out: a worker before the coordinator


@dataclass(frozen=True, slots=True)
class Birth:
    """What a new worker is to be; ``token`` proves who started it.

    ``page`` is a descriptor, and so are the ``pipes`` for its standard output and error, if any.
    ``drops_output``: it does not wait for who reads them.
    """

    worker: int
    token: bytes
    page: int
    pipes: Sequence[int]
    drops_output: bool = False


def run(birth: Birth, endpoint: str) -> NoReturn:
    """Be the worker, from just after the fork to the end of the process."""
    _prepare_process()
    page = Page(birth.page)
    printing = None
    if birth.pipes:
        secret = birth.token[:SECRET_BYTES]
        printing = Printing(secret, page, birth.pipes, drops=birth.drops_output)
    _trace_faults(birth.page)
    connection = Dealer(endpoint)
    python = ".".join(map(str, sys.version_info[:3]))
    hello = Hello(PROTOCOL_VERSION, python, birth.worker, os.getpid(), birth.token)
    session = worker_session(Epoch(birth.worker))
    session.add(hello)
    worker = Worker(connection, session, page=page, printing=printing)
    worker.custody = Custody(page, birth.page)
    worker.offspring = OffspringWatch()
    os.register_at_fork(after_in_child=connection.close)  # what a body forks must not write to it
    try:
        worker.run()
    except BaseException as error:
        worker.blame_last_step()
        if isinstance(error, ConnectionError):
            os._exit(1)  # the coordinator is gone, and the zygote ends what we have started
        raise
    connection.close()
    # Not sys.exit: that would wait for threads which a body may have left running.
    atexit._run_exitfuncs()  # noqa: SLF001 - as multiprocessing does
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # a body may have closed or replaced it
            stream.flush()
    os._exit(0)


def _prepare_process() -> None:
    # Python's own random was reseeded by the fork, and nothing else random is loaded yet.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # None where the descriptor is closed
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text file here


def _trace_faults(page: int) -> None:
    """Write our stacks behind the page, at a fault and whenever SIGUSR2 asks for them (FAULTS F6)."""
    os.lseek(page, mmap.PAGESIZE, os.SEEK_SET)
    faulthandler.enable(page)
    faulthandler.register(signal.SIGUSR2, page)


class Link(Protocol):
    """A worker's end of what connects it to its coordinator."""

    @property
    def descriptor(self) -> int:
        """Becomes readable when something may have come."""

    def receive(self, *, wait: bool) -> list[Buffer] | None: ...

    def send(self, parts: Parts) -> None: ...


class Worker:
    """The loop, and the translation of messages into verbs of the hub."""

    def __init__(
        self,
        connection: Link,
        session: Session[FromWorker, FromCoordinator],
        *,
        page: Page | None = None,
        printing: Printing | None = None,
        codes: dict[Digest, Code] | None = None,
        codec: Codec = PICKLED,
    ) -> None:
        """``page`` and ``printing`` are those of a process; ``codes`` is what need not be sent."""
        self._connection = connection
        self._page = page
        self._printing = printing
        self.custody: Custody | None = None
        self.offspring: OffspringWatch | None = None
        self._last_ended: AttemptKey | None = None
        self._session = session
        self._draining = False
        self._is_copy = False  # made by a fork in a body
        self._flushed = 0.0
        self._stepped = 0  # the number of the attempt that was stepped last
        self._codes: dict[Digest, Code] = {} if codes is None else codes
        # The coordinator counts the invocations it sends us, and so do we: a number names each.
        self._invoked = 0
        self._numbers: dict[AttemptKey, int] = {}
        self._asyncio: AsyncioHost | None = None
        self._hub = Hub(
            codec,
            mark=self._mark,
            on_take=self._on_take,
            before_long=self._flush,
            may_begin=None if page is None else self._may_begin,
            open_task=self._open_task,
            consumes_inputs=True,
        )
        self._reporter = Reporter(self._session, self._ended)
        self._hub.attach(self._reporter)
        if page is not None:
            listen(page.cells, self._hub.gate)
            if printing is not None:
                printing.gate = self._hub.gate
            os.register_at_fork(after_in_child=self._leave_to_child)
        self._handlers: dict[type, Callable[[Any, Envelope[FromCoordinator]], None]] = {
            Welcome: self._welcome,
            Define: self._define,
            Invoke: self._invoke,
            Deliver: self._deliver,
            EndStream: self._end_stream,
            Produce: self._produce,
            ThrowCancel: self._throw_cancel,
            Cancel: self._cancel,
            Release: self._release,
            Drain: self._drain,
            Revoke: self._revoke,
            Forget: self._forget,
        }

    def run(self) -> None:
        """Work until told to drain."""
        try:
            self._work()
            if self._asyncio is not None:
                self._asyncio.run(self._connection.descriptor)
            self._hub.close()
        finally:
            if self._asyncio is not None:
                self._asyncio.close()
        self._session.add(Goodbye())
        self._flush()

    def _work(self) -> None:
        """Work until told to drain, or until it must go on on asyncio."""
        step = self._hub.step
        turn_ends = 0.0
        while not self._draining and self._asyncio is None:
            if not step():
                self._flush()
                self._receive(wait=True)
            elif perf_counter() >= turn_ends or self._session.output_bytes >= OUTPUT_BYTES:
                self._flush()
                self._receive(wait=False)
            else:
                continue
            turn_ends = perf_counter() + TURN_S

    def _turn(self) -> bool:
        """Work for a moment, on asyncio; whether there is more to do."""
        assert self._asyncio is not None
        step = self._hub.step
        turn_ends = perf_counter() + TURN_S
        while step() and perf_counter() < turn_ends:
            if self._session.output_bytes >= OUTPUT_BYTES:
                break
        self._flush()
        self._receive(wait=False)  # last: the socket tells nobody of what it saw while it sent
        if self._draining:
            self._asyncio.stop()
        # What came may have been answered already, as the cancel of a body that rests is.
        return self._hub.is_ready or self._session.has_output

    def _open_task(self, resume: Resume) -> BodyTask:
        # Of all that a worker may need this takes longest to import, and only async bodies need it.
        from executor.asyncio_tasks import AsyncioHost, AsyncioTask  # noqa: PLC0415

        if self._asyncio is None:
            self._asyncio = AsyncioHost(self._turn, self._hub.report_rest)
        return AsyncioTask(self._asyncio, resume)

    def _leave_to_child(self) -> None:
        """A body has forked: in the child, nothing that the worker shares may be touched (F25)."""
        self._page = self.custody = self.offspring = self._printing = None
        self._is_copy = True
        faulthandler.enable()

    def _ended(self, key: AttemptKey) -> None:
        """An attempt has been reported as ended: its number is free."""
        del self._numbers[key]
        self._last_ended = key

    def _mark(self, key: AttemptKey | None) -> None:
        page = self._page
        if page is None:
            return
        if key is None and self._printing is not None and self._printing.has_printed:
            self._printing.settle()
        if key is None:
            page.cells[CURRENT] = 0
        else:
            page.times[SINCE] = perf_counter() - self._hub.seconds_of(key)
            # A task that a body spawned may outlive the attempt for a moment.
            self._stepped = page.cells[CURRENT] = self._numbers.get(key, 0)

    def blame_last_step(self) -> None:
        """We fail between two steps: a body has broken what we need, as one does that closes all files.

        Nobody would be charged with it, and what did it would be run again and again.
        """
        if self._page is not None:
            self._page.cells[CURRENT] = self._stepped

    def _may_begin(self, key: AttemptKey) -> bool:
        if self._page is None:
            return True
        cells = self._page.cells
        number = cells[BEGUN] = self._numbers[key]
        fence = cells[FENCE]
        return fence == 0 or number < fence

    def _on_take(self, was_last: bool) -> None:
        """A body took a chunk and may now compute for long: let its producer hear of it in time."""
        if was_last or perf_counter() - self._flushed > TURN_S:
            self._flush()
            if self._asyncio is not None:
                self._asyncio.wake()  # while it sent, the socket may have seen what came

    def _flush(self) -> None:
        if self._is_copy:
            _end_copy()
        self._reporter.write_held()
        if self._session.has_output:
            for parts in self._session.take():
                self._connection.send(parts)
        self._flushed = perf_counter()

    def _receive(self, *, wait: bool) -> None:
        """Take every message that is there; ``wait`` for one if there is none."""
        if self.custody is not None and not self._hub.has_begun:
            self.custody.restore(self._flushed)
            if self._last_ended is not None:
                self._tell_offspring(self._last_ended)
        parts = self._connection.receive(wait=wait)
        while parts is not None:
            envelope = self._session.read(parts)
            if envelope is not None:
                for message in envelope.messages:
                    self._handlers[type(message)](message, envelope)
            parts = self._connection.receive(wait=False)

    def _tell_offspring(self, last: AttemptKey) -> None:
        self._last_ended = None
        if self._page is None or self._flushed - self._page.times[SINCE] < BIRTH_S:
            return
        news = None if self.offspring is None else self.offspring.news()
        if news is not None:
            self._session.add(LeftRunning(last, *news))
            self._flush()

    # -- messages ---------------------------------------------------------------------------------

    def _welcome(self, _: Welcome, __: Envelope[FromCoordinator]) -> None:
        """Nothing to do: work follows by itself."""

    def _define(self, message: Define, envelope: Envelope[FromCoordinator]) -> None:
        self._codes[message.digest] = Code(message.digest, envelope.value(message.payload))

    def _invoke(self, message: Invoke, envelope: Envelope[FromCoordinator]) -> None:
        self._invoked += 1
        self._numbers[message.key] = self._invoked
        self._hub.invoke(
            Invocation(
                message.key,
                self._codes[message.code],
                [_input(each, envelope) for each in message.inputs],
                message.credit,
                message.send_chunks,
                message.final_is_read,
                checkpoint=message.checkpoint,
                start=None if message.start is None else _start(message.start, envelope),
                resumes=message.resumes,
                name=message.name,
                context=None if message.context is None else envelope.value(message.context),
            )
        )

    def _deliver(self, message: Deliver, envelope: Envelope[FromCoordinator]) -> None:
        values = [envelope.value(wire) for wire in message.values]
        self._hub.deliver(message.key, message.port, message.first, values)

    def _end_stream(self, message: EndStream, envelope: Envelope[FromCoordinator]) -> None:
        broken = None
        if message.failure is not None:
            cause = None if message.cause is None else envelope.value(message.cause)
            broken = Broken(message.failure, cause)
        self._hub.end_stream(message.key, message.port, message.count, broken)

    def _produce(self, message: Produce, _: Envelope[FromCoordinator]) -> None:
        self._hub.produce(message.key, message.upto)

    def _throw_cancel(self, message: ThrowCancel, _: Envelope[FromCoordinator]) -> None:
        self._hub.throw_cancel(message.key)

    def _cancel(self, message: Cancel, _: Envelope[FromCoordinator]) -> None:
        self._hub.cancel(message.key)

    def _release(self, message: Release, _: Envelope[FromCoordinator]) -> None:
        self._hub.release(message.run)

    def _revoke(self, message: Revoke, _: Envelope[FromCoordinator]) -> None:
        if self._page is not None:
            self._page.cells[FENCE] = 0
        given_back = self._hub.revoke(message.keys)
        for key in given_back:
            del self._numbers[key]
        self._session.add(Revoked(given_back))

    def _forget(self, _: Forget, __: Envelope[FromCoordinator]) -> None:
        self._codes.clear()
        self._hub.forget_codes()

    def _drain(self, _: Drain, __: Envelope[FromCoordinator]) -> None:
        self._draining = True


def _end_copy() -> NoReturn:
    """A process that a body has forked has come back to our loop, where it has no business."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(_COPY_STATUS)


def _input(wire: WireInput, envelope: Envelope[FromCoordinator]) -> Value | StreamInput | DefaultInput:
    if isinstance(wire, StreamInput | DefaultInput):
        return wire
    return envelope.value(wire)


def _start(wire: WireStart, envelope: Envelope[FromCoordinator]) -> Start:
    return Start(
        None if wire.state is None else envelope.value(wire.state),
        None if wire.changes is None else envelope.value(wire.changes),
    )
