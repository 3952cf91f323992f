"""Runs take turns at the pool's workers."""

from __future__ import annotations

from executor.host import Code, Invocation
from executor.line import Line
from protocol.messages import AttemptKey, Digest, NodeId, RunId


def key(run: int, number: int) -> AttemptKey:
    return AttemptKey(RunId(run), NodeId(0), number)


def line_of(*keys: AttemptKey) -> Line:
    line = Line()
    for each in keys:
        line.add(Invocation(each, Code(Digest(b""), b""), []))
    return line


def taken(line: Line) -> Invocation:
    first = line.first()
    assert first is not None
    line.take(first)
    return first


def test_runs_are_served_in_turn_and_each_in_its_own_order() -> None:
    line = line_of(key(1, 0), key(1, 1), key(1, 2), key(2, 0), key(3, 0), key(3, 1))
    served = []
    while line:
        first = taken(line)
        served.append((first.key.run, first.key.generation))
    assert served == [(1, 0), (2, 0), (3, 0), (1, 1), (3, 1), (1, 2)]


def test_a_run_that_comes_late_waits_for_one_body_of_each_other_run() -> None:
    line = line_of(*(key(1, number) for number in range(1000)))
    taken(line)
    line.add(Invocation(key(2, 0), Code(Digest(b""), b""), []))
    assert [taken(line).key.run for _ in range(3)] == [1, 2, 1]


def test_what_is_removed_is_not_served() -> None:
    line = line_of(key(1, 0), key(1, 1), key(2, 0))
    assert key(1, 0) in line
    assert line.remove(key(1, 0))
    assert not line.remove(key(1, 0))
    assert not line.remove(key(9, 0))
    assert key(1, 0) not in line
    assert list(line) == [key(1, 1), key(2, 0)]
    assert line.remove(key(1, 1))
    assert taken(line).key == key(2, 0)
    assert not line
    line.add(Invocation(key(1, 5), Code(Digest(b""), b""), []))
    line.clear()
    assert not line
