"""What workers start with, and the packets between a pool and its zygote; the shared page."""

from __future__ import annotations

import mmap
import os
import socket
import sys
import warnings

import pytest

from executor.orders import (
    DESCRIPTORS_PER_SPAWN,
    Exited,
    NotStarted,
    Spawn,
    Started,
    ZygoteReport,
    apply_setup,
    current_setup,
    receive_report,
    receive_spawn,
    send,
)
from executor.page import CURRENT, TARGET, TRACES_BYTES, Page, create_page


def test_warning_filters_act_alike_after_the_way() -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.filterwarnings("ignore", "quiet.*", UserWarning)
        warnings.filterwarnings("error", category=DeprecationWarning, append=True)
        warnings.filterwarnings("error", category=NotBuiltInWarning)
        setup = current_setup("ipc:///somewhere", "/somewhere")
        warnings.resetwarnings()
        apply_setup(setup)
        warnings.warn("quietly", UserWarning, stacklevel=1)
        with pytest.raises(DeprecationWarning):
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        # Its class would have to be imported, which is the user's code.
        assert [each.category for each in setup.warning_filters] == ["UserWarning", "DeprecationWarning"]
    assert setup.sys_path == sys.path
    assert setup.parent == os.getpid()


class NotBuiltInWarning(UserWarning):
    pass


def test_orders_and_reports_arrive_whole_with_their_descriptors() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        page = create_page()
        send(ours, Spawn(7, b"token"), [page, page, page])
        received = receive_spawn(theirs)
        assert received is not None
        assert received[0] == Spawn(7, b"token")
        assert len(received[1]) == DESCRIPTORS_PER_SPAWN
        assert not any(map(os.get_inheritable, received[1]))
        reports: list[ZygoteReport] = [NotStarted(7, "no memory"), Exited(7, 42, -9, 1000)]
        send(theirs, Started(7, 42), [page])
        for report in reports:
            send(theirs, report, [])
        started = receive_report(ours)
        assert started is not None
        assert started[0] == Started(7, 42)
        assert [receive_report(ours) for _ in reports] == [(report, []) for report in reports]
        with pytest.raises(BlockingIOError):
            receive_report(ours)
        for descriptor in (page, *received[1], *started[1]):
            os.close(descriptor)
        theirs.close()
        assert receive_report(ours) is None


def test_the_end_of_the_pool_is_the_end_of_its_orders() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.close()
        assert receive_spawn(theirs) is None


def test_two_mappings_of_a_page_are_the_same_memory_zero_at_first() -> None:
    descriptor = create_page()
    one, other = Page(descriptor), Page(descriptor)
    os.close(descriptor)
    assert (one.cells[CURRENT], one.cells[TARGET]) == (0, 0)
    one.cells[CURRENT] = 7
    assert other.cells[CURRENT] == 7
    assert other.cells[TARGET] == 0
    one.close()
    other.close()


def test_stacks_are_read_once_each_and_there_is_always_room_for_more_f6() -> None:
    """A worker whose bodies ran out of time some thirty times had no room for what hung it next."""
    traces = create_page()
    worker, coordinator = Page(traces), Page(traces)
    os.lseek(traces, mmap.PAGESIZE, os.SEEK_SET)
    assert coordinator.trace() == ""
    for number in range(100):
        stacks = f"stacks {number}: {'x' * (TRACES_BYTES // 10)}"
        os.write(traces, stacks.encode())
        worker.make_room(traces)  # which loses none that was not read
        assert coordinator.trace() == stacks
        assert coordinator.trace() == ""
        worker.make_room(traces)
    os.write(traces, b"x" * 2 * TRACES_BYTES)  # more than there can be room for
    assert coordinator.trace()
    worker.make_room(traces)
    os.write(traces, b"the next")
    assert coordinator.trace() == "the next"
    os.close(traces)
    worker.close()
    coordinator.close()
