"""Two sides joined by a network that loses, doubles, delays: all comes once, in order (F21, F22)."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest

from protocol.delivery import Epoch, Resending
from protocol.errors import MissingEnvelopes
from protocol.framing import Parts, Session, coordinator_session, worker_session
from protocol.link import OVER, Link, LinkAction, LinkEvent, LinkState, Liveness
from protocol.messages import AttemptKey, Cancel, Cancelled, NodeId, RunId
from protocol.resumable import ResumableSession

RESENDING = Resending(outbox_bytes=2_000, acknowledge_s=0.02)
TIMES = Liveness(
    beat_s=0.2, suspect_after_s=0.7, lost_after_s=60.0, connect_s=0.5, retry_s=0.05, retry_limit_s=0.4
)


def key(number: int) -> AttemptKey:
    return AttemptKey(RunId(1), NodeId(1), number)


@dataclass
class Side:
    """One side and the numbers that its peer's messages have brought."""

    resumable: ResumableSession[Any, Any]
    message: Any
    written: int = 0
    taken: list[int] = field(default_factory=list)
    greeted: bool = False  # on the present connection

    def write(self) -> None:
        if self.resumable.session.delivery.has_credit:
            self.resumable.session.add(self.message(key(self.written)))
            self.written += 1


class Network:
    """One connection at a time, a queue each way; what is in it when it breaks is lost."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.wires: list[deque[Parts]] = [deque(), deque()]
        self.connected = False
        self.breaks = 0
        self.worker = self._side(worker_session(Epoch(3), RESENDING), Cancelled, connects=True)
        self.coordinator = self._side(coordinator_session(Epoch(3), RESENDING), Cancel, connects=False)
        self.sides = [self.worker, self.coordinator]
        self.do(self.worker, self.worker.resumable.link.begin())

    def _side(self, session: Session[Any, Any], message: Any, *, connects: bool) -> Side:
        link = Link(TIMES, self.random.random, 0.0, connects=connects)
        return Side(ResumableSession(session, link, connects=connects), message)

    def do(self, side: Side, actions: list[LinkAction]) -> None:
        for action in actions:
            if action is LinkAction.CONNECT:
                self.drop()
                self.connected = True
                self.wires[0].append(side.resumable.greeting())
            elif action is LinkAction.DISCONNECT:
                self.drop()

    def drop(self) -> None:
        self.connected = False
        for side, wire in zip(self.sides, self.wires, strict=True):
            side.greeted = False
            wire.clear()

    def lose_connection(self) -> None:
        """Both notice, each when it does; what was under way is gone."""
        if self.connected:
            self.breaks += 1
            self.drop()
            for side in self.sides:
                self.do(side, side.resumable.handle(LinkEvent.BROKE, self.now))

    def flush(self) -> None:
        for side, wire in zip(self.sides, self.wires, strict=True):
            output = side.resumable.flush(self.now)
            if self.connected:
                wire.extend(output)

    def arrive(self, index: int) -> None:
        wire, side = self.wires[index], self.sides[1 - index]
        parts = wire.popleft()
        if not side.greeted:
            side.greeted = True
            self.do(side, side.resumable.accept(parts, self.now))
            return
        try:
            envelope = side.resumable.read(parts, self.now)
        except MissingEnvelopes:
            self.lose_connection()
            return
        for message in envelope.messages if envelope else ():
            side.taken.append(message.key.generation)

    def step(self, *, faults: bool) -> None:
        dice = self.random.random()
        self.now += 0.01 * self.random.random()
        if faults and dice < 0.02:
            self.lose_connection()
        elif faults and dice < 0.04 and any(self.wires):
            wire = max(self.wires, key=len)
            if len(wire) > 1:  # a greeting that is lost shows as a connection without one
                del wire[-1]
        elif faults and dice < 0.06 and any(self.wires):
            wire = max(self.wires, key=len)
            wire.append(wire[-1])
        elif dice < 0.35:
            self.random.choice(self.sides).write()
        for index in (0, 1):
            if self.wires[index] and self.random.random() < 0.5:
                self.arrive(index)
        for side in self.sides:
            self.do(side, side.resumable.expire(self.now))
            side.resumable.check()
        self.flush()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_network_does_each_message_is_taken_once_and_in_order_f21_f22(seed: int) -> None:
    network = Network(seed)
    for _ in range(2_000):
        network.step(faults=True)
        for side in network.sides:
            assert side.resumable.session.delivery.outbox_bytes < 2 * RESENDING.outbox_bytes
    written = [side.written for side in network.sides]
    assert network.breaks > 5
    for _ in range(2_000):
        network.step(faults=False)
        if len(network.coordinator.taken) >= written[0] and len(network.worker.taken) >= written[1]:
            break
    assert network.worker.taken == list(range(len(network.worker.taken)))
    assert network.coordinator.taken == list(range(len(network.coordinator.taken)))
    assert len(network.worker.taken) >= written[1]
    assert len(network.coordinator.taken) >= written[0]


def connected_pair() -> Network:
    network = Network(0)
    while network.coordinator.resumable.link.state is not LinkState.LIVE or not network.worker.greeted:
        network.flush()
        for index in (0, 1):
            if network.wires[index]:
                network.arrive(index)
    return network


def test_a_loss_at_the_end_that_nothing_follows_is_shown_by_the_next_beat() -> None:
    network = connected_pair()
    network.worker.write()
    network.flush()
    network.wires[0].clear()
    for _ in range(1_000):
        network.now += 0.01
        for index in (0, 1):
            if network.wires[index]:
                network.arrive(index)
        for side in network.sides:
            network.do(side, side.resumable.expire(network.now))
        network.flush()
    assert network.coordinator.taken == [0]
    assert network.breaks == 1


def test_acknowledgements_go_alone_when_nothing_else_goes_and_free_the_outbox() -> None:
    network = connected_pair()
    network.worker.write()
    network.flush()
    network.arrive(0)
    assert network.worker.resumable.session.delivery.outbox_bytes > 0
    coordinator = network.coordinator.resumable
    assert coordinator.flush(network.now) == []
    assert coordinator.next_deadline() == network.now + RESENDING.acknowledge_s
    network.now += RESENDING.acknowledge_s
    coordinator.expire(network.now)
    network.flush()
    network.arrive(1)
    assert network.worker.resumable.session.delivery.outbox_bytes == 0


def test_what_is_written_without_a_connection_waits_and_a_stale_epoch_brings_no_link_to_life() -> None:
    network = connected_pair()
    network.lose_connection()
    network.coordinator.write()
    network.flush()
    restarted = worker_session(Epoch(4), RESENDING)
    assert network.coordinator.resumable.accept(restarted.bare(0), network.now) == []
    assert network.coordinator.resumable.link.state is LinkState.BROKEN
    assert network.coordinator.resumable.session.delivery.stale == 1
    for _ in range(100):
        network.step(faults=False)
    assert network.worker.taken[0] == 0


def test_what_an_earlier_session_left_in_the_network_is_no_sign_of_life_f21() -> None:
    network = connected_pair()
    coordinator = network.coordinator.resumable
    earlier = worker_session(Epoch(2), RESENDING)
    due = coordinator.link.next_deadline()
    assert coordinator.read(earlier.bare(0), network.now + 0.1) is None
    assert coordinator.session.delivery.stale == 1
    assert coordinator.link.next_deadline() == due


def test_a_lost_session_sends_nothing_more() -> None:
    network = connected_pair()
    network.coordinator.write()
    assert network.coordinator.resumable.expire(1e6) == [
        LinkAction.DISCONNECT,
        LinkAction.END_LEASES,
    ]
    assert network.coordinator.resumable.link.state in OVER
    assert network.coordinator.resumable.flush(1e6) == []
