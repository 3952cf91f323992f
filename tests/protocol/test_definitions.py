"""Classes that travel whole: once, under one name, as one class everywhere (H3)."""

from __future__ import annotations

import enum
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from protocol.definitions import renew
from protocol.serialization import DeserializationError, SerializationError, dumps, loads
from protocol.value_pickler import ValuePickler
from protocol.values import size_bytes

SOURCE = """
import dataclasses, enum

@dataclasses.dataclass
class Point:
    x: int = 0
    scale = 2
    def scaled(self): return Point(self.x * self.scale)
    def line(self): return Line(self, self)

@dataclasses.dataclass
class Line:
    start: Point
    end: Point

class Color(enum.Enum):
    RED = 1
"""


@pytest.fixture
def module() -> Iterator[Any]:
    """A module that exists in this process alone."""
    made = ModuleType("only_in_this_process")
    sys.modules[made.__name__] = made
    exec(SOURCE, made.__dict__)
    yield made
    del sys.modules[made.__name__]
    renew()


@pytest.fixture
def pickled_whole(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The names of each family that is pickled."""
    seen: list[tuple[str, ...]] = []
    original = ValuePickler._pickled_whole

    def noted(self: ValuePickler, family: list[type]) -> bytes:
        done = original(self, family)
        seen.append(tuple(kind.__name__ for kind in family))
        return done

    monkeypatch.setattr(ValuePickler, "_pickled_whole", noted)
    return seen


class Elsewhere:
    """Another process, which knows nothing but ``sys.path``."""

    def __init__(self) -> None:
        code = (
            f"import sys; sys.path[:] = {sys.path!r}\n"
            "from protocol.serialization import dumps, loads\n"
            "for line in sys.stdin:\n"
            "    try:\n"
            "        exec(line)\n"
            "    except Exception as error:\n"
            "        print(repr(error), flush=True)\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def give(self, value: object) -> None:
        self.do(f"given = loads({dumps(value)!r})")

    def take(self, expression: str) -> Any:
        return loads(eval(self.ask(f"dumps({expression})")))

    def ask(self, expression: str) -> str:
        self.do(f"print(repr({expression}), flush=True)")
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def do(self, statement: str) -> None:
        assert self._process.stdin is not None
        print(statement, file=self._process.stdin, flush=True)

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    started = Elsewhere()
    yield started
    started.close()


def test_a_class_is_pickled_whole_once(module: Any, pickled_whole: list[tuple[str, ...]]) -> None:
    first = dumps([module.Point(1)])
    assert pickled_whole == [("Point", "Line"), ("Point", "Line")]  # found, then all of them
    assert dumps([module.Point(1)]) == first
    assert loads(first) == [module.Point(1)]
    kind = module.Point
    dumps(module.Line(kind(), kind()))
    dumps(lambda: kind)
    assert len(pickled_whole) == 2


def test_a_class_is_itself_again_where_it_comes_from(module: Any, elsewhere: Elsewhere) -> None:
    elsewhere.give(module.Point(3))
    line = elsewhere.take("given.scaled().line()")
    assert type(line) is module.Line
    assert type(line.start) is module.Point
    assert line == module.Line(module.Point(6), module.Point(6))


def test_values_that_come_one_by_one_are_of_one_class_there(module: Any, elsewhere: Elsewhere) -> None:
    elsewhere.give(module.Point(3))
    elsewhere.do("point = given")
    elsewhere.give(module.Line(module.Point(3), module.Point(4)))
    assert elsewhere.ask("(type(given.start) is type(point), given.start == point)") == "(True, True)"
    kind = module.Point
    elsewhere.give(lambda: kind(3))
    assert elsewhere.ask("(type(given()) is type(point), given() == point)") == "(True, True)"


def test_what_is_done_to_a_class_elsewhere_stays_there(module: Any, elsewhere: Elsewhere) -> None:
    elsewhere.give(module.Point(3))
    elsewhere.do("type(given).scale = 99")
    assert elsewhere.take("given.scaled()") == module.Point(297)
    assert elsewhere.take("type('Derived', (type(given),), {})").scale == 2
    assert module.Point.scale == 2


def test_changes_of_a_class_travel_when_definitions_are_renewed(
    module: Any, elsewhere: Elsewhere
) -> None:
    elsewhere.give(module.Point(3))
    module.Point.scale = 5
    elsewhere.give(module.Point(3))
    assert elsewhere.ask("given.scaled().x") == "6"
    renew()
    elsewhere.give(module.Point(3))
    assert elsewhere.take("given.scaled()") == module.Point(15)
    assert loads(eval(elsewhere.ask("dumps(given)"))) == module.Point(3)


def test_a_class_made_elsewhere_is_one_here_and_is_sent_on_as_it_came(
    elsewhere: Elsewhere, pickled_whole: list[tuple[str, ...]]
) -> None:
    elsewhere.do("Made = type('Made', (), {'x': 1})")
    one, other = elsewhere.take("Made()"), elsewhere.take("Made()")
    assert type(one) is type(other)
    elsewhere.give(one)
    assert elsewhere.ask("type(given) is Made") == "True"
    assert pickled_whole == []


def test_classes_that_all_need_one_another_take_the_room_of_each_once() -> None:
    names = [f"Node{index}" for index in range(24)]
    methods = "".join(f"    def make_{name}(self): return {name}()\n" for name in names)
    made = ModuleType("entangled")
    sys.modules["entangled"] = made
    try:
        exec("".join(f"class {name}:\n{methods}\n" for name in names), made.__dict__)
        one = size_bytes(dumps(made.__dict__["Node0"]()))
        every = size_bytes(dumps([made.__dict__[name]() for name in names]))
        assert every < 1.2 * one
    finally:
        del sys.modules["entangled"]


class Shade(enum.Enum):
    DARK = 1


class Pair(NamedTuple):
    left: int
    right: int


def test_enums_named_tuples_local_classes_and_metaclasses_come_back_as_they_are(module: Any) -> None:
    class Meta(type):
        pass

    class Local(metaclass=Meta):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Local)

        __hash__ = None  # type: ignore[assignment]

    for value in (module.Color.RED, Shade.DARK, Pair(1, 2), Local(), Local, type(None), ...):
        assert loads(dumps(value)) == value
        assert type(loads(dumps(value))) is type(value)


def test_a_class_that_cannot_be_pickled_whole_is_refused_by_its_part() -> None:
    class Locked:
        lock = threading.Lock()

    for _ in range(2):
        with pytest.raises(SerializationError, match=r"\.lock cannot be pickled"):
            dumps([Locked()])


def test_a_definition_keeps_no_class_alive() -> None:
    class Brief:
        pass

    value = dumps(Brief())
    brief = weakref.ref(Brief)
    del Brief
    gc.collect()
    assert brief() is None
    assert type(loads(value)).__name__ == "Brief"


def test_what_is_no_definition_is_an_error_of_unpickling(module: Any) -> None:
    value = dumps(module.Point)
    assert isinstance(value, bytes)
    renew()
    broken = value.replace(
        b"\x80\x05", b"\x80\x06"
    )  # in the family too; as another process would get it
    with pytest.raises(DeserializationError):
        loads(broken)
