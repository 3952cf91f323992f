"""Compiling a flow to plain data: what is encoded, what stays here, and how nodes and edges come out."""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executor.code import BodyCode, encode_code
from orchestrator import (
    Flow,
    InvalidFlowError,
    NodeTemplate,
    NotSerializableError,
    Stream,
    node,
    parameter,
)
from orchestrator.graph.compile import compile_flow
from orchestrator.spec import (
    ConstantInput,
    EdgeInput,
    FlowSpec,
    Locals,
    NodeSpec,
    ParameterInput,
    Unconnected,
)
from protocol.serialization import dumps, loads
from protocol.values import Local, Value


@node
def add(x: Any, y: Any = 1) -> Any:
    return x + y


@node(placement="inline")
def add_here(x: Any, y: Any = 1) -> Any:
    return x + y


@node
def numbers(upto: int) -> Iterator[int]:
    yield from range(upto)


@node(window=8, drain=False)
def fast_numbers(upto: int) -> Iterator[int]:
    yield from range(upto)


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


@node(placement="inline")
def numbers_here(upto: int) -> Iterator[int]:
    yield from range(upto)


@node(placement="inline")
def total_here(chunks: Stream[int]) -> int:
    return sum(chunks)


@node(multiple_outputs=True, keep=True)
class Divider:
    def call(self, x: int, y: int) -> tuple[int, int]:
        return divmod(x, y)


def compiled(
    flow: Flow, workers: int = 2, encoded: list[object] | None = None
) -> tuple[FlowSpec, Locals]:
    """``encoded`` collects every value and code that was encoded."""

    def note(thing: object) -> Value:
        if encoded is not None:
            encoded.append(thing)
        return encode_code(thing) if isinstance(thing, BodyCode) else dumps(thing)

    return compile_flow(flow, workers=workers, encode_code=note, encode_value=note)


def node_of(spec: FlowSpec, name: str) -> NodeSpec:
    return next(node for node in spec.nodes if node.name == name)


def test_nodes_come_out_with_their_ports_and_options() -> None:
    divide: Any = Divider
    with Flow() as f:
        f.d = divide(parameter("x"), 2)
        f.a = add(f.d.output(1))
        f.m = add.map(fast_numbers(3), ahead=5)
    spec, _ = compiled(f)
    divider = node_of(spec, "d")
    assert (divider.kind, divider.placement, divider.pinned) == ("mono", "process", True)
    assert (divider.multiple_outputs, divider.needed_outputs, divider.keep) == (True, 2, True)
    assert divider.place.startswith(f"{__file__}:")
    assert [port.input for port in divider.ports] == [ParameterInput("x"), ConstantInput(0)]
    assert [port.name for port in divider.ports] == ["x", "y"]
    assert [port.input for port in node_of(spec, "a").ports] == [EdgeInput(0, 1, 0, 0), Unconnected()]
    mapped = node_of(spec, "m")
    assert (mapped.kind, mapped.ahead, mapped.ports[0].run_level) == ("map", 5, 1)
    assert node_of(spec, "fast_numbers#0").drain is False


def test_a_spec_is_plain_data_that_survives_the_wire() -> None:
    with Flow() as f:
        f.g = numbers(parameter("upto", 3))
        f.t = total(f.g)
        f.m = add.map([1, 2], f.t)
        f.n = add(f.m)
    spec, _ = compiled(f)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=FlowSpec) == spec


def test_delays_are_on_the_edges_rule_19() -> None:
    with Flow() as f:
        f.a = add(0, f.b)
        f.b = add(f.a)
    spec, _ = compiled(f)
    assert node_of(spec, "a").ports[1].input == EdgeInput(1, 0, 1, 0)
    assert node_of(spec, "b").ports[0].input == EdgeInput(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("producer", "consumer", "workers", "window"),
    [
        (numbers, total, 2, 1),
        (numbers, total, 0, 0),
        (numbers_here, total_here, 2, 0),
        (numbers, total_here, 2, 1),
        (numbers_here, total, 2, 1),
        (fast_numbers, total, 2, 8),
        (fast_numbers, total, 0, 8),
    ],
)
def test_the_window_is_the_producers_or_follows_from_the_placements_A4(
    producer: Any, consumer: Any, workers: int, window: int
) -> None:
    with Flow() as f:
        f.t = consumer(producer(3))
    spec, _ = compiled(f, workers)
    edge = node_of(spec, "t").ports[0].input
    assert isinstance(edge, EdgeInput)
    assert edge.window == window


@pytest.mark.parametrize(("workers", "ahead"), [(0, 1), (1, 2), (3, 6)])
def test_a_map_looks_ahead_twice_the_workers_A8(workers: int, ahead: int) -> None:
    with Flow() as f:
        f.m = add.map(numbers(3))
    spec, _ = compiled(f, workers)
    assert node_of(spec, "m").ahead == ahead


def test_without_workers_nothing_is_encoded_so_nothing_need_be_picklable() -> None:
    lock = threading.Lock()

    @node
    def use(given: Any, limit: Any) -> bool:
        return given is lock

    encoded: list[object] = []
    with Flow() as f:
        f.a = use(lock, parameter("limit", lock))
    spec, local = compiled(f, 0, encoded)
    assert encoded == []
    assert node_of(spec, "a").placement == "inline"
    assert [code.payload for code in spec.codes] == [None]
    assert local.codes[spec.nodes[0].code] == BodyCode(use.__wrapped__, (), False, None)
    assert (spec.constants[0].payload, local.constants) == (None, {0: lock})
    assert (spec.parameters[0].payload, local.parameters) == (None, {"limit": lock})


def test_what_only_inline_nodes_use_stays_here_among_workers_too() -> None:
    lock = threading.Lock()
    with Flow() as f:
        f.a = add_here(lock)
        f.b = add(1)
    spec, local = compiled(f)
    assert [node.placement for node in spec.nodes] == ["inline", "process"]
    assert local.constants == {0: lock}
    assert spec.constants[1].payload is not None
    assert list(local.codes) == [node_of(spec, "a").code]


def test_each_template_and_each_constant_is_encoded_once() -> None:
    shared = [1, 2, 3]
    encoded: list[object] = []
    with Flow() as f:
        for _ in range(5):
            add(shared, shared)
    spec, _ = compiled(f, 2, encoded)
    assert len(encoded) == 2
    assert (len(spec.codes), len(spec.constants)) == (1, 1)
    assert (spec.constants[0].node, spec.constants[0].port) == (0, 0)


def test_equal_constants_that_differ_are_kept_apart() -> None:
    with Flow() as f:
        add(1, True)
        add(1.0, 1)
    spec, _ = compiled(f)
    assert [repr(loads(constant.payload)) for constant in spec.constants if constant.payload] == [
        "1",
        "True",
        "1.0",
    ]


def test_a_constant_used_on_both_sides_is_there_for_both() -> None:
    shared = [1]
    with Flow() as f:
        f.a = add(shared)
        f.b = add_here(shared)
    spec, local = compiled(f)
    assert [constant.payload is None for constant in spec.constants] == [False, True]
    assert local.constants[1] is shared


def test_a_parameter_default_is_encoded_if_a_worker_needs_it() -> None:
    with Flow() as f:
        f.a = add_here(parameter("n", 3))
        f.b = add(parameter("n", 3), parameter("m"))
    spec, local = compiled(f)
    by_name = {given.name: given for given in spec.parameters}
    assert by_name["n"].payload is not None
    assert not by_name["n"].required
    assert (by_name["m"].required, by_name["m"].payload) == (True, None)
    assert local.parameters == {}


def test_templates_of_equal_code_share_a_digest_and_local_ones_do_not() -> None:
    remote = [node(add.__wrapped__) for _ in range(2)]
    local = [node(placement="inline")(add.__wrapped__) for _ in range(2)]
    with Flow() as f:
        for template in (*remote, *local):
            template(1)
    spec, _ = compiled(f)
    digests = [node.code for node in spec.nodes]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert len(spec.codes) == 3
    assert all(len(digest) == 16 for digest in digests)
    again, _ = compiled(f)
    assert again.nodes[0].code == digests[0]
    assert again.nodes[2].code != digests[2]


def test_a_constant_that_does_not_pickle_is_named_with_its_node_port_and_place() -> None:
    with Flow() as f:
        f.a = add(1, (line for line in "ab"))
    with pytest.raises(NotSerializableError) as caught:
        compiled(f)
    message = str(caught.value)
    assert f"the constant for parameter 'y' of node 'a' (add, {__file__}:" in message
    assert "workers=0" in message
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value, InvalidFlowError)


def test_a_default_that_does_not_pickle_is_named_with_the_parameter_and_a_reader() -> None:
    with Flow() as f:
        f.a = add(parameter("lines", (line for line in "ab")))
    with pytest.raises(NotSerializableError, match=r"default of parameter 'lines' .*'x' of node 'a'"):
        compiled(f)


def test_code_that_does_not_pickle_is_named_with_its_template_and_node() -> None:
    lines = (line for line in "ab")

    @node
    def guarded(x: int) -> int:
        return x + len(list(lines))

    with Flow() as f:
        f.a = guarded(1)
    with pytest.raises(NotSerializableError, match=r"the code of guarded \(.*used by node 'a'"):
        compiled(f)


def test_a_node_inside_a_constant_is_refused_with_what_to_do() -> None:
    with Flow() as f:
        f.a = add(1)
        f.b = add({"deep": [f.a]})
    with pytest.raises(NotSerializableError, match=r"of node 'b' .*'a' .*stands by itself"):
        compiled(f)


def test_large_constants_keep_their_frames() -> None:
    def in_frames(thing: object) -> Value:
        return (b"head", bytearray(b"body"), memoryview(b"more"))

    with Flow() as f:
        f.a = add(1)
    spec, _ = compile_flow(f, workers=1, encode_code=encode_code, encode_value=in_frames)
    assert spec.constants[0].payload == (b"head", b"body", b"more")


def test_an_encoder_that_keeps_the_object_is_refused() -> None:
    with Flow() as f:
        f.a = add(1)
    with pytest.raises(NotSerializableError, match="instead of serializing"):
        compile_flow(f, workers=1, encode_code=encode_code, encode_value=Local)


# -- templates themselves -------------------------------------------------------------------------------


def test_a_template_that_workers_can_import_pickles_by_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
from orchestrator import node

@node
def add(x):
    return x

other = node(add.__wrapped__)
"""
    (tmp_path / "importable_nodes.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "importable_nodes", raising=False)  # and again at the end
    module = importlib.import_module("importable_nodes")
    assert pickle.loads(pickle.dumps(module.add)) is module.add
    # Another template of the same body is not what a worker would find under that name.
    copied = loads(dumps(module.other))
    assert isinstance(copied, NodeTemplate)
    assert copied is not module.add


def test_any_other_template_pickles_by_value() -> None:
    @node(window=3)
    def inner(x: int) -> int:
        return x + 1

    payload = dumps(inner)
    assert isinstance(payload, bytes)
    copied = pickle.loads(payload)
    assert copied is not inner
    assert copied.__wrapped__(1) == 2
    assert (copied.name, copied.options, copied.place) == (inner.name, inner.options, inner.place)
