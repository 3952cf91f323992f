"""Finds the part of an object that does not pickle, and the way to it.

A search from the object inwards: a part is followed if it fails by itself. It tries to pickle what
the pickler would have tried, in the same order, so it calls the user's ``__reduce__`` and
``__getstate__`` again; only ever done after pickling has failed.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any, Final, TypeAlias

_DEPTH_LIMIT: Final = 50
_TRIES_LIMIT: Final = 5_000
"""How many parts are tried before the search is content with what it has."""

_Part: TypeAlias = tuple[str, object]  # what to append to the path, and what is there


def find_unpicklable(
    value: object, error: BaseException, dump: Callable[[object], object], name: str = "value"
) -> tuple[str, str]:
    """The path to the innermost part that fails, ``value['model'][3].lock``, and the reason.

    ``error`` is what pickling the whole has raised.
    """
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        return name, "it is nested too deeply"  # no part of it is to blame
    search = _Search(dump)
    path, part = name, value
    for _ in range(_DEPTH_LIMIT):
        found = search.first_failing(part)
        if found is None:
            break
        step, part, error = found
        path += step
    return path, f"{type(error).__name__}: {_text(error)}"


class _Search:
    def __init__(self, dump: Callable[[object], object]) -> None:
        self._dump = dump
        self._tries_left = _TRIES_LIMIT
        # Kept alive, so that an id stands for one object all the time.
        self._seen: dict[int, object] = {}

    def first_failing(self, whole: object) -> tuple[str, object, BaseException] | None:
        for step, part in _parts(whole):
            if id(part) in self._seen:
                continue
            if self._tries_left <= 0:
                return None
            self._tries_left -= 1
            self._seen[id(part)] = part
            try:
                self._dump(part)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's __reduce__ raises anything
                return step, part, error
        return None


def _parts(whole: object) -> Iterator[_Part]:
    """What the pickler pickles of an object, in its order; nothing of one that cannot say."""
    if isinstance(whole, (list, tuple)) and type(whole) in (list, tuple):
        yield from ((f"[{index}]", part) for index, part in enumerate(whole))
    elif type(whole) is dict:
        yield from _items(whole)
    elif isinstance(whole, (set, frozenset)) and type(whole) in (set, frozenset):
        yield from ((f".<element {_short(part)}>", part) for part in whole)
    elif isinstance(whole, FunctionType):
        yield from _parts_of_function(whole)
    elif isinstance(whole, MethodType):
        yield ".__self__", whole.__self__
        yield ".__func__", whole.__func__
    elif isinstance(whole, type):
        attributes = vars(whole).items()
        yield from ((f".{name}", part) for name, part in attributes if name not in _CLASS_MACHINERY)
    else:
        yield from _parts_of_instance(whole)


_CLASS_MACHINERY: Final = frozenset({"__dict__", "__weakref__", "__doc__", "__module__"})


def _items(mapping: dict[Any, Any]) -> Iterator[_Part]:
    for key, part in mapping.items():
        yield f".<key {_short(key)}>", key
        yield f"[{_short(key)}]", part


def _parts_of_function(function: FunctionType) -> Iterator[_Part]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f".<captured {name}>", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for index, default in enumerate(function.__defaults__ or ()):
        yield f".<default {index}>", default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield f".<default {name}>", default
    used = function.__globals__
    yield from ((f".<global {name}>", used[name]) for name in code.co_names if name in used)


def _parts_of_instance(instance: Any) -> Iterator[_Part]:
    reduce = copyreg.dispatch_table.get(type(instance))
    try:
        reduced = reduce(instance) if reduce is not None else instance.__reduce_ex__(5)
    except Exception:  # noqa: BLE001 - then the instance itself is what fails
        return
    if not isinstance(reduced, tuple) or len(reduced) < 2 or not isinstance(reduced[1], tuple):
        return
    arguments: tuple[object, ...] = reduced[1]
    state, items, pairs = (*reduced[2:5], None, None, None)[:3]
    yield from _parts_of_state(state)
    if items is not None:
        yield from ((f"[{index}]", part) for index, part in enumerate(items))
    if pairs is not None:
        yield from _items(dict(pairs))
    # Often the class, and what has already been met as an attribute.
    yield from ((f".<argument {index}>", part) for index, part in enumerate(arguments))


def _parts_of_state(state: Any) -> Iterator[_Part]:
    # The default state of an instance with __slots__ is (its __dict__ or None, its slots).
    states = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    if all(each is None or isinstance(each, dict) for each in states):
        for attributes in states:
            yield from ((f".{name}", part) for name, part in (attributes or {}).items())
    else:
        yield ".<state>", state


def _short(key: object) -> str:
    try:
        text = repr(key)
    except Exception:  # noqa: BLE001 - the user's __repr__
        text = f"<{type(key).__name__}>"
    return text if len(text) <= 40 else f"{text[:37]}..."


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the user's __str__
        return "(its text cannot be had)"
