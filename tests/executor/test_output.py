"""What bodies print reaches us: whole, in order, with its owner (FAULTS F27, P8; SEMANTICS 16.4)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest

from executor.body import Interrupted, Stream
from executor.dropping import DroppingWriter
from executor.losses import error_of
from executor.marks import SECRET_BYTES, mark
from executor.output import READ_BYTES, LastOutput, Outputs, Piece, Printed, pass_on
from executor.page import CURRENT, PRINTED, TARGET
from executor.pool import Pool
from executor.showing import DroppingPrint, TaggedPrint
from protocol.messages import AttemptKey, NodeId, StreamInput
from protocol.serialization import dumps
from tests.executor.test_pool import RUN, Owner, double, wait_for

GIGABYTE_S_PART = 40 << 20


class Page:
    """Takes what is printed."""

    def __init__(self) -> None:
        self.pieces: list[Printed] = []

    def __call__(self, printed: Printed) -> None:
        self.pieces.append(printed)

    def text(self, node: int | None = None, *, is_error: bool = False) -> str:
        return b"".join(
            each.data
            for each in self.pieces
            if each.is_error is is_error
            and (node is None or (each.key is not None and each.key.node == node))
        ).decode()


@pytest.fixture(scope="module")
def page() -> Page:
    return Page()


@pytest.fixture(scope="module")
def quiet_pool(page: Page) -> Iterator[Pool]:
    with Pool(1, show=page) as pool:
        pool.wait_ready()
        yield pool


@pytest.fixture
def owner(quiet_pool: Pool, page: Page) -> Iterator[Owner]:
    page.pieces.clear()
    yield Owner(quiet_pool)
    quiet_pool.detach(RUN)
    quiet_pool.wait_ready()


def greet(name: str) -> None:
    print("hello", name)
    print("unfinished", name, end="")
    print("an error of", name, file=sys.stderr)
    sys.stdout.buffer.write(b" and bytes")


def greet_as_it_reads(chunks: Stream[str]) -> None:
    for chunk in chunks:
        print(chunk)


def greet_past_python(name: str) -> int:
    os.write(1, f"raw {name}\n".encode())
    return subprocess.run(["echo", "child of", name], check=True).returncode


def print_much(size: int) -> None:
    sys.stdout.write("x" * size)


def print_and_die(lines: int) -> None:
    for line in range(lines):
        print("line", line)
    os.write(2, b"free(): invalid pointer\n")
    os.abort()


def print_as_an_interrupt_comes() -> str:
    """The signal comes when the bytes have been written and Python does not know it yet."""
    output: Any = sys.stdout
    cells, write = output.buffer.raw._cells, os.write

    def write_and_signal(descriptor: int, data: Any) -> int:
        written = write(descriptor, data)
        cells[TARGET] = cells[CURRENT]
        signal.raise_signal(signal.SIGUSR1)
        return written

    os.write = write_and_signal
    try:
        print("once")
    finally:
        os.write = write
    try:
        signal.raise_signal(signal.SIGUSR1)
    except Interrupted:
        return "interrupted when it had printed"
    return "not interrupted"


def redirect(path: str) -> str:
    saved = os.dup(1)
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    print("into the file", flush=True)
    os.dup2(saved, 1)
    os.close(saved)
    os.close(file)
    with open(path) as written:
        return written.read()


def test_each_piece_has_its_owner_however_bodies_alternate(owner: Owner, page: Page) -> None:
    keys = [owner.invoke(node, greet_as_it_reads, StreamInput()) for node in (1, 2)]
    owner.until(lambda: len(owner.waiting) == 2)
    for round_ in range(3):
        for key in keys:
            owner.pool.deliver(key, 0, round_, [dumps(f"{key.node}.{round_}")])
        owner.waiting.clear()
        owner.until(lambda: len(owner.waiting) == 2)
    for key in keys:
        owner.pool.end_stream(key, 0, 3)
    owner.until(lambda: owner.ended(1) and owner.ended(2))
    assert page.text(1) == "1.0\n1.1\n1.2\n"
    assert page.text(2) == "2.0\n2.1\n2.2\n"


def test_output_is_there_before_the_result_of_its_step_and_is_complete(owner: Owner, page: Page) -> None:
    for node in range(1, 30):
        owner.result(node, greet, dumps(str(node)))
        assert page.text(node) == f"hello {node}\nunfinished {node} and bytes"
        assert page.text(node, is_error=True) == f"an error of {node}\n"
    assert page.text() == "".join(f"hello {node}\nunfinished {node} and bytes" for node in range(1, 30))


def test_what_is_written_past_python_arrives_too(owner: Owner, page: Page) -> None:
    assert owner.result(1, greet_past_python, dumps("x")) == 0
    owner.result(2, double, dumps(1))
    owner.until(lambda: "child of x\n" in page.text())
    assert page.text() == "raw x\nchild of x\n"


def test_whoever_prints_much_waits_and_nothing_is_lost_f27(owner: Owner, page: Page) -> None:
    owner.result(1, print_much, dumps(GIGABYTE_S_PART))
    assert sum(len(piece.data) for piece in page.pieces) == GIGABYTE_S_PART


def test_the_pool_never_reads_on_for_as_long_as_somebody_prints_f27(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a child of a body does that is as fast as we are."""
    outputs = Outputs()
    for descriptor in outputs.open(1, bytes(SECRET_BYTES)):
        os.close(descriptor)
    reads = 0

    def read(_: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads > 100:
            raise BlockingIOError
        return b"y" * size

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read)
        pieces = list(outputs.read_all(1))
    assert sum(len(piece.data) for piece in pieces) == reads * READ_BYTES
    assert reads == 2  # standard output and error
    outputs.close()


def test_where_output_may_be_dropped_nobody_waits_and_the_rest_is_counted_f27() -> None:
    page = Page()
    with Pool(1, show=page, drop_output=True) as pool:
        owner = Owner(pool)
        pool.wait_ready()
        owner.invoke(1, print_much, dumps(GIGABYTE_S_PART))
        pool.flush()
        (peer,) = pool._peers.values()
        wait_for(lambda: peer._page.cells[PRINTED])  # nobody reads while it prints
        owner.until(lambda: owner.ended(1))
        owner.result(2, greet, dumps("x"))
    assert page.text(2) == "hello x\nunfinished x and bytes"
    (dropped,) = re.findall(r"\[(\d+) bytes of output were dropped", page.text())
    assert 0 < page.text().count("x" * 100) * 100 < READ_BYTES
    assert page.text(1).count("x") + int(dropped) == GIGABYTE_S_PART


def test_a_line_says_how_much_is_missing_when_there_is_room_again_f27() -> None:
    read_end, write_end = os.pipe()
    writer = DroppingWriter(write_end)
    for _ in range(100):
        writer.write(b"a" * 1000)
    full = len(os.read(read_end, 1 << 20))
    assert writer.dropped_bytes == 100_000 - full > 0
    writer.write(b"b")
    note = f"\n[{100_000 - full} bytes of output were dropped: they were not read in time]\nb"
    assert os.read(read_end, 1 << 20) == note.encode()
    os.close(read_end)
    os.close(write_end)


@pytest.mark.parametrize("is_read", [True, False])
def test_a_pool_that_may_drop_output_does_not_wait_for_its_own_standard_output_f27(
    is_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = os.pipe()
    show = DroppingPrint()
    with os.fdopen(write_end, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        for _ in range(100):
            show(Printed(1, None, False, b"a" * 1000))
            if is_read:
                assert os.read(read_end, 1 << 20) == b"a" * 1000
    assert is_read or len(os.read(read_end, 1 << 20)) < 100_000
    os.close(read_end)


def test_each_line_can_be_tagged_by_node_run_element_and_attempt(page: Page) -> None:
    page.pieces.clear()
    show = TaggedPrint(page)
    first, second = (AttemptKey(RUN, NodeId(0), each) for each in (0, 1))
    for key, data in [
        (first, b"one\ntwo\nunfin"),
        (first, b"ished\n"),
        (first, b"cut"),
        (second, b"three\n"),
        (AttemptKey(RUN, NodeId(0), 0, 4, 2), b"four\n"),
        (None, b"past Python\n"),
    ]:
        show(Printed(1, key, False, data, "fit"))
    assert page.text() == (
        "[fit] one\n[fit] two\n[fit] unfinished\n[fit] cut\n[fit run 1] three\n"
        "[fit element 4 attempt 2] four\n[worker 1] past Python\n"
    )


def test_the_last_lines_are_part_of_the_error_p8(owner: Owner, page: Page) -> None:
    owner.invoke(1, print_and_die, dumps(1000))
    owner.until(lambda: owner.ended(1))
    output = owner.losses[1].evidence.output
    assert "line 999" in output
    assert "free(): invalid pointer" in output
    assert len(output) == 10
    assert "It printed last:\n  | line " in str(error_of(owner.losses[1], "n", 0, 0))
    assert page.text() == "".join(f"line {line}\n" for line in range(1000))


def test_an_interrupt_while_a_body_prints_makes_nothing_appear_twice_f6(
    owner: Owner, page: Page
) -> None:
    assert owner.result(1, print_as_an_interrupt_comes) == "interrupted when it had printed"
    assert page.text() == "once\n"


def test_a_file_put_in_the_place_of_standard_output_gets_no_marks_f30(
    owner: Owner, tmp_path: Any
) -> None:
    assert owner.result(1, redirect, dumps(str(tmp_path / "file"))) == "into the file\n"


def test_a_full_disk_behind_standard_output_loses_output_and_nothing_else_f13(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = open("/dev/full", "w")  # noqa: SIM115 - to close it is to flush it
    monkeypatch.setattr(sys, "stdout", full)
    for show in (pass_on, DroppingPrint(), TaggedPrint()):
        for _ in range(3):
            show(Printed(1, None, False, b"text" * 10_000))
    monkeypatch.undo()
    with suppress(OSError):
        full.close()


@pytest.mark.parametrize("replace", [lambda: None, lambda: _Unwritable()])
def test_a_closed_or_missing_standard_output_loses_output_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, replace: Callable[[], Any]
) -> None:
    monkeypatch.setattr(sys, "stdout", replace())
    pass_on(Printed(1, None, False, b"text"))


class _Unwritable:
    def write(self, _: str) -> None:
        raise BrokenPipeError

    def flush(self) -> None: ...


@pytest.mark.parametrize("read", [Outputs.read, lambda outputs, _: outputs.read_all()])
def test_a_last_line_is_shown_at_once_though_a_mark_may_begin_as_it_ends(
    read: Callable[[Outputs, int], Iterator[Piece]],
) -> None:
    outputs = Outputs()
    secret = b"\n" + bytes(range(SECRET_BYTES - 1))
    ends = outputs.open(1, secret)
    source = next(iter(outputs))
    for number in (1, 2):
        os.write(ends[0], mark(secret, number) + b"a line\n")
        assert [(each.number, each.data) for each in joined(read(outputs, source))] == [
            (number, b"a line\n")
        ]
    for end in ends:
        os.close(end)
    outputs.close()


def joined(pieces: Iterator[Piece]) -> list[Piece]:
    """With one piece where several of an attempt follow each other."""
    groups = groupby(pieces, key=lambda each: replace(each, data=b""))
    return [replace(of, data=b"".join(each.data for each in group)) for of, group in groups]


def test_only_the_end_is_remembered() -> None:
    last = LastOutput()
    for number in range(100_000):
        last.add(number % 2, f"{number}\n".encode())
    assert last.lines_of(1)[-1] == "99999"
    assert last.lines_of(0) == tuple(str(number) for number in range(99_980, 100_000, 2))
    last.add(7, b"y" * (1 << 20))
    assert last.lines_of(7) == ("y" * 4096,)
    assert last.lines_of(1) == ()
