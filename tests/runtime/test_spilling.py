"""What waits for its reader beyond what memory is for it (SEMANTICS 52, FAULTS F13)."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.body import Stream
from executor.pool import Pool
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.runtime.chunk_log import ChunkLog, SpillFile, ValueStore
from orchestrator.runtime.errors import NodeError, SpillError
from orchestrator.runtime.state import FinalEdge, Node, Void
from orchestrator.spec import EdgeInput, NodeSpec
from orchestrator.spill import DiskFile, DiskSpill
from protocol.messages import Digest, NodeId
from protocol.values import Value

BLOCK = 64 * 1024


class ListSpill:
    """Files that are lists; ``open_files`` counts those that were not closed."""

    def __init__(self) -> None:
        self.open_files = 0
        self.blocks = 0

    def open(self) -> SpillFile:
        self.open_files += 1
        return _ListFile(self)


class _ListFile:
    def __init__(self, owner: ListSpill) -> None:
        self._owner = owner
        self._blocks: dict[int, list[Value]] = {}

    def write(self, values: list[Value]) -> int:
        self._owner.blocks += 1
        self._blocks[self._owner.blocks] = list(values)
        return self._owner.blocks

    def read(self, block: int) -> list[Value]:
        return list(self._blocks[block])

    def forget(self, block: int) -> None:
        del self._blocks[block]

    def close(self) -> None:
        self._owner.open_files -= 1


@given(st.data(), st.integers(1, 3), st.integers(0, 40))
def test_a_log_gives_back_what_was_appended_wherever_it_is_kept(
    data: st.DataObject, width: int, memory_bytes: int
) -> None:
    files = ListSpill()
    log = ChunkLog(width, files, memory_bytes)
    model: list[list[bytes]] = []
    forgotten = 0
    for _ in range(data.draw(st.integers(1, 30))):
        action = data.draw(st.sampled_from(["append", "append", "read", "forget"]))
        if action == "append":
            given_width = data.draw(st.integers(width, width + 1))
            rows = [
                [data.draw(st.binary(max_size=9)) for _ in range(given_width)]
                for _ in range(data.draw(st.integers(1, 4)))
            ]
            log.append([value for row in rows for value in row], given_width)
            model += [row[:width] for row in rows]
        elif action == "forget":
            forgotten = data.draw(st.integers(forgotten, len(model)))
            log.forget(forgotten)
        elif forgotten < len(model):
            first = data.draw(st.integers(forgotten, len(model) - 1))
            upto = data.draw(st.integers(first + 1, len(model)))
            output = data.draw(st.integers(0, width - 1))
            read = log.read(first, upto, output)
            assert read
            assert read == [row[output] for row in model[first : first + len(read)]]
            assert len(read) <= upto - first
        assert log.count == len(model)
    log.close()
    assert files.open_files == 0


def test_a_log_that_nobody_needs_counts_on() -> None:
    log = ChunkLog(1, None)
    log.append([b"a", b"b"], 1)
    log.forget(2)
    log.skip(3)
    log.append([b"f"], 1)
    assert (log.count, log.read(5, 6, 0)) == (6, [b"f"])


def test_single_values_go_to_a_file_beyond_their_memory() -> None:
    files = ListSpill()
    store = ValueStore(files, memory_bytes=10)
    held = [store.put(value) for value in (b"12345678", b"abcdefgh", b"1")]
    assert files.blocks == 1
    assert [store.take(each) for each in held] == [b"12345678", b"abcdefgh", b"1"]
    store.put(b"again")
    assert files.blocks == 1


def test_values_come_back_from_the_disk_as_they_were() -> None:
    disk = DiskSpill()
    file = disk.open()
    values: list[Value] = [b"small", (b"head", bytearray(b"large")), b""]
    assert [file.write(values), file.write([b"x"])] == [0, 1]
    assert file.read(0) == [b"small", (b"head", b"large"), b""]
    assert file.read(1) == [b"x"]
    disk.close()


def test_f13_a_full_disk_is_an_error_that_names_the_directory() -> None:
    disk = DiskSpill(limit_bytes=100)
    file = disk.open()
    with pytest.raises(SpillError, match=r"cannot be put into '/.*used what it may"):
        file.write([bytes(200)])
    file.write([bytes(50)])
    file.close()
    disk.open().write([bytes(80)])  # what was closed is free again
    disk.close()


def test_f13_what_was_read_makes_room_so_that_a_stream_may_be_longer_than_the_disk() -> None:
    disk = DiskSpill(limit_bytes=5_000)
    log = ChunkLog(1, disk, memory_bytes=0)
    store = ValueStore(disk, memory_bytes=0)
    for number in range(100):
        log.append([bytes(1_000)], 1)
        assert log.read(number, number + 1, 0) == [bytes(1_000)]
        log.forget(number)  # one stays behind
        assert store.take(store.put(bytes(number))) == bytes(number)
    disk.close()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=60))
def test_blocks_of_a_file_do_not_meet_whatever_was_forgotten(turns: list[tuple[bool, int]]) -> None:
    with closing(DiskSpill()) as disk:
        file = disk.open()
        held: dict[int, list[Value]] = {}
        for number, (writes, size) in enumerate(turns):
            if writes:
                values: list[Value] = [bytes([number]) * size]
                held[file.write(values)] = values
            elif held:
                block = list(held)[size % len(held)]
                file.forget(block)
                del held[block]
            assert {block: file.read(block) for block in held} == held
        for block in held:
            file.forget(block)
        assert len(file._gaps) <= 1


@node
def blocks(count: int) -> Any:
    for index in range(count):
        yield bytes([index % 251]) * BLOCK


@node
def passed(chunks: Stream[bytes]) -> Any:
    for chunk in chunks:
        yield chunk


@node
def one_after_the_other(a: Stream[bytes], b: Stream[bytes]) -> tuple[int, list[int]]:
    first = sum(map(len, a))
    return first, [chunk[0] for chunk in b]


def reconvergent(count: int) -> Flow:
    with Flow() as f:
        f.blocks = blocks(count)
        f.a = passed(f.blocks)
        f.b = passed(f.blocks)
        f.joined = one_after_the_other(f.a, f.b)
    return f


def count_writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many values each block has that is written to the disk from now on."""
    written: list[int] = []
    write = DiskFile.write

    def counted(file: DiskFile, values: list[Value]) -> int:
        written.append(len(values))
        return write(file, values)

    monkeypatch.setattr(DiskFile, "write", counted)
    return written


def test_rule_52_what_a_widened_edge_has_no_memory_for_goes_to_the_disk(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = count_writes(monkeypatch)
    f = reconvergent(100)
    report = f.run(pool=pool)
    assert f.joined.get_data() == ((100 * BLOCK, list(range(100))),)
    assert report.widened
    assert sum(written) > 50  # chunks


def test_f13_a_flow_whose_chunks_fit_nowhere_ends_with_an_error_that_names_their_node(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiskSpill.__init__, "__defaults__", (3 << 20,))
    with pytest.raises(
        NodeError, match=r"node '(blocks|b)'.*cannot be kept until they are read"
    ) as caught:
        reconvergent(100).run(pool=pool)
    assert isinstance(caught.value.__cause__, SpillError)
    f = reconvergent(5)
    f.run(pool=pool)  # the pool is as good as before
    assert f.joined.get_data() == ((5 * BLOCK, list(range(5))),)


SCRIPT_ON_A_SMALL_DISK = """
import sys
from orchestrator import Flow, Stream, node

@node
def blocks():
    for index in range(100):
        yield bytes([index]) * 65536

@node
def passed(chunks: Stream[bytes]):
    yield from chunks

@node
def one_after_the_other(a: Stream[bytes], b: Stream[bytes]) -> int:
    return sum(map(len, a)) + sum(map(len, b))

with Flow() as f:
    f.blocks = blocks()
    f.joined = one_after_the_other(passed(f.blocks), passed(f.blocks))
try:
    f.run(workers=2)
except Exception as error:
    print(error)
"""


def test_f13_on_a_full_disk_the_error_names_the_directory_and_the_node(tmp_path: Path) -> None:
    """On a file system of one megabyte, where one may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "script.py").write_text(SCRIPT_ON_A_SMALL_DISK)
    mount = 'mount -t tmpfs -o size=1m none "$1" && '
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*alone, f"{mount}true", "sh", disk], capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    done = subprocess.run(
        [
            *alone,
            f'{mount}TMPDIR="$1" exec "$2" "$3"',
            "sh",
            disk,
            sys.executable,
            tmp_path / "script.py",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    told = (
        rf"node '.*cannot be kept until they are read.*{re.escape(str(disk))}.*No space left on device"
    )
    assert re.search(told, done.stdout), done
    assert "Error" not in done.stderr


def test_rule_46_a_widened_edge_of_final_values_keeps_large_ones_on_the_disk() -> None:
    spec = NodeSpec("n", "mono", Digest(b""), (), "process", "f:1")
    files = ListSpill()
    store = ValueStore(files, memory_bytes=10)
    producer, consumer = Node(NodeId(0), spec), Node(NodeId(1), spec)
    edge = FinalEdge(0, producer, consumer, 0, EdgeInput(0, 0, 0, 0), store=store)
    edge.put(b"the one that every edge has room for")
    assert edge.is_full
    edge.widen()
    edge.widen()
    edge.put(b"a large value")
    edge.put(Void.SKIPPED)
    assert files.blocks == 1
    taken = [edge.take() for _ in range(3)]
    assert taken == [b"the one that every edge has room for", b"a large value", Void.SKIPPED]
