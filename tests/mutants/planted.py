"""Defects to plant, each a text that stands once in one file and what stands there instead.

``breaks`` names what the defect is: a known bug of the in-process library (B1-B29 of SEMANTICS 15), a
rule, an invariant, or a defect that we once had. ``tests`` is where to look for one that catches it.
"""

from __future__ import annotations

from typing import NamedTuple

RULES = (
    "tests/resolver",
    "tests/runtime/test_streams.py",
    "tests/runtime/test_generations.py",
    "tests/runtime/test_waits.py",
)
BODIES = (
    "tests/executor/test_hub.py",
    "tests/runtime/test_streams.py",
    "tests/runtime/test_generations.py",
)
_RANDOM = "tests/differential/test_differential.py"
DIFFERENTIAL = (
    f"{_RANDOM}::test_i10_inline_runs_compute_what_the_rules_say[0-24]",
    f"{_RANDOM}::test_i10_values_depend_on_no_schedule_and_no_delay_of_messages[0-24]",
)
PLANNING = (
    "tests/resolver",
    "tests/graph/test_planning.py",
    f"{_RANDOM}::test_rules_19_to_31_the_planner_breaks_cycles_where_symbolic_execution_does",
)
WRITING = ("tests/graph",)


class Mutant(NamedTuple):
    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = (*RULES, *DIFFERENTIAL)


MUTANTS = (
    # -- barriers and windows ----------------------------------------------------------------------
    Mutant(
        "barrier 0 never waits",
        "B1, rule 46",
        "orchestrator/runtime/finals.py",
        "            if edge.is_full:\n                return False\n",
        "            if edge.is_full:\n                return True\n",
    ),
    Mutant(
        "barrier 1 never closes",
        "B1, rule 50",
        "orchestrator/runtime/gate.py",
        "room = min(room, edge.capacity - edge.untaken)",
        "room = min(room, 99)",
    ),
    Mutant(
        "the window is one larger",
        "A4, rule 50",
        "orchestrator/runtime/state.py",
        "self.capacity = self.spec.window + 1",
        "self.capacity = self.spec.window + 2",
    ),
    Mutant(
        "a chunk that two ports read counts twice",
        "B3",
        "orchestrator/runtime/streams.py",
        "edge.untaken += len(values)",
        "edge.untaken += len(values) * len(edge.producer.streams_out)",
    ),
    Mutant(
        "the producer runs on although nobody asks",
        "rule 50b",
        "orchestrator/runtime/gate.py",
        "    if not has_use:\n        return run.emitted\n",
        "",
    ),
    # -- deadlock ----------------------------------------------------------------------------------
    Mutant(
        "no edge is widened",
        "B2, rule 52",
        "orchestrator/runtime/repair.py",
        "        edge = edge_to_widen(deadlock)\n",
        "        edge = None\n",
    ),
    Mutant(
        "deadlocks are repaired only when all is at rest",
        "rule 52",
        "orchestrator/runtime/flow_run.py",
        "self._repair.look_at_suspects()",
        "self._progress.suspects.clear()",
        ("tests/runtime/test_running.py",),
    ),
    Mutant(
        "a deadlock ends like a flow that is done",
        "B19, rule 65",
        "orchestrator/runtime/repair.py",
        "            self.end(deadlock)\n",
        "            return False\n",
    ),
    Mutant(
        "unmet demand is no error",
        "B19, rule 65",
        "orchestrator/runtime/flow_run.py",
        "        if unmet:\n",
        "        if False:\n",
        ("tests/runtime/test_checked.py",),
    ),
    Mutant(
        "a parked producer is waited for",
        "rules 51, 52",
        "orchestrator/runtime/waits.py",
        "elif wait.is_full and is_parked(wait.awaited):",
        "elif False:",
    ),
    # -- activation --------------------------------------------------------------------------------
    Mutant(
        "the emission that came while its reader was busy is forgotten",
        "B4, rule 33",
        "orchestrator/resolver/firing.py",
        "        if is_triggered:\n",
        "        if False:\n",
    ),
    Mutant(
        "a demand for a busy node is forgotten",
        "B4, rules 32, 51",
        "orchestrator/resolver/firing.py",
        "                self.wanted_again.append(node)\n",
        "                pass\n",
    ),
    Mutant(
        "every node that has run is demanded again",
        "B5, rule 33",
        "orchestrator/resolver/firing.py",
        "        if is_triggered:\n",
        "        if True:\n",
    ),
    Mutant(
        "only the first node is demanded at the start",
        "B11, rule 33",
        "orchestrator/resolver/firing.py",
        "for node in range(len(self._next_run)):",
        "for node in range(len(self._next_run[:1])):",
    ),
    Mutant(
        "nodes fire last in, first out",
        "rule 34",
        "orchestrator/resolver/firing.py",
        "node = self.ready.popleft()",
        "node = self.ready.pop()",
    ),
    Mutant(
        "a node may overlap itself",
        "rule 40, I5",
        "orchestrator/resolver/firing.py",
        "            and not self._busy[node]\n",
        "",
    ),
    # -- planning ----------------------------------------------------------------------------------
    Mutant(
        "an edge of a node to itself has no delay",
        "rule 19",
        "orchestrator/runtime/invoking.py",
        "if run.number < delay:",
        "if run.number <= delay:",
    ),
    Mutant(
        "delays are one too many",
        "rules 19, 21",
        "orchestrator/graph/planning.py",
        "return int((node, port) in self._delayed)",
        "return 2 * int((node, port) in self._delayed)",
        (*PLANNING, *DIFFERENTIAL),
    ),
    Mutant(
        "the last node that can breaks the cycle",
        "B23, rule 30",
        "orchestrator/resolver/breaking.py",
        "node = heapq.heappop(component.able)",
        "node = component.able.pop()",
        PLANNING,
    ),
    Mutant(
        "cycles that share a node are told apart",
        "B20, rule 28",
        "orchestrator/resolver/condensation.py",
        "elif reached < reaches[path[-1][0]]:",
        "elif False:",
        PLANNING,
    ),
    # -- streams -----------------------------------------------------------------------------------
    Mutant(
        "an empty stream never comes",
        "B9, rule 33",
        "orchestrator/runtime/streams.py",
        "            self._note_come(edge, reading)\n            if reader is None:\n",
        "            if reader is None:\n",
    ),
    Mutant(
        "a late reader begins with the newest chunk",
        "B16, rule 48",
        "orchestrator/runtime/streams.py",
        "        if reading.seen < reading.delivered or reading.delivered == reading.emitted:\n",
        "        if not reading.delivered and reading.emitted:\n"
        "            reading.delivered = reading.seen = reading.emitted - 1\n"
        "        if reading.seen < reading.delivered or reading.delivered == reading.emitted:\n",
    ),
    Mutant(
        "an unread generator stops after a chunk",
        "B15, A7",
        "orchestrator/runtime/state.py",
        "return not self.finals_out and not self.streams_out and self.spec.drain",
        "return False",
    ),
    Mutant(
        "drain=False is ignored",
        "rule 53",
        "orchestrator/runtime/state.py",
        "return not self.finals_out and not self.streams_out and self.spec.drain",
        "return not self.finals_out and not self.streams_out",
        (*RULES, *DIFFERENTIAL),
    ),
    Mutant(
        "a stream ends one chunk early",
        "rule 48",
        "executor/attempt.py",
        "if self.end is not None and self.taken >= self.end:",
        "if self.end is not None and self.taken >= self.end - 1:",
        (*BODIES, *DIFFERENTIAL),
    ),
    Mutant(
        "chunks that leave together are reordered",
        "I2",
        "executor/reporter.py",
        "held.values += values",
        "held.values[:0] = values",
        ("tests/executor/test_reporter.py",),
    ),
    Mutant(
        "the end is told before the last chunks",
        "I2, rule 48",
        "executor/reporter.py",
        "        if key in self._chunks:\n            self._write_chunks(key)\n",
        "",
        ("tests/executor/test_reporter.py",),
    ),
    Mutant(
        "the second chunk that is taken is not acknowledged",
        "I4, rule 50",
        "orchestrator/runtime/machine.py",
        "            self.streams.take(edge, reading, upto)\n",
        "            if upto != 2:\n                self.streams.take(edge, reading, upto)\n",
    ),
    Mutant(
        "a reader that waits on its second port is not woken",
        "B4, rule 49",
        "executor/hub.py",
        "if attempt.waiting is not None and attempt.waiting.index == port:",
        "if attempt.waiting is not None and attempt.waiting.index == port == 0:",
        (*BODIES, *DIFFERENTIAL),
    ),
    Mutant(
        "a reader that leaves holds its producer back",
        "rule 51",
        "orchestrator/runtime/streams.py",
        "continue\n            if reading.live:\n                self._detach(edge, reading)\n",
        "continue\n",
    ),
    Mutant(
        "the state of a stream is kept for ever",
        "B21, rule 54",
        "orchestrator/runtime/streams.py",
        "        del edge.readings[reading.generation]\n",
        "",
    ),
    Mutant(
        "a stream read in a spawned task never wakes it",
        "B13, rule 48",
        "executor/hub.py",
        "        if attempt.reading_children:\n",
        "        if False:\n",
        ("tests/runtime/test_async_bodies.py",),
    ),
    # -- cancels -----------------------------------------------------------------------------------
    Mutant(
        "a reader reads on after its own cancel",
        "B12, rule 56",
        "executor/attempt.py",
        "        self.closed = True\n        self._buffer.clear()\n",
        "",
        (*BODIES, *DIFFERENTIAL),
    ),
    Mutant(
        "a cancelled reader is still sent chunks",
        "rule 56, I8",
        "orchestrator/runtime/streams.py",
        "            if reading.live:\n                column",
        "            if True:\n                column",
    ),
    Mutant(
        "a cancel does not wake a producer at its gate",
        "B29, rule 58",
        "executor/hub.py",
        "if attempt.at_gate:\n                self._make_ready(attempt, self._woken)\n\n    def cancel",
        "\n    def cancel",
        (*BODIES, *DIFFERENTIAL),
    ),
    Mutant(
        "a cancel is thrown only when the gate opens",
        "B29, rule 58",
        "executor/hub.py",
        "if attempt.emitted < attempt.credit or attempt.cancels_pending:",
        "if attempt.emitted < attempt.credit:",
        (*BODIES, *DIFFERENTIAL),
    ),
    Mutant(
        "cancels are not merged",
        "rule 58, I8",
        "executor/hub.py",
        "attempt.cancels_pending -= throws",
        "attempt.cancels_pending -= min(throws, 1)",
        (*BODIES, *DIFFERENTIAL),
    ),
    Mutant(
        "an uncaught cancel does not go on upstream",
        "rule 59a",
        "executor/hub.py",
        "            for port in attempt.ports.values():\n                port.cancel()\n",
        "",
        (*BODIES, *DIFFERENTIAL),
    ),
    Mutant(
        "a cancelled map lets its source go on",
        "rule 59a, A8",
        "orchestrator/runtime/maps.py",
        "            self._streams.cancel(*source)\n",
        "            pass\n",
    ),
    # -- final values ------------------------------------------------------------------------------
    Mutant(
        "the accumulator begins again after an unsummable chunk",
        "B8, rule 44",
        "executor/accumulation.py",
        "            if self._reason is not _NO_CHUNK:\n                return\n",
        "",
        ("tests/executor/test_accumulation.py",),
    ),
    Mutant(
        "bool does not sum as int",
        "rule 42",
        "executor/accumulation.py",
        "if isinstance(element, kind)",
        "if type(element) is kind",
        ("tests/executor/test_accumulation.py", *DIFFERENTIAL),
    ),
    Mutant(
        "a final value None is no value",
        "B10",
        "executor/hub.py",
        "if value is NO_VALUE:",
        "if value is NO_VALUE or value is None:",
        (*BODIES, *DIFFERENTIAL),
    ),
    # -- maps --------------------------------------------------------------------------------------
    Mutant(
        "a map emits what is ready first",
        "A8",
        "orchestrator/runtime/maps.py",
        "while (element := run.elements.get(run.settled)) is not None:",
        "while run.elements and (element := run.elements.setdefault(\n"
        "            run.settled, run.elements.pop(next(iter(run.elements)))\n        )):",
    ),
    Mutant(
        "a map looks ahead without bound",
        "A8",
        "orchestrator/runtime/maps.py",
        "return run.dispatched - run.settled < run.node.spec.ahead",
        "return True",
    ),
    # -- ends and errors -----------------------------------------------------------------------------
    Mutant(
        "a stop limit acts one emission late",
        "rule 66",
        "orchestrator/runtime/limits.py",
        "compare(generation, limit) < 0",
        "compare(generation, limit) <= 0",
    ),
    Mutant(
        "readers of a failed producer read a short stream",
        "B17, rule 67",
        "orchestrator/runtime/streams.py",
        "            reading.broken = broken\n",
        "",
        ("tests/runtime/test_failing.py",),
    ),
    Mutant(
        "terminate_on_node_error is ignored",
        "B18, rule 67",
        "orchestrator/runtime/flow_run.py",
        "        if self._terminates:\n",
        "        if True:\n",
        ("tests/runtime/test_failing.py",),
    ),
    Mutant(
        "an error before the body is swallowed",
        "B7, rule 68",
        "executor/hub.py",
        "self._fail(attempt, opened.fault, opened.error)",
        "pass",
        ("tests/executor/test_hub.py", "tests/runtime/test_running.py"),
    ),
    Mutant(
        "abandoned generators are not closed",
        "B14, rule 63",
        "executor/hub.py",
        "                attempt.close()\n                self.reports.cancelled(key)\n",
        "                self.reports.cancelled(key)\n",
        ("tests/executor/test_hub.py", "tests/runtime/test_running.py"),
    ),
    # -- writing flows -------------------------------------------------------------------------------
    Mutant(
        "a returning node may feed a stream",
        "B6, rule 18",
        "orchestrator/graph/validation.py",
        'if port.run_level and producer.kind == "mono":',
        "if False:",
        WRITING,
    ),
    Mutant(
        "the flow that has ended stays the current one",
        "B27, rule 39",
        "orchestrator/running.py",
        "        running_flow.reset(token)\n",
        "        pass\n",
        ("tests/runtime/test_surroundings.py",),
    ),
    Mutant(
        "a group renames the nodes that it was given",
        "B24, rule 17",
        "orchestrator/graph/groups.py",
        "if isinstance(value, DraftNode) and record_of(value) in own:",
        "if isinstance(value, DraftNode):",
        WRITING,
    ),
    Mutant(
        "the flow's own error hides the block's",
        "B28",
        "orchestrator/graph/flow.py",
        "        if error is None:\n            self._builder.graph()",
        "        if True:\n            self._builder.graph()",
        WRITING,
    ),
    Mutant(
        "nodes share a class's mutable attribute",
        "B25, rule 37",
        "executor/instances.py",
        "        return deepcopy(value)\n",
        "        return value\n",
        ("tests/executor/test_hub.py", "tests/runtime/test_state.py"),
    ),
    Mutant(
        "keyword arguments connect the next port",
        "B25, A2",
        "orchestrator/graph/template.py",
        "index = index_of.get(name)",
        "index = None if name not in index_of else inputs.index(UNCONNECTED)",
        WRITING,
    ),
    Mutant(
        "a cycle that is skipped lets nobody else have a turn",
        "B11, rule 41",
        "orchestrator/runtime/flow_run.py",
        "elif self._unrun < enough and (index := self._firing.take_ready()) is not None:",
        "elif (index := self._firing.take_ready()) is not None:",
        ("tests/runtime/test_skipping.py",),
    ),
    Mutant(
        "what a demand holds up is not looked at",
        "rule 52",
        "orchestrator/resolver/firing.py",
        "            elif self._lacking[node]:\n                self.held_up.append(node)\n",
        "",
        ("tests/resolver/test_firing.py",),
    ),
    # -- the event loop and the worker -----------------------------------------------------------------
    Mutant(
        "a cancelled wait for a condition does not take the lock again",
        "B26, rule 75",
        "orchestrator/event_loop/synchronization.py",
        "            await self._reacquire(interruption)\n",
        "            raise\n",
        ("tests/event_loop/test_synchronization.py",),
    ),
    Mutant(
        "a latch cannot be armed again",
        "B1, rule 81",
        "orchestrator/event_loop/synchronization.py",
        '        self._count = _at_least(0, count, "the count of a latch")\n        if',
        '        self._count = min(self._count, _at_least(0, count, "the count"))\n        if',
        ("tests/event_loop/test_synchronization.py",),
    ),
    Mutant(
        "a swallowed ZeroMQ signal is lost while the loop is busy",
        "lost wake-up",
        "orchestrator/event_loop/poller.py",
        "if self._zmq and sum(",
        "if timeout_s != 0 and sum(",
        ("tests/event_loop/test_sources.py",),
    ),
    Mutant(
        "a worker on asyncio keeps its last answer to itself",
        "lost acknowledgement",
        "executor/worker.py",
        "return self._hub.is_ready or self._session.has_output",
        "return self._hub.is_ready",
        ("tests/executor/test_worker.py",),
    ),
    # -- revocation ----------------------------------------------------------------------------------
    Mutant(
        "what a worker has begun is taken back",
        "P1",
        "executor/revocation.py",
        "if each.number > begun]",
        "]",
        ("tests/executor/test_revocation.py",),
    ),
    Mutant(
        "a fence is not seen",
        "P1",
        "executor/hub.py",
        "if self._may_begin is not None and not self._may_begin(attempt.key):",
        "if False:",
        ("tests/executor/test_hub.py",),
    ),
    Mutant(
        "what was sent ahead stays behind a body that turns out long",
        "issue 6, scheduling",
        "executor/revocation.py",
        "                asked += _ask(worker, _revocable(worker, seen.begun), now)\n",
        "",
        ("tests/executor/test_revocation.py",),
    ),
)
