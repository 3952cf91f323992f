"""Peak memory of a wide fan-out and fan-in with values of 1 MB, beside the same computed serially.

    python benchmarks/fan_out.py [WIDTH]

``gathered``: one node reads all the values, so they all exist at once, however it is run. ``reduced``:
each value is read by a node of its own that makes it small. Peaks are sums of the proportional sizes
of all processes (what they share counts once), each way in a process of its own. ``idle`` does nothing:
an interpreter, and a pool that has run one empty node; what a way takes beyond that is told, too.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from orchestrator import Flow, node

MEGABYTE = 1 << 20


def make(number: int) -> bytes:
    return number.to_bytes(4, "little") * (MEGABYTE // 4)


def reduce(data: bytes) -> int:
    return len(data)


def gather(*values: bytes) -> int:
    return sum(map(len, values))


def add_up(*values: int) -> int:
    return sum(values)


def reduced_serially(width: int) -> int:
    return add_up(*[reduce(make(number)) for number in range(width)])


def gathered_serially(width: int) -> int:
    return gather(*[make(number) for number in range(width)])


def reduced_by_a_flow(width: int) -> int:
    maker, reducer, adder = node(make), node(reduce), node(add_up)
    with Flow() as flow:
        flow.total = adder(*[reducer(maker(number)) for number in range(width)])
    flow.run(workers=2)
    [total] = flow.total.get_data()
    return int(total)


def gathered_by_a_flow(width: int) -> int:
    maker, gatherer = node(make), node(gather)
    with Flow() as flow:
        flow.total = gatherer(*[maker(number) for number in range(width)])
    flow.run(workers=2)
    [total] = flow.total.get_data()
    return int(total)


def idle_serially(_: int) -> None:
    time.sleep(0.2)


def idle_by_a_flow(_: int) -> None:
    maker = node(gather)
    with Flow() as flow:
        flow.total = maker()
    flow.run(workers=2)


WAYS = (
    idle_serially,
    idle_by_a_flow,
    reduced_serially,
    reduced_by_a_flow,
    gathered_serially,
    gathered_by_a_flow,
)


def peak_bytes(name: str, width: int) -> int:
    """The peak while one way runs in a fresh process."""
    program = f"from benchmarks import fan_out; print(fan_out.{name}({width}))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, size_bytes(process.pid))
        time.sleep(0.005)
    if process.returncode:
        raise RuntimeError(f"{name} failed")
    return peak


def size_bytes(pid: int) -> int:
    """The proportional size of a process and all its descendants."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total = int(line.split()[1]) << 10
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += size_bytes(int(child))
    except OSError:  # it has ended
        pass
    return total


def main() -> None:
    width = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    peaks = {way.__name__: peak_bytes(way.__name__, width) for way in WAYS}
    for name, peak in peaks.items():
        print(f"{name:20} {peak / MEGABYTE:7.0f} MB")
    for shape in ("reduced", "gathered"):
        flow, serial = peaks[f"{shape}_by_a_flow"], peaks[f"{shape}_serially"]
        flow_more, serial_more = flow - peaks["idle_by_a_flow"], serial - peaks["idle_serially"]
        print(
            f"{shape}: {flow / serial:.2f} times the serial peak; beyond idle "
            f"{flow_more / MEGABYTE:.0f} MB where serially {serial_more / MEGABYTE:.0f} MB"
        )


if __name__ == "__main__":
    main()
