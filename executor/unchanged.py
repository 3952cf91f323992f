"""Tells whether a function that travels by value would be pickled as it was before.

Pickling by value takes longer than many tasks do, so it is done once where that is safe: where all that
the function is made of (its code, the globals and the closure that it reads) is the same object as
then, and of a kind that does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any, Final, TypeAlias

from executor.code import by_reference
from protocol.serialization import worker_can_import

_Namespace: TypeAlias = dict[str, Any]


class Ingredients:
    """What a function's pickle is made of, at the time of asking. O(names that the function uses).

    ``are_fixed``: nothing of it can change without one of its names being bound anew.
    """

    def __init__(self, function: FunctionType) -> None:
        self.are_fixed = True
        self._functions: list[tuple[FunctionType, CodeType, tuple[Any, ...] | None]] = []
        self._names: list[tuple[_Namespace, str, object]] = []
        self._cells: list[tuple[CellType, object]] = []
        self._seen: set[int] = set()
        self._add(function)

    def are_unchanged(self) -> bool:
        """Whether every name is bound to what it was; only asked where they are fixed."""
        for function, code, defaults in self._functions:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return False
        for namespace, name, value in self._names:
            if namespace.get(name, _UNBOUND) is not value:
                return False
        return all(_content(cell) is value for cell, value in self._cells)

    def _add(self, function: FunctionType) -> None:
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        self._functions.append((function, function.__code__, function.__defaults__))
        if function.__dict__ or function.__kwdefaults__:
            self.are_fixed = False  # dicts, which change
        for value in function.__defaults__ or ():
            self._judge(value)
        for cell in function.__closure__ or ():
            value = _content(cell)
            self._cells.append((cell, value))
            self._judge(value)
        for name in set(_names(function.__code__)):
            value = function.__globals__.get(name, _UNBOUND)
            self._names.append((function.__globals__, name, value))
            self._judge(value)

    def _judge(self, value: object) -> None:
        if type(value) in _ATOMS or value is _UNBOUND:
            return
        if isinstance(value, tuple) and type(value) is tuple:
            for each in value:
                self._judge(each)
        elif isinstance(value, FunctionType) and by_reference(value) is None:
            self._add(value)
        elif not _is_importable(value):
            self.are_fixed = False


class _Unbound:
    pass


_UNBOUND: Final = _Unbound()
_ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # nothing has been assigned yet
        return _UNBOUND


def _is_importable(value: object) -> bool:
    if isinstance(value, ModuleType):
        return worker_can_import(value.__name__)
    return (
        isinstance(value, FunctionType | BuiltinFunctionType | type) and by_reference(value) is not None
    )


def _names(code: CodeType) -> Iterator[str]:
    """The names it may look up in its globals, and some others; nested functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
