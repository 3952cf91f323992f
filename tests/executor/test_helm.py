"""Who drives a pool: one thread at a time, and never one more than must."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from executor.helm import Helm

FAR = 60.0
"""Seconds after which a test gives up what should have come at once."""


class Pipe:
    """Something that a pool listens to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def write(self) -> None:
        os.write(self.writer, b"x")

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class FakePool:
    """Notes which thread does what. ``on_event`` is what happens when workers say something."""

    is_saturated = False
    sockets_changes = 0

    def __init__(self) -> None:
        self.pipes = [Pipe()]
        self.heard_by: list[int] = []
        self.due_by: list[int] = []
        self.deadline = math.inf
        self.on_event: Callable[[], object] = lambda: None
        self._inside = threading.Lock()

    def sockets(self) -> list[int]:
        return [pipe.reader for pipe in self.pipes]

    def on_readable(self, source: int, _: float) -> None:
        assert self._inside.acquire(blocking=False), "two threads take turns at the same time"
        os.read(source, 1)
        self.heard_by.append(threading.get_ident())
        self.on_event()
        self._inside.release()

    def next_deadline(self) -> float:
        return self.deadline

    def on_deadline(self, _: float) -> None:
        self.due_by.append(threading.get_ident())
        self.deadline = math.inf

    def flush(self) -> bool:
        return False


class Task:
    def __init__(self) -> None:
        self.is_done = False

    def done(self) -> bool:
        return self.is_done


class Crew:
    """A helm with its driver's thread, which rests until it is told to end."""

    def __init__(self) -> None:
        self.pool = FakePool()
        pool: Any = self.pool
        self.helm = Helm(pool, self._obey)
        self.obeyed_by: dict[str, int] = {}
        self.error: BaseException | None = None
        self.is_ending = False
        self.turns = threading.Semaphore(0)  # released at each turn of the driver's thread
        self._thread = threading.Thread(target=self._drive)
        self._thread.start()
        self.driver = self._thread.ident or 0
        assert self.turns.acquire(timeout=FAR)

    def _drive(self) -> None:
        try:
            self.helm.take_turn()
            self.turns.release()
            while not self.is_ending:
                self.helm.rest()
                self.turns.release()
        except BaseException as error:
            self.error = error
        finally:
            self.helm.close()

    def _obey(self) -> None:
        while self.helm.orders:
            verb, argument = self.helm.orders.popleft()
            verb(argument)

    def note(self, name: str) -> None:
        self.obeyed_by[name] = threading.get_ident()

    def order(self, verb: Callable[[Any], object], argument: object) -> None:
        self.helm.orders.append((verb, argument))  # type: ignore[arg-type]
        self.helm.serve()

    def end(self) -> None:
        self.is_ending = True
        self.helm.wake()
        self._thread.join(FAR)
        assert not self._thread.is_alive()
        for pipe in self.pool.pipes:
            pipe.close()


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.end()


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def leading(crew: Crew, task: Task) -> threading.Thread:
    """A thread that leads until a task is done."""
    thread = in_thread(lambda: crew.helm.lead(task))
    give_up_at = monotonic() + FAR
    while not awaits(crew.helm, task):
        assert monotonic() < give_up_at
    return thread


def awaits(helm: Helm, task: Task) -> bool:
    """Whether some thread leads until it is done, having begun to listen."""
    with helm._state_lock:
        return helm._awaited is task


# -- orders ----------------------------------------------------------------------------------------


def test_an_order_is_obeyed_by_whoever_gives_it(crew: Crew) -> None:
    crew.order(crew.note, "here")
    assert crew.obeyed_by == {"here": threading.get_ident()}


def test_an_order_that_comes_during_a_turn_is_obeyed_by_whoever_takes_that(crew: Crew) -> None:
    given = threading.Event()

    def be_long(_: object) -> None:
        entered.set()
        assert given.wait(FAR)

    entered = threading.Event()
    thread = in_thread(lambda: crew.order(be_long, None))
    assert entered.wait(FAR)
    crew.order(crew.note, "meanwhile")
    assert crew.obeyed_by == {}
    given.set()
    thread.join()
    assert crew.obeyed_by == {"meanwhile": thread.ident}


def test_orders_without_hurry_are_left_to_the_drivers_thread(crew: Crew) -> None:
    crew.helm.orders.append((crew.note, "work"))
    crew.helm.serve_soon()
    assert crew.turns.acquire(timeout=FAR)
    assert crew.obeyed_by["work"] == crew.driver


def test_work_that_no_worker_has_room_for_waits_for_the_next_turn(crew: Crew) -> None:
    crew.pool.is_saturated = True
    crew.order(crew.note, "first")
    crew.helm.orders.append((crew.note, "work"))
    crew.helm.serve_soon()
    assert "work" not in crew.obeyed_by
    crew.pool.pipes[0].write()  # a worker has ended something
    assert crew.turns.acquire(timeout=FAR)
    assert crew.obeyed_by["work"] == crew.driver


# -- who hears workers -------------------------------------------------------------------------------


def test_the_drivers_thread_hears_workers_while_nobody_waits(crew: Crew) -> None:
    crew.pool.pipes[0].write()
    assert crew.turns.acquire(timeout=FAR)
    assert crew.pool.heard_by == [crew.driver]


def test_whoever_waits_hears_workers_itself(crew: Crew) -> None:
    task = Task()
    crew.pool.on_event = lambda: setattr(task, "is_done", True)
    crew.pool.pipes[0].write()
    assert crew.turns.acquire(timeout=FAR)
    for _ in range(3):
        task = Task()
        thread = leading(crew, task)
        crew.pool.pipes[0].write()
        thread.join(FAR)
        assert crew.pool.heard_by[-1] == thread.ident
    assert not crew.turns.acquire(blocking=False)  # nobody has woken the driver's thread


def test_whoever_waits_hears_what_came_before_it_did(crew: Crew) -> None:
    task = Task()
    crew.pool.on_event = lambda: setattr(task, "is_done", True)
    is_woken, may_end = threading.Event(), threading.Event()

    def take_long(_: object) -> None:
        crew.pool.pipes[0].write()
        while crew.helm._is_resting:
            time.sleep(0)
        is_woken.set()
        assert may_end.wait(FAR)

    other = in_thread(lambda: crew.order(take_long, None))
    assert is_woken.wait(FAR)
    thread = leading(crew, task)
    may_end.set()
    thread.join(FAR)
    other.join(FAR)
    assert crew.pool.heard_by == [thread.ident]


def test_whoever_waits_before_the_first_turn_hears_workers_from_then_on() -> None:
    pool, task = FakePool(), Task()
    made: Any = pool
    helm = Helm(made, lambda: None)
    pool.on_event = lambda: setattr(task, "is_done", True)
    thread = in_thread(lambda: helm.lead(task))
    while not awaits(helm, task):
        time.sleep(0)
    helm.take_turn()
    pool.pipes[0].write()
    thread.join(FAR)
    assert pool.heard_by == [thread.ident]
    helm.close()
    pool.pipes[0].close()


def test_when_nobody_waits_any_more_the_drivers_thread_hears_again(crew: Crew) -> None:
    task = Task()
    crew.pool.on_event = lambda: setattr(task, "is_done", True)
    thread = leading(crew, task)
    crew.pool.pipes[0].write()
    thread.join(FAR)
    crew.pool.pipes[0].write()
    assert crew.turns.acquire(timeout=FAR)
    assert crew.pool.heard_by == [thread.ident, crew.driver]


def test_many_waits_one_after_another_leave_nobody_leading(crew: Crew) -> None:
    def wait_often() -> None:
        for _ in range(300):
            crew.helm.lead(Task(), 0)

    threads = [in_thread(wait_often) for _ in range(4)]
    for thread in threads:
        thread.join(FAR)
    assert (crew.helm._leader, crew.helm._awaited) == (0, None)


def test_one_leads_and_others_are_told_so(crew: Crew) -> None:
    task = Task()
    thread = leading(crew, task)
    crew.helm.lead(Task())  # returns at once: that thread sees to it
    task.is_done = True
    crew.helm.note_end(task)
    thread.join(FAR)


def test_a_wait_ends_when_its_time_is_up(crew: Crew) -> None:
    crew.helm.lead(Task(), 0.001)
    crew.helm.lead(Task(), 0)


# -- being woken ---------------------------------------------------------------------------------------


def test_whoever_waits_is_woken_by_an_end_in_the_turn_of_another(crew: Crew) -> None:
    task = Task()
    thread = leading(crew, task)

    def end(ended: Task) -> None:
        ended.is_done = True
        crew.helm.note_end(ended)

    crew.order(end, task)
    thread.join(FAR)
    assert not thread.is_alive()


def test_whoever_waits_hears_what_is_listened_to_since(crew: Crew) -> None:
    task = Task()
    thread = leading(crew, task)
    crew.pool.on_event = lambda: setattr(task, "is_done", True)
    crew.pool.pipes.append(Pipe())
    crew.pool.sockets_changes += 1
    crew.order(crew.note, "a turn")
    crew.pool.pipes[1].write()
    thread.join(FAR)
    assert crew.pool.heard_by == [thread.ident]


def test_the_drivers_thread_hears_what_is_listened_to_since(crew: Crew) -> None:
    crew.pool.pipes.append(Pipe())
    crew.pool.sockets_changes += 1
    crew.order(crew.note, "a turn")
    crew.pool.pipes[1].write()
    assert crew.turns.acquire(timeout=FAR)
    assert crew.pool.heard_by == [crew.driver]


def test_what_is_listened_to_no_more_wakes_nobody_even_if_it_lives_on(crew: Crew) -> None:
    gone = crew.pool.pipes.pop()
    crew.pool.pipes.append(Pipe())
    crew.pool.sockets_changes += 1
    crew.order(crew.note, "a turn")
    gone.write()
    crew.pool.pipes[0].write()
    assert crew.turns.acquire(timeout=FAR)
    assert len(crew.pool.heard_by) == 1
    gone.close()


def test_a_number_that_was_given_away_anew_is_listened_to(crew: Crew) -> None:
    pipe = crew.pool.pipes[0]
    old_reader = os.dup(pipe.reader)
    new = Pipe()
    os.dup2(new.reader, pipe.reader)
    crew.pool.sockets_changes += 1
    crew.order(crew.note, "a turn")
    new.write()
    assert crew.turns.acquire(timeout=FAR)
    assert crew.pool.heard_by == [crew.driver]
    os.close(old_reader)
    new.close()


def test_a_deadline_wakes_the_drivers_thread_though_another_waits(crew: Crew) -> None:
    task = Task()
    thread = leading(crew, task)
    crew.order(lambda at: setattr(crew.pool, "deadline", at), monotonic() + 0.001)
    while not crew.pool.due_by:
        assert crew.turns.acquire(timeout=FAR)
    assert crew.pool.due_by == [crew.driver]
    task.is_done = True
    crew.helm.note_end(task)
    thread.join(FAR)


def test_turns_that_change_no_deadline_let_the_drivers_thread_sleep(crew: Crew) -> None:
    crew.pool.deadline = monotonic() + 1000
    crew.order(crew.note, "sets it")
    assert crew.turns.acquire(timeout=FAR)
    for deadline in (math.inf, crew.pool.deadline, math.inf):
        crew.pool.deadline = deadline
        crew.order(crew.note, "a turn")
    assert not crew.turns.acquire(blocking=False)


# -- the end -------------------------------------------------------------------------------------------


def test_a_defect_in_a_turn_ends_the_drivers_thread_and_no_other(crew: Crew) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    crew.order(fail, None)
    crew._thread.join(FAR)
    assert isinstance(crew.error, ZeroDivisionError)
    crew.order(crew.note, "too late")
    assert crew.obeyed_by == {}


def test_whoever_waits_is_let_go_at_the_end() -> None:
    crew = Crew()
    thread = leading(crew, Task())
    crew.end()
    thread.join(FAR)
    assert not thread.is_alive()
    crew.helm.lead(Task())
    crew.helm.wake()


# -- signals -------------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_wait_and_tears_no_turn(crew: Crew) -> None:
    task = Task()
    reached = []

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        reached.append("the end of the turn")

    crew.helm.orders.append((lambda _: interrupt(), None))
    with pytest.raises(KeyboardInterrupt):
        crew.helm.lead(task)
    assert reached == ["the end of the turn"]
    crew.order(crew.note, "afterwards")
    assert crew.obeyed_by["afterwards"] == threading.get_ident()


def test_ctrl_c_is_raised_where_a_thread_waits(crew: Crew) -> None:
    task = Task()
    main = threading.get_ident()
    raised: list[int] = []

    def raise_once(_: int, __: object) -> None:
        if not raised:
            raised.append(1)
            raise KeyboardInterrupt

    def interrupt() -> None:
        while not awaits(crew.helm, task):
            pass
        # Python hears nothing of a signal that comes just before it waits, until the next one.
        while not raised:
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(0.001)

    before = signal.signal(signal.SIGINT, raise_once)
    thread = in_thread(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            crew.helm.lead(task)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)


def test_a_signals_handler_may_wait_within_a_wait(crew: Crew) -> None:
    outer, inner = Task(), Task()
    waited = []

    def wait_too(_: int, __: object) -> None:
        crew.helm.lead(inner)
        waited.append(inner.is_done)

    before = signal.signal(signal.SIGUSR1, wait_too)
    main = threading.get_ident()

    def interrupt() -> None:
        while not awaits(crew.helm, outer):
            pass
        while not awaits(crew.helm, inner):
            signal.pthread_kill(main, signal.SIGUSR1)
            time.sleep(0.001)
        for task in (outer, inner):
            task.is_done = True
            crew.helm.note_end(task)

    thread = in_thread(interrupt)
    try:
        crew.helm.lead(outer)
    finally:
        signal.signal(signal.SIGUSR1, before)
    thread.join()
    assert waited
    assert all(waited)
