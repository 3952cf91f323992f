"""What a pool holds of the system: nothing stays where the system, or the user's code, refuses (F14)."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.joinable import JoinablePool
from executor.nursery import Nursery
from executor.output import Outputs, Printed, pass_on
from executor.pool import Pool
from executor.resources import Resources


@pytest.fixture
def resources() -> Iterator[Resources]:
    held = Resources(1, 1, pass_on)
    yield held
    held.release()


def refuse(*_: object) -> Any:
    raise OSError(errno.EMFILE, "Too many open files")


def once(first: Callable[..., Any], then: Callable[..., Any]) -> Callable[..., Any]:
    """``first`` where it is called for the first time, ``then`` from then on."""
    calls = iter([first])
    return lambda *args: next(calls, then)(*args)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("refused", ["page", "first pipe", "second pipe", "order"])
def test_of_a_worker_that_the_system_refuses_nothing_stays(
    resources: Resources, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    before = descriptors()
    match refused:
        case "page":
            monkeypatch.setattr("executor.page.mmap.mmap", refuse)
        case "first pipe":
            monkeypatch.setattr(os, "pipe2", refuse)
        case "second pipe":
            monkeypatch.setattr(os, "pipe2", once(os.pipe2, refuse))
        case _:
            assert resources.nursery is not None
            monkeypatch.setattr(resources.nursery, "spawn", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        resources.spawn(1)
    assert resources.peers == {}
    list(resources.outputs.read_all())
    for source in list(resources.outputs):  # the ends of pipes that nobody holds any more
        list(resources.outputs.read(source))
    assert descriptors() == before


def test_an_agent_s_worker_that_the_system_refuses_is_tried_again_and_harms_nobody() -> None:
    class Agent:
        pid = 1
        ordered: list[int] = []  # noqa: RUF012 - of this test alone

        def spawn(self, worker: int, token: bytes, descriptors: list[int]) -> None:
            self.ordered.append(worker)

        def dismiss(self, reason: str) -> None:
            pytest.fail(reason)

    with JoinablePool(0, pass_on) as pool:
        prepare = pool._resources.prepare
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pool._resources, "prepare", once(refuse, prepare))
            site = pool.join(Agent(), 1)
        assert [status.worker for status in pool.statuses()] == Agent.ordered == [2]
        pool.agent_gone(site)
        assert pool.statuses() == []


def test_a_show_that_raises_at_the_end_of_a_pool_keeps_nothing_from_being_given_back() -> None:
    """That nothing stays is what the fixture of all tests sees."""

    def show(_: Printed) -> None:
        raise LookupError("no place to print")

    pool = Pool(1, show=show)
    ours, theirs = pool._resources.outputs.open(1, bytes(16))
    os.write(ours, b"printed last")
    os.close(ours)
    os.close(theirs)
    with pytest.raises(LookupError, match="no place to print"):
        pool.kill()
    assert not pool._resources._directory.path.exists()
    assert not pool._resources.peers


def interrupted(works: Callable[..., Any]) -> Callable[..., Any]:
    """The same, during which Ctrl-C is pressed."""

    def work(*args: object, **kwargs: object) -> Any:
        result = works(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)
        return result

    return work


def test_ctrl_c_while_a_pool_is_made_leaves_nothing_f11(monkeypatch: pytest.MonkeyPatch) -> None:
    """That nothing stays is what the fixture of all tests sees, here and below."""
    monkeypatch.setattr(tempfile, "mkdtemp", interrupted(tempfile.mkdtemp))
    with pytest.raises(KeyboardInterrupt):
        Pool(1)


@pytest.mark.parametrize(("owner", "verb"), [(Nursery, "end"), (Outputs, "close")])
def test_ctrl_c_while_a_pool_is_given_back_leaves_nothing_f11(
    monkeypatch: pytest.MonkeyPatch, owner: type, verb: str
) -> None:
    pool = Pool(1)
    monkeypatch.setattr(owner, verb, interrupted(vars(owner)[verb]))
    with pytest.raises(KeyboardInterrupt):
        pool.kill()
