"""Numbers, acknowledgements, the outbox: nothing is lost, doubled or kept for ever (FAULTS F21, F22)."""

from __future__ import annotations

import math
import pickle

import pytest

from protocol.delivery import Delivery, Epoch, Resending
from protocol.errors import MissingEnvelopes, ProtocolError

EPOCH = Epoch(7)


def delivery(outbox_bytes: int = 1_000) -> Delivery[str]:
    return Delivery(EPOCH, Resending(outbox_bytes, acknowledge_s=0.5))


def send(side: Delivery[str], envelope: str, size_bytes: int = 1) -> int:
    number = side.next_number()
    side.keep(envelope, size_bytes)
    side.check()
    return number


def test_what_is_not_acknowledged_is_kept_in_order_and_what_is_acknowledged_is_freed() -> None:
    side = delivery()
    for envelope in ("a", "b", "c"):
        send(side, envelope, 10)
    assert side.unacknowledged() == ["a", "b", "c"]
    side.take(EPOCH, 1, 2)
    assert side.unacknowledged() == ["c"]
    assert side.outbox_bytes == 10
    side.check()


def test_an_older_acknowledgement_says_nothing_and_one_of_the_future_is_an_error() -> None:
    side = delivery()
    send(side, "a")
    send(side, "b")
    side.take(EPOCH, 1, 2)
    assert side.take(EPOCH, 2, 1)
    assert side.acknowledged == 2
    with pytest.raises(ProtocolError, match="3 envelopes are acknowledged, and 2 were sent"):
        side.take(EPOCH, 3, 3)
    assert side.received == 2


def test_the_outbox_tells_when_it_is_full_and_has_room_again_once_acknowledged() -> None:
    side = delivery(outbox_bytes=100)
    send(side, "a", 60)
    rooms = [side.has_credit]
    send(side, "b", 60)  # one that is begun may pass the limit
    rooms.append(side.has_credit)
    side.take(EPOCH, 1, 1)
    rooms.append(side.has_credit)
    assert rooms == [True, False, True]


def test_a_duplicate_is_dropped_counted_and_acknowledged_again_f21() -> None:
    side = delivery()
    assert side.take(EPOCH, 1, 0)
    side.told()
    assert not side.take(EPOCH, 1, 0, now=3.0)
    assert side.duplicates == 1
    assert side.next_deadline() == 3.5


def test_an_envelope_of_another_epoch_is_dropped_and_counted_whatever_it_says_f21() -> None:
    side = delivery()
    assert not side.take(EPOCH + 1, 5, 9)
    assert (side.stale, side.received, side.acknowledged) == (1, 0, 0)


def test_a_gap_is_an_error_and_takes_nothing_f22() -> None:
    side = delivery()
    send(side, "a")
    with pytest.raises(MissingEnvelopes, match="envelope 2 came after envelope 0"):
        side.take(EPOCH, 2, 1)
    assert (side.received, side.acknowledged) == (0, 0)


def test_a_bare_envelope_acknowledges_shows_a_loss_at_the_end_and_is_not_acknowledged_itself() -> None:
    side = delivery()
    send(side, "a")
    assert not side.take(EPOCH, 0, 1, bare=True)
    assert side.unacknowledged() == []
    assert side.next_deadline() == math.inf
    with pytest.raises(MissingEnvelopes):
        side.take(EPOCH, 1, 1, bare=True)


def test_an_acknowledgement_waits_for_company_but_not_for_long() -> None:
    side = delivery()
    side.take(EPOCH, 1, 0, now=10.0)
    side.take(EPOCH, 2, 0, now=10.4)
    assert side.next_deadline() == 10.5
    send(side, "its company")
    assert side.next_deadline() == math.inf


def test_an_acknowledgement_is_due_at_once_when_a_quarter_of_the_outbox_waits_for_it() -> None:
    side = delivery(outbox_bytes=100)
    side.take(EPOCH, 1, 0, size_bytes=24, now=10.0)
    assert side.next_deadline() == 10.5
    side.take(EPOCH, 2, 0, size_bytes=1, now=10.1)
    assert side.next_deadline() == 10.1


def test_without_resending_nothing_is_kept_and_nothing_is_owed() -> None:
    side: Delivery[str] = Delivery(EPOCH)
    send(side, "a", 1 << 40)
    assert side.has_credit
    assert side.unacknowledged() == []
    side.take(EPOCH, 1, 1, size_bytes=1 << 40)
    assert side.next_deadline() == math.inf
    side.check()


@pytest.mark.parametrize("error", [ProtocolError("a problem"), MissingEnvelopes(3, 1)])
def test_an_error_of_the_protocol_survives_a_pickle(error: ProtocolError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.args) == (type(error), str(error), error.args)
