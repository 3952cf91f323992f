"""One worker as its pool knows it: the session with it, its secret and its page."""

from __future__ import annotations

import secrets
from hmac import compare_digest
from typing import Final

from executor.host import Broken, Code, Evidence, Input, Invocation
from executor.ladder import Stepping
from executor.output import LastOutput
from executor.page import BEGUN, CURRENT, FENCE, PRINTED, SINCE, TARGET, Page
from executor.traces import of_the_user
from protocol.delivery import Epoch
from protocol.framing import Parts, Session, coordinator_session, first_message
from protocol.listener import ConnectionId
from protocol.messages import (
    PROTOCOL_VERSION,
    AttemptKey,
    DefaultInput,
    Define,
    Deliver,
    Digest,
    EndStream,
    Forget,
    FromCoordinator,
    FromWorker,
    Hello,
    Invoke,
    NodeId,
    Release,
    RunId,
    StreamInput,
    WireInput,
    WireStart,
)
from protocol.values import Value, size_bytes

CODES_LIMIT: Final = 1000
"""So many codes a worker keeps: where each run makes its functions anew there is no end to them."""

CODES_LIMIT_BYTES: Final = 256 << 20
"""And no more of them than take this much."""


class Writer:
    """Writes what goes to one worker into its session."""

    def __init__(self, session: Session[FromCoordinator, FromWorker]) -> None:
        self.session = session
        self._defined: set[Digest] = set()
        self._defined_bytes = 0
        # The nodes whose instances it has, with the last generation that it was given to run.
        self._holds: dict[tuple[RunId, NodeId], int] = {}

    def invoke(self, invocation: Invocation) -> None:
        code = invocation.code
        if code.digest not in self._defined:
            self._define(code)
            self._defined.add(code.digest)
        start = self._start(invocation) if invocation.pinned else None
        self.session.add(
            Invoke(
                invocation.key,
                code.digest,
                [self._wire(given) for given in invocation.inputs],
                invocation.credit,
                invocation.send_chunks,
                invocation.final_is_read,
                invocation.checkpoint,
                start,
                invocation.resumes and start is None,
                invocation.name,
                None if invocation.context is None else self.session.attach(invocation.context),
            )
        )

    def release(self, run: RunId) -> None:
        self._holds = {held: last for held, last in self._holds.items() if held[0] != run}
        self.session.add(Release(run))

    def deliver(self, key: AttemptKey, port: int, first: int, values: list[Value]) -> None:
        attach = self.session.attach
        self.session.add(Deliver(key, port, first, [attach(value) for value in values]))

    def end_stream(self, key: AttemptKey, port: int, count: int, broken: Broken | None) -> None:
        if broken is None:
            self.session.add(EndStream(key, port, count))
        else:
            cause = None if broken.cause is None else self.session.attach(broken.cause)
            self.session.add(EndStream(key, port, count, broken.failure, cause))

    def _define(self, code: Code) -> None:
        self._defined_bytes += size_bytes(code.payload)
        if len(self._defined) >= CODES_LIMIT or self._defined_bytes > CODES_LIMIT_BYTES:
            self._defined.clear()
            self._defined_bytes = size_bytes(code.payload)
            self.session.add(Forget())
        self.session.add(Define(code.digest, self.session.attach(code.payload)))

    def _wire(self, given: Input) -> WireInput:
        if isinstance(given, StreamInput | DefaultInput):
            return given
        return self.session.attach(given)

    def _start(self, invocation: Invocation) -> WireStart | None:
        """What the worker needs to make the node's instance, unless it goes on with the one it has."""
        start, key = invocation.start, invocation.key
        node = (key.run, key.node)
        # Not if the node has been elsewhere since, or this is not the first attempt.
        is_held = self._holds.get(node) == key.generation - 1 and key.attempt == 0
        self._holds[node] = key.generation
        if start is None or (is_held and invocation.resumes):
            return None
        attach = self.session.attach
        return WireStart(
            None if start.state is None else attach(start.state),
            None if start.changes is None else attach(start.changes),
        )


class Peer(Writer):
    """Writes what goes to the worker; the pool sends it. Owns a mapping of the page: close it."""

    def __init__(self, worker: int, page: int) -> None:
        """``page`` is a descriptor, which stays the caller's."""
        super().__init__(coordinator_session(Epoch(worker)))
        self.worker = worker
        self.token = secrets.token_bytes(32)
        self.connection: ConnectionId | None = None
        """Known once it has said Hello."""
        self.last_output = LastOutput()
        self._page = Page(page)
        self._printed = 0

    def proves(self, hello: Hello, pid: int) -> bool:
        """Whether a Hello, which the kernel says came from ``pid``, is this worker's first."""
        return (
            self.connection is None
            and hello.version == PROTOCOL_VERSION
            and hello.pid == pid
            and compare_digest(hello.token, self.token)
        )

    # -- the page ---------------------------------------------------------------------------------

    @property
    def current(self) -> int:
        """The number of the attempt it is stepping, or was when it ended; 0 for none."""
        number: int = self._page.cells[CURRENT]
        return number

    @property
    def stepping(self) -> Stepping:
        """What the page says now."""
        cells = self._page.cells
        return Stepping(cells[CURRENT], cells[TARGET], self._page.times[SINCE], cells[BEGUN])

    def aim(self, number: int) -> None:
        """Name the attempt that the next interrupt is for."""
        self._page.cells[TARGET] = number

    def fence(self, number: int) -> None:
        """Let the worker begin nothing from this attempt on, until it hears Revoke."""
        self._page.cells[FENCE] = number

    def has_printed(self) -> bool:
        """Whether a body that printed has taken a step since this was asked last."""
        before, self._printed = self._printed, self._page.cells[PRINTED]
        return before != self._printed

    def evidence(self, number: int) -> Evidence:
        """What an attempt has printed, and the stacks that were not asked for before."""
        return Evidence(output=self.last_output.lines_of(number), trace=of_the_user(self._page.trace()))

    def close(self) -> None:
        self._page.close()


def read_hello(parts: Parts) -> Hello | None:
    """The Hello that a connection begins with, if that is what it does."""
    begun = first_message(parts)
    if begun is None:
        return None
    epoch, hello = begun
    return hello if isinstance(hello, Hello) and epoch == hello.worker else None
