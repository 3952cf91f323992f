"""The hub by its verbs and reports: credit, waits, cancels, faults (rules 50, 55-63, 16.5)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from executor import attempt, heap
from executor.attempt import Attempt
from executor.body import NO_VALUE, Stream, StreamCancelled, UpstreamFailed
from executor.code import BodyCode, Imported
from executor.codec import BY_REFERENCE, PICKLED, Codec
from executor.host import Broken, Code, Input, Invocation, Start
from executor.hub import BRIEF_S, Hub
from protocol.messages import (
    UNLIMITED,
    Absence,
    AttemptKey,
    DefaultInput,
    Digest,
    Failure,
    Fault,
    NodeId,
    RunId,
    StreamInput,
)
from protocol.serialization import dumps
from protocol.values import Local

KEY = AttemptKey(RunId(1), NodeId(0), 0)
STREAM = StreamInput()
DEFAULT = DefaultInput()


class Recorder:
    """Keeps every report as (verb, arguments after the key)."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def __getattr__(self, verb: str) -> Callable[..., None]:
        return lambda key, *arguments: self.seen.append((verb, *arguments))

    def take(self) -> list[tuple[Any, ...]]:
        seen, self.seen = self.seen, []
        return seen

    def verbs(self) -> list[str]:
        return [report[0] for report in self.take()]


class Bench:
    """A hub, what it reports, and the attempt that a test watches."""

    def __init__(self, codec: Codec = BY_REFERENCE, **options: Any) -> None:
        self.reports = Recorder()
        self.hub = Hub(codec, **options)
        self.hub.attach(self.reports)

    def invoke(
        self, body: Any, *inputs: Input, key: AttemptKey = KEY, code: Any = None, **options: Any
    ) -> None:
        payload = Local(code or BodyCode(body))
        digest = Digest(str(id(body)).encode())
        self.hub.invoke(Invocation(key, Code(digest, payload), list(inputs), **options))
        self.run()

    def run(self) -> None:
        while self.hub.step():
            pass


def values(*objects: object) -> list[Any]:
    return [Local(each) for each in objects]


def numbers(count: int) -> Any:
    yield from range(count)


def total(chunks: Stream[int]) -> int:
    return sum(chunks)


def test_a_function_is_completed_with_its_outputs() -> None:
    bench = Bench()
    bench.invoke(lambda a, b=2: a + b, Local(1), DEFAULT)
    [(verb, emitted, seconds, outputs, missing, state)] = bench.reports.take()
    assert (verb, emitted, outputs, missing, state) == ("completed", 0, values(3), None, None)
    assert seconds > 0


def test_bodies_are_asked_whether_they_rest_only_while_a_task_that_one_has_spawned_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker asks whenever it has nothing to do, and many bodies may rest there."""
    asked: list[Attempt] = []

    def ask(attempt: Attempt) -> bool:
        asked.append(attempt)
        return False

    monkeypatch.setattr(Attempt, "report_rest", ask)
    bench = Bench()
    bench.invoke(total, STREAM)
    assert (bench.hub.report_rest(), asked) == (False, [])
    port = bench.hub._attempts[KEY].ports[0]
    for wake in (bool, int):
        port.park(wake)
    port.unpark(int)
    assert bench.hub.reading_children == 1
    bench.hub.report_rest()
    assert len(asked) == 1
    bench.hub.cancel(KEY)
    assert bench.hub.reading_children == 0


def test_what_has_not_begun_can_be_taken_back_and_what_may_not_begin_waits_for_that() -> None:
    keys = [AttemptKey(RunId(1), NodeId(number), 0) for number in range(4)]
    may_begin = {keys[0]}
    bench = Bench(may_begin=lambda key: key in may_begin)
    ran: list[int] = []
    for number, key in enumerate(keys):
        bench.invoke(lambda number=number: ran.append(number), key=key)
    assert (ran, bench.hub.is_ready) == ([0], False)
    may_begin.update(keys)
    assert bench.hub.revoke([keys[0], keys[2]]) == [keys[2]]  # the first one is over
    bench.run()
    assert ran == [0, 1, 3]
    assert bench.reports.verbs() == ["completed"] * 3


def test_memory_of_inputs_that_were_opened_is_given_back_when_it_is_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trims: list[int] = []
    monkeypatch.setattr(heap, "trim", lambda: trims.append(1))
    monkeypatch.setattr(attempt, "TRIM_BYTES", 2500)
    stream = dumps(bytes(900))
    assert isinstance(stream, bytes)
    inputs: list[Input] = [(stream,) for _ in range(7)]
    bench = Bench(PICKLED, consumes_inputs=True)
    code = Code(Digest(b"count"), dumps(BodyCode(lambda *values: len(values))))
    bench.hub.invoke(Invocation(KEY, code, inputs))
    bench.run()
    assert bench.reports.verbs() == ["completed"]
    assert len(trims) == 2


def test_keyword_only_ports_are_passed_by_name() -> None:
    def body(a: int, *, b: int) -> tuple[int, int]:
        return a, b

    bench = Bench()
    bench.invoke(body, Local(1), Local(2))
    assert bench.reports.take()[0][3] == values((1, 2))


def test_multiple_outputs_are_split_and_a_wrong_shape_is_a_fault() -> None:
    bench = Bench()
    bench.invoke(None, code=BodyCode(lambda: (1, 2), multiple_outputs=True))
    assert bench.reports.take()[0][3] == values(1, 2)
    bench = Bench()
    bench.invoke(None, code=BodyCode(lambda: [1, 2], multiple_outputs=True))
    failed = bench.reports.take()[0]
    assert failed[3].fault is Fault.SHAPE
    assert "must be a tuple" in failed[3].message


def test_rule_50_a_generator_stops_at_its_credit_and_goes_on_when_told() -> None:
    bench = Bench()
    bench.invoke(numbers, Local(4), credit=2)
    assert [report[1] for report in bench.reports.take()] == [0, 1]
    bench.hub.produce(KEY, 2)  # nothing new
    bench.run()
    assert bench.reports.take() == []
    bench.hub.produce(KEY, UNLIMITED)
    bench.run()
    assert bench.reports.verbs() == ["chunks", "chunks", "completed"]


def test_chunks_that_nobody_reads_are_counted_and_not_sent() -> None:
    bench = Bench()
    bench.invoke(numbers, Local(2), send_chunks=False)
    assert bench.reports.take()[:2] == [("chunks", 0, 1, 1, []), ("chunks", 1, 1, 1, [])]


def test_a_reader_reports_what_it_takes_and_when_it_waits() -> None:
    bench = Bench()
    bench.invoke(total, STREAM)
    assert bench.reports.take() == [("wait", 0, 0, 1)]
    bench.hub.deliver(KEY, 0, 0, values(1, 2))
    bench.run()
    assert bench.reports.take() == [("read", 0, 1), ("read", 0, 2), ("wait", 0, 2, 1)]
    bench.hub.end_stream(KEY, 0, 2)
    bench.run()
    assert bench.reports.take()[0][3] == values(3)


def test_chunks_may_come_before_the_body_begins() -> None:
    bench = Bench()
    bench.hub.invoke(Invocation(KEY, Code(Digest(b"t"), Local(BodyCode(total))), [STREAM]))
    bench.hub.deliver(KEY, 0, 0, values(4))
    bench.hub.end_stream(KEY, 0, 1)
    bench.run()
    assert bench.reports.verbs() == ["read", "completed"]


def test_a_worker_hears_of_each_chunk_taken_before_the_body_computes_on() -> None:
    taken: list[tuple[int, bool]] = []
    bench = Bench()
    bench.hub.on_take = lambda was_last: taken.append((len(bench.reports.seen), was_last))
    bench.invoke(total, STREAM)
    bench.hub.deliver(KEY, 0, 0, values(1, 2, 3))
    bench.run()
    assert taken == [(2, False), (3, False), (4, True)]  # a wait, then three reads


class MarksWhenPickled:
    def __init__(self, marks: list[AttemptKey | None]) -> None:
        self.marks = marks

    def __reduce__(self) -> Any:
        self.marks.append(self.marks[-1])
        return int, ()


def test_p9_a_body_is_marked_while_it_runs_is_pickled_and_is_closed_and_none_is_between() -> None:
    marks: list[AttemptKey | None] = []

    def runs() -> object:
        marks.append(marks[-1])
        return MarksWhenPickled(marks)

    def is_closed() -> Any:
        try:
            yield 1
        finally:
            marks.append(marks[-1])

    bench = Bench(Codec(PICKLED.dumps, BY_REFERENCE.loads, PICKLED.dump_exception), mark=marks.append)
    bench.invoke(runs)
    assert marks[0] == KEY
    assert set(marks[:-1]) == {KEY}
    assert marks.pop() is None
    marks.clear()
    bench.invoke(is_closed, credit=1)
    bench.hub.cancel(KEY)
    assert marks == [KEY, None, KEY, KEY, None]


def cancelled_once() -> Any:
    try:
        yield 1
    except StreamCancelled:
        yield 2


def test_rule_58_cancels_that_come_before_the_throw_are_merged() -> None:
    bench = Bench()
    bench.invoke(cancelled_once, credit=1)
    bench.reports.take()
    bench.hub.throw_cancel(KEY)
    bench.hub.throw_cancel(KEY)
    bench.run()
    assert bench.reports.take() == [("cancel_thrown", 2, 1), ("chunks", 1, 1, 1, values(2))]
    bench.hub.produce(KEY, 2)  # it is at 2 already: the gate stays closed
    bench.run()
    assert bench.reports.take() == []


def passes_on(chunks: Stream[int]) -> Any:
    yield from chunks


def test_rule_59a_an_uncaught_cancel_cancels_the_inputs_and_completes() -> None:
    bench = Bench()
    bench.invoke(passes_on, STREAM, credit=1)
    bench.hub.deliver(KEY, 0, 0, values(5))
    bench.run()
    bench.reports.take()
    bench.hub.throw_cancel(KEY)
    bench.run()
    cancel, completed = bench.reports.take()
    assert cancel == ("cancel_stream", 0)
    assert (completed[0], completed[1], completed[3]) == ("completed", 1, values(5))


def test_a_stream_cancelled_that_nobody_threw_is_an_error() -> None:
    def body() -> None:
        raise StreamCancelled

    bench = Bench()
    bench.invoke(body)
    assert bench.reports.verbs() == ["failed"]


def test_rule_56_a_cancelled_handle_ends_at_once_and_reports_once() -> None:
    def body(chunks: Stream[int]) -> list[int]:
        chunks.cancel()
        chunks.cancel()
        return list(chunks)

    bench = Bench()
    bench.hub.invoke(Invocation(KEY, Code(Digest(b"c"), Local(BodyCode(body))), [STREAM]))
    bench.hub.deliver(KEY, 0, 0, values(1))
    bench.run()
    assert bench.reports.verbs() == ["cancel_stream", "completed"]


async def cancels_and_awaits(chunks: Stream[int]) -> int:
    await chunks.cancel()
    return 1


def test_rule_55_a_cancel_may_be_awaited() -> None:
    bench = Bench()
    bench.invoke(cancels_and_awaits, STREAM)
    assert bench.reports.verbs() == ["cancel_stream", "completed"]


def test_rule_57_cancelling_an_ended_stream_says_nothing() -> None:
    bench = Bench()
    bench.hub.invoke(Invocation(KEY, Code(Digest(b"e"), Local(BodyCode(cancels_and_awaits))), [STREAM]))
    bench.hub.end_stream(KEY, 0, 0)
    bench.run()
    assert bench.reports.verbs() == ["completed"]


def test_rule_48_a_handle_is_dead_after_its_run() -> None:
    kept: list[Stream[int]] = []
    bench = Bench()
    bench.invoke(lambda chunks: kept.append(chunks), STREAM)
    with pytest.raises(RuntimeError, match="run that has ended"):
        next(kept[0])


def test_giving_an_attempt_up_closes_its_body_and_is_answered_once() -> None:
    closed: list[str] = []

    def body() -> Any:
        try:
            yield 1
        finally:
            closed.append("closed")

    bench = Bench()
    bench.invoke(body, credit=1)
    bench.hub.cancel(KEY)
    bench.hub.cancel(KEY)
    bench.hub.produce(KEY, 9)
    bench.hub.deliver(KEY, 0, 0, [])
    bench.run()
    assert bench.reports.verbs() == ["chunks", "cancelled"]
    assert closed == ["closed"]


def test_an_attempt_that_has_not_begun_can_be_given_up() -> None:
    bench = Bench()
    bench.hub.invoke(Invocation(KEY, Code(Digest(b"n"), Local(BodyCode(numbers))), [Local(1)]))
    bench.hub.cancel(KEY)
    bench.run()
    assert bench.reports.verbs() == ["cancelled"]


def test_f15_a_chunk_that_does_not_pickle_is_the_output_s_fault_and_closes_the_body() -> None:
    closed: list[str] = []

    def body() -> Any:
        try:
            yield {"a": threading.Lock()}
        finally:
            closed.append("closed")

    bench = Bench(PICKLED)
    bench.hub.invoke(Invocation(KEY, Code(Digest(b"l"), PICKLED.dumps(BodyCode(body))), []))
    bench.run()
    [(verb, emitted, _, report, _)] = bench.reports.take()
    assert (verb, emitted, report.fault) == ("failed", 0, Fault.OUTPUT)
    assert "['a']" in report.message


def test_code_that_cannot_be_loaded_is_the_code_s_fault() -> None:
    bench = Bench()
    bench.invoke(None, code=BodyCode(Imported("no_such_module", "f")))
    assert bench.reports.take()[0][3].fault is Fault.CODE


def test_an_input_that_cannot_be_unpickled_is_the_input_s_fault() -> None:
    bench = Bench()
    bench.invoke(lambda x: x, b"not a pickle")
    assert bench.reports.take()[0][3].fault is Fault.INPUT


def test_16_5_the_traceback_begins_with_the_user_s_frame() -> None:
    def fails() -> None:
        raise ValueError("boom")

    bench = Bench()
    bench.invoke(fails)
    [(_, _, _, report, cause)] = bench.reports.take()
    assert (report.type_name, report.message) == ("ValueError", "boom")
    assert "life_cycle.py" not in report.traceback
    assert "in fails" in report.traceback
    assert isinstance(cause.object, ValueError)


def test_a_class_keeps_one_instance_for_each_node_until_the_run_is_released() -> None:
    class Counter:
        count = 0
        log: list[int] = []  # noqa: RUF012 - copied for each instance (rule 37)

        def call(self) -> int:
            self.count += 1
            self.log.append(self.count)
            return len(self.log)

    bench = Bench()
    other = AttemptKey(RunId(1), NodeId(1), 0)
    for key, expected in ((KEY, 1), (KEY, 2), (other, 1)):
        bench.invoke(Counter, key=key)
        assert bench.reports.take()[0][3] == values(expected)
    bench.hub.release(RunId(1))
    bench.invoke(Counter)
    assert bench.reports.take()[0][3] == values(1)


SENDING = Codec(PICKLED.dumps, BY_REFERENCE.loads, PICKLED.dump_exception)
"""Pickles what it reports, and takes what it is told as it is."""


class Summing:
    total = 0

    def call(self, x: int) -> Any:
        self.total += x
        yield self.total
        if x < 0:
            raise ValueError(x)


def test_16_1_the_state_is_reported_with_the_completion_only_and_only_where_it_is_asked_for() -> None:
    for checkpoint in (True, False):
        bench = Bench(SENDING)
        bench.invoke(Summing, dumps(5), code=BodyCode(Summing), pinned=True, checkpoint=checkpoint)
        chunk, completed = bench.reports.take()
        assert chunk[0] == "chunks"
        assert completed[5] == (dumps({"total": 5}) if checkpoint else None)


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
def test_16_1_a_run_that_fails_or_is_given_up_begins_again_from_the_committed_state(how: str) -> None:
    bench = Bench(SENDING)
    options: dict[str, Any] = {"pinned": True, "checkpoint": True, "start": Start(dumps({"total": 5}))}
    if how == "fails":
        bench.invoke(Summing, dumps(-1), **options)
    else:
        bench.invoke(Summing, dumps(1), credit=1, **options)
        bench.hub.cancel(KEY)
    bench.reports.take()
    bench.invoke(Summing, dumps(2), resumes=True, **options)
    assert bench.reports.take()[-1][5] == dumps({"total": 7})


def test_a_state_that_does_not_pickle_is_a_fault_of_its_own() -> None:
    class Locked:
        def call(self) -> None:
            self.lock = threading.Lock()

    bench = Bench(SENDING)
    bench.invoke(Locked, pinned=True, checkpoint=True)
    [(verb, _, _, report, _)] = bench.reports.take()
    assert (verb, report.fault) == ("failed", Fault.STATE)
    assert "self.lock cannot be pickled" in report.message


def test_no_value_may_be_returned() -> None:
    bench = Bench()
    bench.invoke(lambda: NO_VALUE)
    assert bench.reports.take()[0][4].absence is Absence.NO_VALUE


async def awaits() -> object:
    class Something:
        def __await__(self) -> Any:
            return (yield self)

    return await Something()


def test_awaiting_what_is_no_stream_is_an_error_at_the_await() -> None:
    bench = Bench()
    bench.invoke(awaits)
    [(verb, _, _, report, _)] = bench.reports.take()
    assert (verb, report.type_name) == ("failed", "TypeError")
    assert "can await its streams only" in report.message


def test_closing_the_hub_closes_every_body() -> None:
    closed: list[str] = []

    def body() -> Any:
        try:
            yield 1
        finally:
            closed.append("closed")

    bench = Bench()
    bench.invoke(body, credit=1)
    bench.hub.close()
    assert closed == ["closed"]


def test_rule_49_a_read_finds_its_own_cancel_then_data_then_the_end_or_failure() -> None:
    def reads(a: Stream[int], b: Stream[int], c: Stream[int]) -> list[object]:
        seen: list[object] = [next(a)]
        a.cancel()
        seen.append(next(a, "closed"))  # although a chunk has come
        seen += [*b, "ended"]  # data goes before the end that is known already
        try:
            for chunk in c:
                seen.append(chunk)
        except UpstreamFailed:
            seen.append("failed")
        return seen

    bench = Bench()
    bench.invoke(reads, STREAM, STREAM, STREAM)
    bench.hub.deliver(KEY, 1, 0, values(1, 2))
    bench.hub.end_stream(KEY, 1, 2)
    bench.hub.deliver(KEY, 2, 0, values(3))
    bench.hub.end_stream(KEY, 2, 1, Broken(Failure("c", "it has failed"), None))
    bench.hub.deliver(KEY, 0, 0, values(1, 2))
    bench.run()
    completed = bench.reports.take()[-1]
    assert completed[3] == values([1, "closed", 1, 2, "ended", 3, "failed"])


def test_what_was_said_is_sent_before_a_body_begins_that_may_take_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    time = iter([0.0, 2 * BRIEF_S, *[1.0] * 6])  # as each begins and ends
    monkeypatch.setattr("executor.hub.perf_counter", lambda: next(time))
    bench = Bench(before_long=lambda: told.append("before"))

    def body() -> None: ...

    for _ in range(4):
        bench.invoke(body)
    # Nothing is known of the first; it was long; the second was brief, and then the others may wait.
    assert told == ["before", "before"]
