"""A coordinator in a process of its own: clients submit flows, agents bring workers.

Theory of operation. One event loop, one socket for clients, one pool. A client is whoever says
ClientHello in a process of this user, as the kernel tells; it is gone when that process is (pidfd) or
its connection, when it says Bye, or when it breaks the protocol: then its flows are cancelled, if they
were not detached. No user code runs and no user value is opened here. It ends when it is told to
(``StopService``, SIGINT, SIGTERM), when it drains and nothing is left, or when its pool is broken.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from time import monotonic
from typing import Any, Final

from executor.joinable import JoinablePool
from executor.resources import reserve_descriptors
from orchestrator.errors import NotEnoughResources
from orchestrator.event_loop import (
    Event,
    EventLoop,
    TaskCancelled,
    TaskHandle,
    current_event_loop,
    readable,
    sleep,
)
from orchestrator.event_loop.signals import sigterm_raises
from orchestrator.pump import Pump
from orchestrator.service.agents import Agents
from orchestrator.service.errors import require_linux
from orchestrator.service.flows import Flows
from orchestrator.service.session import Client
from orchestrator.service.submission import BadSubmission
from protocol.client_messages import (
    SERVICE_VERSION,
    AskStatus,
    AskWaits,
    Bye,
    CancelRun,
    ClientHello,
    Confirmed,
    Dismissed,
    DrainService,
    FollowRun,
    FromClient,
    Join,
    Leave,
    Oversized,
    Refused,
    Rejected,
    Status,
    StopService,
    Submit,
    ToClient,
    Welcomed,
    WireShortage,
    WorkerEnded,
    WorkerNotStarted,
    WorkerStarted,
)
from protocol.endpoints import claimed
from protocol.errors import ProtocolError
from protocol.framing import Envelope, Session, service_session
from protocol.listener import ConnectionId, Listener, Received

log = logging.getLogger(__name__)

_CLIENTS: Final = 1000  # so many may be connected, if the system allows so many descriptors
_NAP_S: Final = 0.005
_PARTING_S: Final = 5.0  # at most, for what was sent last to be taken
_Handler = Callable[[Client, Any, Envelope[FromClient]], None]


def serve(
    endpoint: str,
    workers: int | None,
    on_ready: Callable[[str, int], None],
    resources: Mapping[str, float] | None = None,
) -> None:
    """Be a coordinator until told to end; call it in the main thread.

    ``on_ready`` is told the absolute endpoint and the number of workers once clients can connect.
    ``resources`` are as for :class:`executor.pool.Pool`.

    Raises:
        TypeError, ValueError: the resources make no sense.
        EndpointError: the endpoint is in use, or cannot be one.
        InsecureTransport: it would reach beyond this host.
        PoolBroken: no worker comes up.
        KeyboardInterrupt, SystemExit: SIGINT or SIGTERM; all is given back.
    """
    with suppress(OSError):  # then fewer clients can connect
        reserve_descriptors(_CLIENTS)
    require_linux()
    with sigterm_raises(), ExitStack() as stack:
        with claimed(endpoint) as bound:
            listener = Listener(bound)
            stack.callback(os.unlink, bound.removeprefix("ipc://"))
            stack.callback(listener.close, _PARTING_S)
        flows = Flows()
        pool = stack.enter_context(JoinablePool(workers, flows.show, resources))
        service = Service(listener, pool, flows)
        on_ready(bound, pool.workers)
        EventLoop().run_until_complete(service.run(), join=True, wait_for_spawned_tasks=False)


class Service:
    """``run`` is a coroutine for an :class:`EventLoop`."""

    def __init__(self, listener: Listener, pool: JoinablePool, flows: Flows) -> None:
        self._listener = listener
        self._pool = pool
        self._pump = Pump(pool)
        self._flows = flows
        flows.attach(pool, self._pump)
        self._agents = Agents(pool)
        self._clients: dict[ConnectionId, Client] = {}
        self._watchers: dict[Client, TaskHandle[None]] = {}
        self._written: dict[Client, None] = {}
        self._started = monotonic()
        self._draining = False
        self._over = Event()
        self._crash: BaseException | None = None
        self.strangers = 0
        """Counts connections that did not begin as ours do."""
        self._handlers: dict[type, _Handler] = {
            Submit: self._submit,
            CancelRun: self._cancel,
            FollowRun: lambda client, message, _: self._flows.follow(client, message),
            AskStatus: self._tell_status,
            AskWaits: self._explain,
            DrainService: self._drain,
            StopService: self._stop,
            Join: lambda client, message, _: self._agents.join(client, message),
            WorkerStarted: self._hear_agent,
            WorkerNotStarted: self._hear_agent,
            WorkerEnded: self._hear_agent,
            Leave: lambda client, message, _: self._agents.leave(client, message),
            Bye: self._bye,
        }

    async def run(self) -> None:
        """Serve until told to end; then cancel what runs, and wait for that.

        Raises:
            PoolBroken: no worker comes up.
        """
        loop = current_event_loop()
        self._pump.add(self)
        self._pump.push()
        listening = loop.create_task(self._guard())
        try:
            await self._over.wait()
        finally:
            self._flows.cancel_all()
            while self._flows.count:
                await sleep(_NAP_S)
            listening.cancel()
            self._flush()
            self._pump.remove(self)
            self._pump.close()
            for client in list(self._clients.values()):
                self._leave(client)  # what it was told last is still on its way
        if self._crash is not None:
            raise self._crash

    # -- as a user of the pump ---------------------------------------------------------------------

    def turn(self) -> None:
        if self._pool.failure is not None:
            self.crash(self._pool.failure)

    def crash(self, error: BaseException) -> None:
        self._crash = self._crash or error
        self._over.set()

    # -- listening ---------------------------------------------------------------------------------

    async def _guard(self) -> None:
        try:
            await self._listen()
        except TaskCancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - raised again by ``run``
            self.crash(error)

    async def _listen(self) -> None:
        while True:
            await readable(self._listener.descriptor)
            for received in self._listener.receive():
                self._take(received)
            for connection in self._listener.take_ended():
                if (client := self._clients.get(connection)) is not None:
                    self._gone(client)

    def _take(self, received: Received) -> None:
        client = self._clients.get(received.connection)
        if client is None:
            self._greet(received)
            return
        try:
            envelope = client.session.read(received.parts)
            for message in () if envelope is None else envelope.messages:
                assert envelope is not None
                self._handle(client, message, envelope)
            # What agents say may let the pool say something.
            self._pump.push()
        except ProtocolError as error:
            log.error("client %d is given up: %s", client.pid, error)  # noqa: TRY400 - it says all
            self._dismiss(client, str(error))
        except Exception:
            # A defect of ours; other clients and their flows need not suffer for it.
            log.exception("client %d is given up", client.pid)
            self._dismiss(client, "a defect of the coordinator, which has logged it")

    def _handle(self, client: Client, message: FromClient, envelope: Envelope[FromClient]) -> None:
        handler = self._handlers.get(type(message))
        if handler is None:
            raise ProtocolError(f"a {type(message).__name__} that nothing led to")
        handler(client, message, envelope)

    def _greet(self, received: Received) -> None:
        """Take the first envelope of a connection: a ClientHello of our version."""
        session = service_session()
        try:
            envelope = session.read(received.parts)
            hello = envelope.messages[0] if envelope is not None and envelope.messages else None
        except ProtocolError:
            hello = None
        if isinstance(hello, ClientHello) and _fits(hello):
            self._welcome(received, session)
            return
        self.strangers += 1
        session.add(Refused(SERVICE_VERSION, platform.python_version(), os.getpid()))
        for parts in session.take():
            self._listener.send(received.connection, parts)

    def _welcome(self, received: Received, session: Session[ToClient, FromClient]) -> None:
        try:
            pidfd = os.pidfd_open(received.pid)
        except ProcessLookupError:
            return  # it has ended already
        is_behind = self._listener.is_behind
        client = Client(received.connection, received.pid, pidfd, session, self._note_written, is_behind)
        self._clients[client.connection] = client
        self._watchers[client] = current_event_loop().create_task(self._watch(client))
        version, workers, endpoint = platform.python_version(), self._pool.workers, self._pool.endpoint
        path = list(sys.path)
        client.write(
            Welcomed(SERVICE_VERSION, version, os.getpid(), workers, sys.prefix, path, endpoint)
        )

    # -- requests ----------------------------------------------------------------------------------

    def _submit(self, client: Client, message: Submit, envelope: Envelope[FromClient]) -> None:
        if self._draining:
            client.write(Rejected(message.request, "this coordinator drains: it takes no more flows"))
            return
        try:
            self._flows.submit(client, message, envelope)
        except BadSubmission as problem:
            client.write(Rejected(message.request, str(problem)))
        except NotEnoughResources as error:
            lacks = [WireShortage(*shortage) for shortage in error.shortages]
            client.write(Oversized(message.request, error.node, error.place, lacks))

    def _cancel(self, client: Client, message: CancelRun, _: Envelope[FromClient]) -> None:
        problem = self._flows.cancel(message.run)
        request = message.request
        client.write(Confirmed(request) if problem is None else Rejected(request, problem))

    def _tell_status(self, client: Client, message: AskStatus, _: Envelope[FromClient]) -> None:
        client.write(
            Status(
                message.request,
                os.getpid(),
                monotonic() - self._started,
                self._draining,
                self._pool.statuses(),
                self._flows.statuses(),
            )
        )

    def _explain(self, client: Client, message: AskWaits, _: Envelope[FromClient]) -> None:
        client.write(self._flows.explain(message))

    def _drain(self, client: Client, message: DrainService, _: Envelope[FromClient]) -> None:
        client.write(Confirmed(message.request))
        if not self._draining:
            self._draining = True
            log.info("draining: %d flows are running", self._flows.count)
            current_event_loop().create_task(self._end_when_idle())

    async def _end_when_idle(self) -> None:
        while self._flows.count:
            await sleep(_NAP_S)
        self._over.set()

    def _stop(self, client: Client, message: StopService, _: Envelope[FromClient]) -> None:
        log.info("stopped by process %d", client.pid)
        client.write(Confirmed(message.request))
        self._over.set()

    def _hear_agent(self, client: Client, message: Any, _: Envelope[FromClient]) -> None:
        self._agents.report(client, message)

    def _bye(self, client: Client, _: Bye, __: Envelope[FromClient]) -> None:
        self._gone(client)

    # -- clients that come and go ------------------------------------------------------------------

    async def _watch(self, client: Client) -> None:
        await readable(client.pidfd)
        del self._watchers[client]
        self._gone(client)

    def _gone(self, client: Client) -> None:
        if not client.is_gone:
            self._forget(client)
            self._flows.client_gone(client)
            self._agents.client_gone(client)

    def _dismiss(self, client: Client, reason: str) -> None:
        """Let a client go, and not without a word: it may be waiting for an answer."""
        client.write(Dismissed(reason))
        self._flush()
        self._gone(client)

    def _forget(self, client: Client) -> None:
        self._leave(client)
        self._listener.forget(client.connection)

    def _leave(self, client: Client) -> None:
        client.is_gone = True
        self._written.pop(client, None)
        del self._clients[client.connection]
        watcher = self._watchers.pop(client, None)
        if watcher is not None:
            watcher.cancel()
        os.close(client.pidfd)

    # -- writing -----------------------------------------------------------------------------------

    def _note_written(self, client: Client) -> None:
        if not self._written:
            # After this pass, so that what it has to say leaves together.
            current_event_loop().call_soon_threadsafe(self._flush)
        self._written[client] = None

    def _flush(self) -> None:
        written, self._written = self._written, {}
        for client in written:
            for parts in client.session.take():
                if not self._listener.send(client.connection, parts):
                    self._gone(client)
                    break


def _fits(hello: ClientHello) -> bool:
    ours, theirs = platform.python_version_tuple()[:2], hello.python.split(".")[:2]
    return hello.version == SERVICE_VERSION and list(ours) == theirs
