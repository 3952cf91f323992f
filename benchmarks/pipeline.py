"""Chunks through a producer, a transformer and a consumer on 2 workers: rate and memory.

    python benchmarks/pipeline.py

Prints chunks per second for several windows, and the peak memory of all processes at 200,000 chunks
as a ratio of that at 20,000. Each figure comes from processes of its own.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import psutil

from orchestrator import Flow, Pool, Stream, node

ROUNDS = 3
FEW_TIMED = 5_000
FEW = 20_000
MANY = 200_000


def pipeline(count: int, window: int) -> Flow:
    @node(window=window)
    def produce(count: int) -> Iterator[int]:
        yield from range(count)

    @node(window=window)
    def transform(chunks: Stream[int]) -> Iterator[int]:
        for chunk in chunks:
            yield 2 * chunk

    @node
    def consume(chunks: Stream[int]) -> int:
        return sum(1 for _ in chunks)

    with Flow() as flow:
        flow.produced = produce(count)
        flow.transformed = transform(flow.produced)
        flow.consumed = consume(flow.transformed)
    return flow


def peak_bytes(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def measure(count: int, window: int) -> None:
    """Run once, in this process; print seconds and the peak memory of all processes together."""
    flow = pipeline(count, window)
    with Pool(2) as pool:
        started = perf_counter()
        flow.run(pool=pool)
        seconds = perf_counter() - started
        here = psutil.Process()
        peak = sum(peak_bytes(process) for process in [here, *here.children(recursive=True)])
    assert flow.consumed.get_data() == (count,)
    print(seconds, peak)


def measured(count: int, window: int) -> tuple[float, int]:
    output = subprocess.run(
        [sys.executable, __file__, str(count), str(window)], check=True, capture_output=True, text=True
    ).stdout
    seconds, peak = output.split()
    return float(seconds), int(peak)


def main() -> None:
    for window in (0, 1, 8, 64):
        rates = [FEW_TIMED / measured(FEW_TIMED, window)[0] for _ in range(ROUNDS)]
        print(f"window {window}: {statistics.median(rates):,.0f} chunks/s through two edges")
    peaks = {count: [measured(count, 8)[1] for _ in range(ROUNDS)] for count in (FEW, MANY)}
    few, many = (statistics.median(peaks[count]) for count in (FEW, MANY))
    print(f"peak memory at {MANY} / at {FEW} chunks: {many / few:.3f} ({many / 2**20:.0f} MiB)")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(int(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
