"""What bodies print reaches us: whole, in order, with its owner (FAULTS F27, P8; SEMANTICS 16.4)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest

from executor.body import Interrupted, Stream
from executor.losses import error_of
from executor.marks import SECRET_BYTES, mark
from executor.output import LastOutput, Outputs, Piece, Printed, pass_on
from executor.page import CURRENT, TARGET
from executor.pool import Pool
from protocol.messages import StreamInput
from protocol.serialization import dumps
from tests.executor.test_pool import RUN, Owner, double

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
