"""Every message between a coordinator that runs as a service and its clients.

Clients submit flows and ask questions; an *agent* is a client that brings worker processes along. The
flow, its outcome and its report are opaque bytes here (``orchestrator.service`` makes and reads them),
so that one that does not decode concerns the one submission and not the session. A ``request`` is a
number that the client chooses; exactly one answer repeats it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import Struct

from protocol.messages import RunId, WireStart, WireValue

SERVICE_VERSION: Final = 2


# -- client -> coordinator ----------------------------------------------------------------------------

# Other versions must be able to read the first message of either side: these shapes only ever grow.


class ClientHello(Struct, frozen=True, array_like=True, tag=1):
    """Client -> coordinator, first. ``python`` is its version: code by value needs the same one."""

    version: int
    python: str


class Submit(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """Client -> coordinator: run a flow. Answered by ``Accepted`` or ``Rejected``.

    ``label`` is what people call it. ``limits`` maps node numbers to the generation to stop at,
    ``states`` those of nodes that are classes to what their instances are made from. ``context`` is for
    all bodies to ask for. A flow that is not ``detached`` is cancelled when its client is gone.
    """

    request: int
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


class CancelRun(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """Client -> coordinator: give a flow up, be it the client's own or another's."""

    request: int
    run: RunId


class FollowRun(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=14):
    """Client -> coordinator: tell us of a flow, as its own client is told, but for results and states.

    Answered by ``Accepted``, and at once by ``Finished`` too if it has ended, or by ``Rejected``.
    """

    request: int
    run: RunId


class AskStatus(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """Client -> coordinator: answered by ``Status``."""

    request: int


class AskWaits(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """Client -> coordinator: what a node waits for. ``flow`` is a run's number or a label."""

    request: int
    flow: str
    node: str


class DrainService(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    """Client -> coordinator: take no more flows, and end when the last has ended."""

    request: int


class StopService(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=7):
    """Client -> coordinator: cancel all flows and end."""

    request: int


class Join(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=8):
    """Agent -> coordinator: we bring so many worker processes; ``SpawnWorker`` follows for each.

    ``resources`` may be claimed beside the pool's own until we leave.
    """

    request: int
    workers: int
    resources: dict[str, float]


class WorkerStarted(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=9):
    """Agent -> coordinator: the worker's process exists."""

    worker: int
    pid: int


class WorkerNotStarted(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=10):
    """Agent -> coordinator: the system refused the process."""

    worker: int
    reason: str


class WorkerEnded(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """Agent -> coordinator: the process ended; ``status`` is its exit code or minus a signal.

    ``left``: commands, by pid, of what had been started there and was ended with it.
    """

    worker: int
    status: int
    peak_kib: int
    left: dict[int, str] = {}


class Leave(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=12):
    """Agent -> coordinator: give our workers nothing new; answered by ``Dismissed`` when all ended."""


class Bye(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=13):
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


class Accepted(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """Coordinator -> client: the flow has this number and label; what happens to it will be told."""

    request: int
    run: RunId
    label: str


class Rejected(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """Coordinator -> client: the request cannot be done; ``reason`` is a sentence for the user."""

    request: int
    reason: str


class Confirmed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """Coordinator -> client: the request is done, or under way."""

    request: int


class NodeProgress(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
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


class Progress(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    """Coordinator -> client: the nodes of a flow that changed, by number."""

    run: RunId
    nodes: dict[int, NodeProgress]


class Printed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=7):
    """Coordinator -> client: a body wrote to ``descriptor`` 1 or 2."""

    run: RunId
    descriptor: int
    data: bytes


class Result(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=8):
    """Coordinator -> client: a node's newest data at one run level; see ``runtime.results.Emission``."""

    run: RunId
    node: int
    run_level: int
    generation: tuple[int, ...]
    outputs: list[WireValue] | None
    released_bytes: int


class StateKept(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=14):
    """Coordinator -> client: the state that a node which is a class has now."""

    run: RunId
    node: int
    state: WireValue


class Finished(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=9):
    """Coordinator -> client: the flow ended; all its results came before.

    ``outcome`` and ``report`` are plain data of the orchestrator's; ``causes`` are the exceptions of
    nodes that failed, where they could be pickled: the outcome refers to them by number.
    """

    run: RunId
    outcome: bytes
    report: bytes
    causes: list[WireValue]


class RunStatus(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One flow. ``state``: ``running``, ``cancelling``, ``done``, ``failed`` or ``cancelled``.

    ``client`` is a pid, ``seconds`` how long it has run or did run, ``detail`` an error's first line.
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


class WorkerStatus(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One worker. ``agent`` is the pid of who brought it, 0 for the coordinator's own."""

    worker: int
    pid: int
    state: str
    agent: int
    running: int
    suspended: int


class Status(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=10):
    """Coordinator -> client: all there is to see."""

    request: int
    pid: int
    seconds: float
    draining: bool
    workers: list[WorkerStatus]
    runs: list[RunStatus]


class Waits(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """Coordinator -> client: what a node waits for, in sentences."""

    request: int
    run: RunId
    node: NodeProgress
    sentences: list[str]


class SpawnWorker(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=12):
    """Coordinator -> agent: start a worker, which is to prove itself with ``token``.

    ``descriptors`` are of the coordinator's process: a page (``executor.page``), and pipes for what the
    worker prints on its standard output and error.
    """

    worker: int
    token: bytes
    descriptors: list[int]


class Dismissed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=13):
    """Coordinator -> agent: nothing more is wanted of it; why, or nothing if it asked to leave."""

    reason: str


ToClient: TypeAlias = (
    Welcomed
    | Refused
    | Accepted
    | Rejected
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
