"""Parallel maps (SEMANTICS A8): the hidden nodes that split their source and fold their results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from executor.body import NO_VALUE
from executor.fold import collect, folding, split
from orchestrator import Flow, FlowDefinitionError, Stream, node, parameter
from orchestrator.graph.finalized import ConstantSource, EdgeSource, GraphNode, ParameterSource
from orchestrator.graph.flow import graph_of, publish


@node
def square(x: int, offset: int = 0) -> int:
    return x * x + offset


@node
def numbers(upto: int) -> Iterator[int]:
    yield from range(upto)


@node
def listed(upto: int) -> list[int]:
    return list(range(upto))


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


@node
def length(items: list[int], also: Any = None) -> int:
    return len(items)


@node(multiple_outputs=True)
def both(x: int) -> tuple[int, int]:
    return x, -x


def nodes(flow: Flow) -> dict[str, GraphNode]:
    return {node.name: node for node in graph_of(flow).nodes}


def test_a_map_of_a_stream_is_a_stream_and_needs_nothing_hidden() -> None:
    with Flow() as f:
        f.g = numbers(3)
        f.m = square.map(f.g, 5)
        f.t = total(f.m)
    assert list(nodes(f)) == ["g", "m", "t"]
    mapped = nodes(f)["m"]
    assert (mapped.kind, mapped.template) == ("map", square)
    assert [(port.name, port.run_level) for port in mapped.ports] == [("x", 1), ("offset", 0)]
    assert mapped.inputs == [EdgeSource(0, 0), ConstantSource(5)]


def test_a_map_of_a_map_reads_its_stream() -> None:
    with Flow() as f:
        f.m = square.map(square.map(numbers(3)))
    assert not any(node.hidden for node in graph_of(f).nodes)


@pytest.mark.parametrize(
    ("source", "fed_by"),
    [
        (lambda: listed(3), EdgeSource(0, 0)),
        (lambda: [1, 2], ConstantSource([1, 2])),
        (lambda: parameter("items"), ParameterSource("items")),
    ],
)
def test_a_source_that_is_no_stream_passes_through_a_splitting_node(source: Any, fed_by: object) -> None:
    with Flow() as f:
        f.m = square.map(source())
        f.t = total(f.m)
    splitting = nodes(f)["m.split"]
    assert (splitting.hidden, splitting.kind, splitting.template.__wrapped__) == (True, "stream", split)
    assert splitting.inputs == [fed_by]
    assert nodes(f)["m"].inputs[0] == EdgeSource(splitting.number, 0)


def test_a_list_may_be_defined_after_the_map_that_splits_it() -> None:
    with Flow() as f:
        f.m = square.map(f.items)
        f.items = listed(3)
    assert nodes(f)["m.split"].inputs == [EdgeSource(1, 0)]


def test_the_readers_of_the_final_value_read_a_hidden_fold() -> None:
    with Flow() as f:
        f.m = square.map(numbers(3))
        f.a = length(f.m)
        f.b = length(f.m, f.m)
        f.t = total(f.m)
    fold = nodes(f)["m.fold"]
    assert (fold.hidden, fold.kind, fold.template.__wrapped__) == (True, "mono", collect)
    assert fold.inputs == [EdgeSource(nodes(f)["m"].number, 0)]
    assert nodes(f)["a"].inputs[0] == EdgeSource(fold.number, 0)
    assert nodes(f)["b"].inputs == [EdgeSource(fold.number, 0)] * 2
    assert nodes(f)["t"].inputs == [EdgeSource(nodes(f)["m"].number, 0)]


def test_a_map_that_is_folded_for_one_reader_is_still_a_stream_for_another() -> None:
    with Flow() as f:
        f.m = square.map(numbers(3))
        f.s = length(f.m)
        f.again = square.map(f.m, f.s)
    assert list(nodes(f)) == ["numbers#0", "m", "s", "again", "m.fold"]
    assert nodes(f)["again"].inputs == [
        EdgeSource(nodes(f)["m"].number, 0),
        EdgeSource(nodes(f)["s"].number, 0),
    ]


def test_accumulate_of_the_template_folds_the_results() -> None:
    @node(accumulate=lambda acc, chunk: acc + chunk, placement="inline", keep=True)
    def mapped(x: int) -> int:
        return x

    with Flow() as f:
        f.m = mapped.map([1, 2, 3])
        f.a = length(f.m)
    fold = nodes(f)["m.fold"]
    assert fold.template.__wrapped__(iter([1, 2, 3])) == 6
    assert (fold.template.options.placement, fold.template.options.keep) == ("inline", True)
    assert nodes(f)["m.split"].template.options.placement == "inline"


def test_every_output_that_is_read_has_a_fold_of_its_own() -> None:
    with Flow() as f:
        f.m = both.map(numbers(3))
        f.a = length(f.m.output(1))
    assert [node.name for node in graph_of(f).nodes if node.hidden] == ["m.fold", "m.fold[1]"]
    assert nodes(f)["a"].inputs[0] == EdgeSource(nodes(f)["m.fold[1]"].number, 0)
    assert nodes(f)["m"].needed_outputs == 2


class Recorded:
    def __init__(self, data: dict[tuple[int, int], tuple[Any, ...]]) -> None:
        self.data = data

    def get(self, node: int, run_level: int) -> tuple[Any, ...] | None:
        return self.data.get((node, run_level))


def test_get_data_of_a_map_is_what_its_folds_made_and_its_newest_chunk_its_own() -> None:
    with Flow() as f:
        f.m = both.map(numbers(3))
        f.a = length(f.m.output(1))
    assert f.m.get_data() is None
    map_, first, second = (nodes(f)[name].number for name in ("m", "m.fold", "m.fold[1]"))
    data: dict[tuple[int, int], tuple[Any, ...]] = {(map_, 1): (7, 8), (first, 0): ([1],)}
    publish(f, Recorded(data))
    assert f.m.get_data() is None
    data[second, 0] = ([2],)
    assert f.m.get_data() == ([1], [2])
    assert f.m.get_data(run_level=1) == (7, 8)


def test_a_map_that_nobody_reads_for_a_final_value_has_none() -> None:
    with Flow() as f:
        f.m = square.map(numbers(3))
    publish(f, Recorded({}))
    assert f.m.get_data() is None


def test_the_element_must_be_connected_to_something_that_exists() -> None:
    with pytest.raises(FlowDefinitionError, match="reads 'missing'") as caught, Flow() as f:
        f.m = square.map(f.missing)
    assert len(caught.value.problems) == 1


def test_a_cycle_of_maps_cannot_begin_and_is_told_so() -> None:
    with Flow() as f:
        f.m = square.map(f.m)
    with pytest.raises(FlowDefinitionError, match=r"cannot begin: 'm' \(square, .*A map cannot begin"):
        f.plan()


# -- the bodies -----------------------------------------------------------------------------------------


def test_split_yields_each_item() -> None:
    assert list(split((3, 4))) == [3, 4]


def test_collect_lists_the_chunks() -> None:
    chunks: Any = iter([3, 4])
    assert collect(chunks) == [3, 4]


def test_folding_begins_with_the_first_chunk_and_has_no_value_without_one() -> None:
    concatenate = folding(lambda accumulated, chunk: f"{accumulated}{chunk}")
    chunks: Any = iter(["a", "b", "c"])
    assert concatenate(chunks) == "abc"
    empty: Any = iter([])
    assert concatenate(empty) is NO_VALUE
