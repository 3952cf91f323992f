"""What a body is run on: its inputs, gathered off the edges (SEMANTICS 24), and its invocation."""

from __future__ import annotations

from typing import Final

from executor.host import Input, Invocation
from executor.scheduling import ALONE
from orchestrator.runtime.job import Job
from orchestrator.runtime.state import Edge, FinalEdge, Node, Run, StreamEdge, Void
from orchestrator.runtime.streams import Streams
from orchestrator.runtime.wiring import DEFAULT
from protocol.messages import WHOLE, AttemptKey, DefaultInput, StreamInput
from protocol.values import size_bytes

STREAM: Final = StreamInput()
LARGE_BYTES: Final = 16 * 1024
"""From this size on, a value that only one node reads makes that node's run urgent."""


class Invoking:
    """Makes the inputs and the invocations of one flow run."""

    def __init__(self, job: Job, streams: Streams) -> None:
        self._codes = job.codes()
        self._sends_all_chunks = bool(job.limits) or job.watcher is not None
        self._streams = streams

    def gather(self, run: Run) -> Void | None:
        """Read the run's inputs off its edges; says so if it cannot run for want of one."""
        found: Void | None = None
        for source in run.node.sources:
            given = self._read(source, run) if isinstance(source, FinalEdge | StreamEdge) else source
            if isinstance(given, Void):
                if given is Void.SKIPPED and _takes_default(run.node, source):
                    given = DEFAULT
                else:
                    found = found if found is Void.FAILED else given
                    continue
            run.inputs.append(given)
        return found

    def _read(self, edge: Edge, run: Run) -> Input | Void:
        delay = edge.spec.delay
        if run.number < delay:
            return DEFAULT
        if isinstance(edge, FinalEdge):
            return edge.take()
        reading = edge.readings[run.number - delay]
        self._streams.read_by(run, edge, reading)
        if reading.void is not None:
            self._streams.drop(edge, reading)
            return reading.void
        return STREAM

    def invocation(
        self, node: Node, key: AttemptKey, inputs: list[Input], credit: int, *, alone: bool = False
    ) -> Invocation:
        """One evaluation of the node's body, or of its body on one element.

        ``alone``: while nothing else runs. Not where streams are read or written: it would wait for ever
        for those at their other ends.
        """
        spec = node.spec
        start, resumes = (None, False) if node.state is None else node.state.begin()
        return Invocation(
            key,
            self._codes[spec.code],
            inputs,
            credit,
            # What a generator that is not to drain has yielded stays readable (rule 53).
            send_chunks=bool(node.streams_out) or self._sends_all_chunks or not spec.drain,
            final_is_read=bool(node.finals_out) or spec.keep,
            pinned=spec.pinned,
            checkpoint=spec.checkpointed,
            start=start,
            resumes=resumes,
            timeout_s=spec.timeout_s,
            memory_hard_bytes=spec.memory_hard_bytes,
            name=spec.name,
            priority=spec.priority,
            criticality=spec.criticality,
            frees_memory=bool(node.sole_reads) and _frees_memory(node, key, inputs),
            demand=ALONE if alone and spec.kind != "stream" and STREAM not in inputs else spec.demand,
        )


def _frees_memory(node: Node, key: AttemptKey, inputs: list[Input]) -> bool:
    """Whether it reads a large value that nobody else does: the sooner, the less memory is used."""
    if key.element != WHOLE:
        return False
    given = (inputs[port] for port in node.sole_reads)
    return any(
        not isinstance(each, StreamInput | DefaultInput) and size_bytes(each) >= LARGE_BYTES
        for each in given
    )


def _takes_default(node: Node, source: object) -> bool:
    """Whether the port takes its default where what it reads was skipped; a map's elements cannot."""
    return node.spec.on_skip == "default" and not (node.spec.kind == "map" and source is node.sources[0])
