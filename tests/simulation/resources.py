"""What a simulated pool holds of the system: the same verbs as ``executor.resources``, no system.

Its listener is what a transport over a network is to be: a resumable session with each worker, and
envelopes handed to the pool once each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from executor.actions import DumpStacks, Interrupt, KillWorker, TerminateWorker
from executor.oom import OomWatch
from executor.orders import Exited, NotStarted, Started, ZygoteReport
from executor.output import Outputs
from executor.page import TARGET
from executor.peer import Peer
from executor.resources import Signal
from executor.revocation import SETTLE_S
from executor.watching import Vitals
from protocol.delivery import Epoch
from protocol.framing import Envelope, Parts, coordinator_session
from protocol.link import Link
from protocol.listener import ConnectionId, Received
from protocol.messages import AttemptKey, Drain, FromCoordinator, FromWorker
from protocol.resumable import ResumableSession
from tests.simulation.bodies import SimulatedPage
from tests.simulation.faults import Faults, Flaw
from tests.simulation.network import End, connect
from tests.simulation.process import LIVENESS, RESENDING, Process
from tests.simulation.world import Violation, World


class SimulatedPeer(Peer):
    """A peer whose session is resumed by the listener: the pool reads and writes it as ever."""

    def __init__(self, world: World, worker: int) -> None:
        super().__init__(worker, 0)
        self.world = world
        self.drained_at = inf
        self.token = world.random.randbytes(8)
        session = coordinator_session(Epoch(worker), RESENDING)
        link = Link(LIVENESS, world.random.random, world.now, connects=False)
        self.resumable = ResumableSession(session, link, connects=False)
        self.taken: deque[Envelope[FromWorker]] = deque()
        pool_session: Any = _SessionOfPool(self)
        self.session = pool_session

    @property
    def page(self) -> SimulatedPage:
        page: Any = self._page
        assert isinstance(page, SimulatedPage)
        return page

    def fence(self, number: int) -> None:
        super().fence(number)
        self.page.fence_seen_from = self.world.now + SETTLE_S * self.world.random.random()


class _SessionOfPool:
    """What the pool takes for the session: envelopes were read by the listener, and it sends them."""

    def __init__(self, peer: SimulatedPeer) -> None:
        self._peer = peer
        self.attach = peer.resumable.session.attach

    def add(self, message: FromCoordinator) -> None:
        if isinstance(message, Drain):
            self._peer.drained_at = min(self._peer.drained_at, self._peer.world.now)
        self._peer.resumable.session.add(message)

    def take(self) -> list[Parts]:
        return [[]]  # one envelope, say: the listener pumps

    def read(self, parts: Parts) -> Envelope[FromWorker] | None:
        return self._peer.taken.popleft()


class SimulatedListener:
    def __init__(self, resources: SimulatedResources) -> None:
        self.descriptor = object()
        self._resources = resources
        self._arrived: deque[tuple[int, Envelope[FromWorker], Parts]] = deque()

    def arrived(self, worker: int, envelope: Envelope[FromWorker], parts: Parts) -> None:
        self._arrived.append((worker, envelope, parts))

    def receive_all(self) -> list[Received]:
        received: list[Received] = []
        while self._arrived:
            worker, envelope, parts = self._arrived.popleft()
            peer = self._resources.simulated_peers.get(worker)
            if peer is not None:
                peer.taken.append(envelope)
                pid = self._resources.processes[worker].pid
                received.append(Received(ConnectionId(worker), pid, parts))
        return received

    receive = receive_all

    def take_ended(self) -> list[ConnectionId]:
        return []  # what becomes of a session without a connection is the link's to decide

    def send(self, connection: ConnectionId, parts: Parts) -> bool:
        end = self._resources.ends[connection]
        end.pump()
        return not end.is_over

    def forget(self, connection: ConnectionId) -> None: ...


class SimulatedNursery:
    def __init__(self) -> None:
        self.channel = object()
        self.is_gone = False
        self.reports: deque[tuple[ZygoteReport, list[int]]] = deque()

    def receive(self) -> tuple[ZygoteReport, list[int]] | None:
        if self.reports:
            return self.reports.popleft()
        if self.is_gone:
            return None
        raise BlockingIOError


class SimulatedResources:
    """Processes, their deaths and the zygote's words; ``notify`` makes the pool hear of a source."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        begins_step: Callable[[Process, AttemptKey], None],
        judge_signal: Callable[[Signal], None],
    ) -> None:
        self.world = world
        self.faults = faults
        self.begins_step = begins_step
        self.judge_signal = judge_signal
        self.notify: Callable[[Any], None] = lambda _: None
        self.give_up: Callable[[int], None] = lambda _: None
        self.peers: dict[int, Peer] = {}
        self.simulated_peers: dict[int, SimulatedPeer] = {}
        self.pidfds: dict[int, int] = {}
        self.processes: dict[int, Process] = {}
        self.ends: dict[int, End] = {}
        self.unreachable: set[int] = set()
        self.was_unreachable: set[int] = set()
        self.history: deque[tuple[int, Parts]] = deque(maxlen=20)
        self.listener = SimulatedListener(self)
        self.nursery: SimulatedNursery | None = SimulatedNursery()
        self.outputs = Outputs()  # nobody prints
        self.kernel_kills = 0
        self.oom = OomWatch(lambda: self.kernel_kills)

    def alive(self) -> list[Process]:
        return [process for process in self.processes.values() if process.is_alive]

    # -- what a pool asks of its resources ----------------------------------------------------------

    def sources(self) -> list[Any]:
        return [self.listener.descriptor]

    def watch(self, pidfd: int, worker: int) -> None:
        self.pidfds[pidfd] = worker

    def hears_zygote_on(self, source: object) -> bool:
        return self.nursery is not None and source is self.nursery.channel

    def spawn(self, worker: int) -> None:
        peer = self.peers[worker] = self.simulated_peers[worker] = SimulatedPeer(self.world, worker)
        process = Process(self.world, self.faults, worker, peer.token, peer.page, self.begins_step)
        end = End(
            self.world,
            f"c{worker}",
            peer.resumable,
            lambda envelope, parts: self._heard(worker, envelope, parts),
        )
        end.on_garbage = lambda: self.give_up(worker)
        end.on_lost = lambda: self._lose(process)
        end.other, process.end.other = process.end, end
        process.end.on_connect = lambda: self._connect(worker)
        self.processes[worker] = process
        self.ends[worker] = end
        nursery = self.nursery
        assert nursery is not None
        if process.flaw is Flaw.NOT_STARTED:
            process.status = 0
            self.world.soon(lambda: self._report(nursery, NotStarted(worker, "EAGAIN")))
            return
        process.on_end = lambda: self._ended(nursery, process)

        def forked() -> None:
            if not nursery.is_gone:
                self._report(nursery, Started(worker, process.pid), [worker])
                process.begin()

        self.world.soon(forked)

    def send_signal(self, action: Signal) -> None:
        self.judge_signal(action)
        self.world.note(str(action))
        process = self.processes[action.worker]
        if isinstance(action, Interrupt):
            process.cells[TARGET] = action.number
        if action.worker not in self.pidfds.values():
            return
        match action:
            case Interrupt():
                self.world.soon(process.interrupt, 0.001)
            case DumpStacks():
                pass
            case TerminateWorker():
                self.world.soon(process.terminate, 0.001)
            case KillWorker():
                self.world.soon(lambda: process.die(-9), 0.001)

    def vitals_of(self, pid: int) -> Vitals | None:
        process = self.processes[pid - 1000]
        return Vitals(process.resident_bytes, process.stopped) if process.is_alive else None

    def has_ended(self, worker: int) -> bool:
        return not self.processes[worker].is_alive

    def bury(self, worker: int) -> Peer:
        self.ends[worker].end()
        del self.simulated_peers[worker]
        return self.peers.pop(worker)

    def noticed(self, pidfd: int) -> int | None:
        if pidfd in self.pidfds and not self.processes[pidfd].is_alive:
            return self.pidfds.pop(pidfd)
        return None

    def start_nursery(self) -> None:
        self.nursery = SimulatedNursery()

    def end_nursery(self) -> int | None:
        self.nursery = None
        for process in self.alive():
            process.on_end = lambda: None
            process.die(-9)
        return -9

    def release(self) -> None: ...

    # -- what becomes of them -----------------------------------------------------------------------

    def end_zygote(self) -> None:
        """Its workers die with it."""
        nursery = self.nursery
        if nursery is None or nursery.is_gone:
            return
        nursery.is_gone = True
        for process in self.alive():
            process.die(-9)
        self.world.soon(lambda: self.notify(nursery.channel))

    def _lose(self, process: Process) -> None:
        """The coordinator's side has given the session up: for want of any word, one hopes."""
        excused = (
            not process.is_alive
            or process.stopped
            or not process.end.has_begun
            or process.worker in self.was_unreachable
        )
        if not excused:
            raise Violation(f"worker {process.worker} is given up, and it could be reached (P3)")
        self.give_up(process.worker)

    def _ended(self, nursery: SimulatedNursery, process: Process) -> None:
        worker = process.worker
        self.world.soon(lambda: self.notify(worker), 0.02)
        status = process.status
        assert status is not None
        # Mostly soon; at times the pool must go on without having heard.
        most_s = 2.0 if self.world.random.random() < 0.1 else 0.02
        self.world.soon(lambda: self._report(nursery, Exited(worker, process.pid, status, 0)), most_s)

    def _report(
        self, nursery: SimulatedNursery, report: ZygoteReport, descriptors: list[int] | None = None
    ) -> None:
        if nursery.is_gone or nursery is not self.nursery:
            return
        if isinstance(report, Started):
            self.pidfds_of(report)
        nursery.reports.append((report, descriptors or []))
        self.notify(nursery.channel)

    def pidfds_of(self, report: Started) -> None:
        if report.worker in self.pidfds:
            raise Violation(f"worker {report.worker} was started twice")

    def _connect(self, worker: int) -> None:
        process = self.processes[worker]
        if worker in self.unreachable or worker not in self.simulated_peers:
            return
        self.world.soon(lambda: self._establish(process))

    def _establish(self, process: Process) -> None:
        end = self.ends[process.worker]
        worker = process.worker
        if process.is_alive and worker in self.simulated_peers and worker not in self.unreachable:
            if not end.has_begun:
                end.begin()
            connect(self.world, process.end, end)
            process.connected()

    def _heard(self, worker: int, envelope: Envelope[FromWorker], parts: Parts) -> None:
        self.history.append((worker, parts))
        self.listener.arrived(worker, envelope, parts)
        self.world.soon(lambda: self.notify(self.listener.descriptor), 0.001)
