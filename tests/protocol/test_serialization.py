"""Values arrive equal and as the receiver's own; refusals say where (FAULTS F15, F16, F18; H3)."""

from __future__ import annotations

import colorsys
import json
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import importing, serialization
from protocol.serialization import (
    OUT_OF_BAND_BYTES,
    DeserializationError,
    SerializationError,
    dump_exception,
    dumps,
    loads,
    register_by_value,
    worker_can_import,
)
from protocol.values import Local, Value, size_bytes

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(plain)
def test_plain_values_survive_a_round_trip(value: object) -> None:
    assert loads(dumps(value)) == value


@given(st.integers(0, 4 * OUT_OF_BAND_BYTES // 8))
def test_arrays_arrive_equal_private_and_writable_whatever_their_size(length: int) -> None:
    array = np.arange(length, dtype=np.int64)
    value = dumps({"array": array})
    assert isinstance(value, tuple) == (array.nbytes >= OUT_OF_BAND_BYTES)
    first, second = (loads(value)["array"] for _ in range(2))  # type: ignore[index]
    assert np.array_equal(first, array)
    first[:] = -1
    assert np.array_equal(second, array)
    assert np.array_equal(array, np.arange(length))


def test_a_value_does_not_change_when_its_array_is_overwritten_afterwards() -> None:
    array = np.zeros(OUT_OF_BAND_BYTES)
    value = dumps(array)
    array[:] = 1
    assert not loads(value).any()  # type: ignore[attr-defined]


def test_a_read_only_array_stays_read_only() -> None:
    array = np.zeros(OUT_OF_BAND_BYTES)
    array.flags.writeable = False
    assert not loads(dumps(array)).flags.writeable  # type: ignore[attr-defined]


def test_buffers_may_arrive_as_read_only_memory() -> None:
    value: Any = dumps(np.arange(OUT_OF_BAND_BYTES))
    array: Any = loads(tuple(memoryview(part).toreadonly() for part in value))
    array[0] = 7
    assert array[1] == 1


def test_a_value_too_large_to_travel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization, "VALUE_LIMIT_BYTES", 100)
    for value in (bytes(200), [bytes(60), bytes(60)], np.zeros(OUT_OF_BAND_BYTES)):
        with pytest.raises(SerializationError, match=r"takes \d+ bytes, and at most 100 can travel"):
            dumps(value)


def test_a_local_value_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="never serialized"):
        loads(Local(1))


# -- by reference and by value ---------------------------------------------------------------------


def travels_as(value: Value) -> bytes:
    assert isinstance(value, bytes)
    return value


def test_what_workers_can_import_goes_by_reference() -> None:
    assert travels_as(dumps(pickle.Unpickler)) == pickle.dumps(pickle.Unpickler, 5)
    assert len(travels_as(dumps(json_decoder()))) < 200


def json_decoder() -> type:
    return json.JSONDecoder


@pytest.fixture
def unimportable() -> Any:
    """A module that exists in this process alone, with a class, a function and a subclass."""
    module = ModuleType("only_here")
    source = (
        "import dataclasses, math\n"
        "@dataclasses.dataclass\n"
        "class Point:\n"
        "    x: int\n"
        "    def length(self): return math.hypot(self.x, scale)\n"
        "class Odd(Exception): pass\n"
        "scale = 4\n"
        "def double(x): return 2 * x\n"
    )
    sys.modules["only_here"] = module
    exec(source, module.__dict__)
    yield module
    del sys.modules["only_here"]


def in_a_fresh_interpreter(value: Value, expression: str) -> str:
    """What an expression of ``loaded`` gives in a process that knows only ``sys.path``."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from protocol.serialization import loads\n"
        f"loaded = loads({value!r})\nprint({expression})"
    )
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def test_instances_of_a_module_that_only_we_have_arrive_with_their_class(unimportable: Any) -> None:
    value = dumps([unimportable.Point(3), unimportable.double])
    assert in_a_fresh_interpreter(value, "loaded[0].length(), loaded[1](21)") == "5.0 42"


def test_a_class_that_travelled_by_value_comes_back_as_itself_h3(unimportable: Any) -> None:
    point = loads(dumps(unimportable.Point(3)))
    assert type(point) is unimportable.Point


def test_functions_of_this_test_module_travel_by_value_if_workers_cannot_import_it() -> None:
    by_value = not worker_can_import(__name__)
    assert (b"co_" in travels_as(dumps(helper)) or len(travels_as(dumps(helper))) > 300) is by_value


def helper() -> int:
    return 1


def test_a_registered_module_travels_by_value_though_it_could_be_imported() -> None:
    assert len(travels_as(dumps(colorsys.rgb_to_hls))) < 100
    register_by_value(colorsys)
    try:
        assert len(travels_as(dumps(colorsys.rgb_to_hls))) > 300
        assert not worker_can_import("colorsys")
    finally:
        importing._by_value.discard("colorsys")
        cloudpickle.unregister_pickle_by_value(colorsys)


def test_lambdas_and_closures_travel() -> None:
    offset = 40
    assert loads(dumps(lambda x: x + offset))(2) == 42  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "importable"),
    [
        ("sys", True),
        ("json", True),
        ("json.decoder", True),
        ("numpy.linalg", True),
        ("protocol.framing", True),
        ("__main__", False),
        ("__mp_main__", False),
        ("__orchestrator_job__", False),
        ("json.nothing", False),
        ("no_such_module", False),
        ("no_such_package.module", False),
        ("", False),
    ],
)
def test_what_a_worker_can_import(name: str, importable: bool) -> None:
    assert worker_can_import(name) is importable


def test_that_a_module_is_loaded_does_not_make_it_importable(unimportable: Any) -> None:
    assert not worker_can_import("only_here")


def test_importable_is_judged_anew_when_the_path_changes(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "comes_later.py").touch()
    assert not worker_can_import("comes_later")
    monkeypatch.syspath_prepend(tmp_path)
    assert worker_can_import("comes_later")


# -- refusals --------------------------------------------------------------------------------------


@dataclass
class Model:
    weights: list[int] = field(default_factory=list)
    lock: object = None


class Slotted:
    __slots__ = ("inner",)

    def __init__(self, inner: object) -> None:
        self.inner = inner


class Stateful:
    def __init__(self) -> None:
        self.dropped = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        return {"kept": {"event": threading.Lock()}}


class Raising:
    def __reduce__(self) -> str:
        raise KeyError("told to fail")


class Entries(dict[str, object]):
    pass


def captures(lock: object) -> Any:
    return lambda: lock


@pytest.mark.parametrize(
    ("make", "path", "reason"),
    [
        (lambda lock: lock, "value", "lock"),
        (lambda lock: {"model": [0, 1, 2, Model([1], lock)]}, "value['model'][3].lock", "lock"),
        (lambda lock: (1, Slotted([lock])), "value[1].inner[0]", "lock"),
        (lambda lock: Stateful(), "value.kept['event']", "lock"),
        (lambda lock: [Raising()], "value[0]", "KeyError: 'told to fail'"),
        (lambda lock: [captures(lock)], "value[0].<captured lock>", "lock"),
        (lambda lock: Entries(a=1, b=lock), "value['b']", "lock"),
        (lambda lock: {1: 1, 2: (n for n in [1])}, "value[2]", "generator"),
        (lambda lock: ValueError("x", lock), "value.<argument 1>", "lock"),
    ],
)
def test_the_refusal_names_the_path_to_the_part_that_does_not_pickle_f15(
    make: Any, path: str, reason: str
) -> None:
    with pytest.raises(SerializationError) as caught:
        dumps(make(threading.Lock()))
    assert caught.value.path.startswith(path)
    assert reason in caught.value.reason
    assert str(caught.value).startswith(f"{caught.value.path} cannot be pickled: ")
    assert caught.value.__cause__ is not None


def test_a_cyclic_object_is_searched_once() -> None:
    cyclic: list[object] = []
    cyclic.append(cyclic)
    cyclic.append(threading.Lock())
    with pytest.raises(SerializationError):
        dumps(cyclic)


def test_deep_nesting_is_refused_with_a_sentence_f18() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(SerializationError, match="value cannot be pickled: it is nested too deeply"):
        dumps(nested)
    while nested:  # taken apart one by one: freeing it would recurse as deeply
        nested = nested.pop()  # type: ignore[assignment]


@given(st.binary(max_size=60))
def test_bytes_that_are_no_pickle_are_one_kind_of_error(garbage: bytes) -> None:
    with suppress(DeserializationError):
        loads(b"\x80\x05" + garbage)


@pytest.mark.parametrize(
    "error", [SerializationError("value.x", "it is a lock"), DeserializationError("no")]
)
def test_errors_survive_a_pickle_round_trip(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.args, str(copy)) == (error.args, str(error))


# -- exceptions ------------------------------------------------------------------------------------


class TwoArguments(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__(one)
        self.two = two


class Shifty(Exception):
    def __reduce__(self) -> Any:
        return (ValueError, ("another type",))


class Exits(Exception):
    def __reduce__(self) -> Any:
        return (sys.exit, (3,))


def test_an_exception_that_survives_the_round_trip_travels() -> None:
    value = dump_exception(ValueError("bad", 7))
    assert value is not None
    assert size_bytes(value) < 200
    error = loads(value)
    assert type(error) is ValueError
    assert error.args == ("bad", 7)


@pytest.mark.parametrize(
    "error",
    [
        TwoArguments(1, 2),
        Shifty(),
        ValueError(threading.Lock()),
        ExceptionGroup("several", [TwoArguments(1, 2)]),
    ],
    ids=["two arguments", "another type", "unpicklable", "group"],
)
def test_an_exception_that_does_not_survive_is_left_to_its_text_f16(error: BaseException) -> None:
    assert dump_exception(error) is None


def test_an_exception_that_exits_when_unpickled_is_left_to_its_text_f17() -> None:
    assert dump_exception(Exits()) is None
