"""Every message between a coordinator that runs as a service and its clients.

Clients submit flows and ask questions; an *agent* is a client that brings worker processes along. The
flow, its outcome and its report are opaque bytes here (``orchestrator.service`` makes and reads them),
so that one that does not decode concerns the one submission and not the session.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import Struct

from protocol.messages import AttemptKey, Message, RunId, WireStart, WireValue

SERVICE_VERSION: Final = 3


class Request(Message, frozen=True):
    """What a client asks for, under a number that it chooses."""

    request: int


class Answer(Message, frozen=True):
    """What the coordinator answers; exactly one answer repeats the number of a request."""

    request: int


# -- client -> coordinator ----------------------------------------------------------------------------

# Other versions must be able to read the first message of either side: these shapes only ever grow.


class ClientHello(Struct, frozen=True, array_like=True, tag=1):
    """Client -> coordinator, first. ``python`` is its version: code by value needs the same one."""

    version: int
    python: str


class Submit(Request, frozen=True, tag=2):
    """Client -> coordinator: run a flow. Answered by ``Accepted`` or ``Rejected``.

    ``label`` is what people call it. ``limits`` maps node numbers to the generation to stop at,
    ``states`` those of nodes that are classes to what their instances are made from. ``context`` is for
    all bodies to ask for. A flow that is not ``detached`` is cancelled when its client is gone.
    """

    label: str
    spec: WireValue
    parameters: dict[str, WireValue]
    limits: dict[int, tuple[int, ...]]
    constant_limit: tuple[int, ...] | None
    timeout_s: float | None
    terminate_on_node_error: bool
    states: dict[int, WireStart]
    context: WireValue | None
    detached: bool


class CancelRun(Request, frozen=True, tag=3):
    """Client -> coordinator: give a flow up, be it the client's own or another's."""

    run: RunId


class FollowRun(Request, frozen=True, tag=14):
    """Client -> coordinator: tell us of a flow, as its own client is told, but for results and states.

    Answered by ``Accepted``, and at once by ``Finished`` too if it has ended, or by ``Rejected``.
    """

    run: RunId


class AskStatus(Request, frozen=True, tag=4):
    """Client -> coordinator: answered by ``Status``."""


class AskWaits(Request, frozen=True, tag=5):
    """Client -> coordinator: what a node waits for. ``flow`` is a run's number or a label."""

    flow: str
    node: str


class DrainService(Request, frozen=True, tag=6):
    """Client -> coordinator: take no more flows, and end when the last has ended."""


class StopService(Request, frozen=True, tag=7):
    """Client -> coordinator: cancel all flows and end."""


class Join(Request, frozen=True, tag=8):
    """Agent -> coordinator: we bring so many worker processes; ``SpawnWorker`` follows for each.

    ``resources`` may be claimed beside the pool's own until we leave.
    """

    workers: int
    resources: dict[str, float]


class WorkerStarted(Message, frozen=True, tag=9):
    """Agent -> coordinator: the worker's process exists."""

    worker: int
    pid: int


class WorkerNotStarted(Message, frozen=True, tag=10):
    """Agent -> coordinator: the system refused the process."""

    worker: int
    reason: str


class WorkerEnded(Message, frozen=True, tag=11):
    """Agent -> coordinator: the process ended; ``status`` is its exit code or minus a signal.

    ``left``: commands, by pid, of what had been started there and was ended with it.
    """

    worker: int
    status: int
    peak_kib: int
    left: dict[int, str]


class Leave(Message, frozen=True, tag=12):
    """Agent -> coordinator: give our workers nothing new; answered by ``Dismissed`` when all ended."""


class Bye(Message, frozen=True, tag=13):
    """Client -> coordinator, last: nothing more is wanted, and what is not detached may be cancelled."""


FromClient: TypeAlias = (
    ClientHello
    | Submit
    | CancelRun
    | FollowRun
    | AskStatus
    | AskWaits
    | DrainService
    | StopService
    | Join
    | WorkerStarted
    | WorkerNotStarted
    | WorkerEnded
    | Leave
    | Bye
)


# -- coordinator -> client ----------------------------------------------------------------------------


class Welcomed(Struct, frozen=True, array_like=True, tag=1):
    """Coordinator -> client: answers ``ClientHello``.

    ``prefix`` is its Python environment, ``sys_path`` where its workers look for modules, ``workers``
    how many there are. An agent's workers connect to ``worker_endpoint``.
    """

    version: int
    python: str
    pid: int
    workers: int
    prefix: str
    sys_path: list[str]
    worker_endpoint: str


class Refused(Struct, frozen=True, array_like=True, tag=2):
    """Coordinator -> client: answers a ``ClientHello`` that cannot be served; nothing follows."""

    version: int
    python: str
    pid: int


class Accepted(Answer, frozen=True, tag=3):
    """Coordinator -> client: the flow has this number and label; what happens to it will be told."""

    run: RunId
    label: str


class Rejected(Answer, frozen=True, tag=4):
    """Coordinator -> client: the request cannot be done; ``reason`` is a sentence for the user."""

    reason: str


class WireShortage(Message, frozen=True):
    """More is asked of a resource than there is."""

    name: str
    asked: float
    has: float


class Oversized(Answer, frozen=True, tag=15):
    """Coordinator -> client: a node of the flow asks for more than the pool has."""

    node: str
    place: str
    shortages: list[WireShortage]


class Confirmed(Answer, frozen=True, tag=5):
    """Coordinator -> client: the request is done, or under way."""


class NodeProgress(Message, frozen=True):
    """How far a node is. ``total`` is how many runs or elements there will be in all, 0 if unknown.

    ``state``: ``waiting`` (has not begun), ``running``, ``suspended`` (its body waits for others),
    ``queued`` (for a worker) or ``done``. ``done``: chunks of a stream or map, else runs.
    """

    name: str
    state: str
    runs: int
    done: int
    running: int
    queued: int
    total: int


class Progress(Message, frozen=True, tag=6):
    """Coordinator -> client: the nodes of a flow that changed, by number."""

    run: RunId
    nodes: dict[int, NodeProgress]


class Printed(Message, frozen=True, tag=7):
    """Coordinator -> client: a body of this ``node`` wrote to ``descriptor`` 1 or 2.

    Without ``key`` the coordinator says something itself.
    """

    run: RunId
    descriptor: int
    data: bytes
    key: AttemptKey | None = None
    node: str = ""


class Result(Message, frozen=True, tag=8):
    """Coordinator -> client: a node's newest data at one run level; see ``runtime.results.Emission``."""

    run: RunId
    node: int
    run_level: int
    generation: tuple[int, ...]
    outputs: list[WireValue] | None
    released_bytes: int


class StateKept(Message, frozen=True, tag=14):
    """Coordinator -> client: the state that a node which is a class has now."""

    run: RunId
    node: int
    state: WireValue


class Finished(Message, frozen=True, tag=9):
    """Coordinator -> client: the flow ended; all its results came before.

    ``outcome`` and ``report`` are plain data of the orchestrator's; ``causes`` are the exceptions of
    nodes that failed, where they could be pickled: the outcome refers to them by number.
    """

    run: RunId
    outcome: bytes
    report: bytes
    causes: list[WireValue]


class RunStatus(Message, frozen=True):
    """One flow. ``state``: ``running``, ``cancelling``, ``done``, ``failed`` or ``cancelled``.

    ``client`` is a pid, ``seconds`` how long it has run or did run, ``detail`` an error's first line, or
    what its nodes wait for that the pool does not have.
    ``nodes`` counts those that ran to their end, out of ``nodes_total``.
    """

    run: RunId
    label: str
    state: str
    client: int
    detached: bool
    seconds: float
    nodes: int
    nodes_total: int
    running: int
    queued: int
    detail: str


class WorkerStatus(Message, frozen=True):
    """One worker. ``agent`` is the pid of who brought it, 0 for the coordinator's own."""

    worker: int
    pid: int
    state: str
    agent: int
    running: int
    suspended: int


class Status(Answer, frozen=True, tag=10):
    """Coordinator -> client: all there is to see."""

    pid: int
    seconds: float
    draining: bool
    workers: list[WorkerStatus]
    runs: list[RunStatus]


class Waits(Answer, frozen=True, tag=11):
    """Coordinator -> client: what a node waits for, in sentences."""

    run: RunId
    node: NodeProgress
    sentences: list[str]


class SpawnWorker(Message, frozen=True, tag=12):
    """Coordinator -> agent: start a worker, which is to prove itself with ``token``.

    ``descriptors`` are of the coordinator's process: a page (``executor.page``), and pipes for what the
    worker prints on its standard output and error.
    """

    worker: int
    token: bytes
    descriptors: list[int]


class Dismissed(Message, frozen=True, tag=13):
    """Coordinator -> agent: nothing more is wanted of it; why, or nothing if it asked to leave.

    To any client: it broke the protocol, and is heard no more.
    """

    reason: str


ToClient: TypeAlias = (
    Welcomed
    | Refused
    | Accepted
    | Rejected
    | Oversized
    | Confirmed
    | Progress
    | Printed
    | Result
    | StateKept
    | Finished
    | Status
    | Waits
    | SpawnWorker
    | Dismissed
)
