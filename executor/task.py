"""The bodies that run an executor's tasks in a worker: a function, called on arguments that came as one.

Workers import this module; it is no place for anything that only the executor's own process needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final, TypeAlias

from executor.errors import InitializerFailed
from protocol.serialization import dumps, loads
from protocol.values import Value

Function: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Initializer:
    """What each worker runs once, before its first task. ``call`` is ``(function, args)``, pickled.

    ``executor`` names the executor it belongs to, within the process that made it.
    """

    executor: int
    call: Value


class Call:
    """One function as a body; its input is ``(args, kwargs)``, or with ``each`` a list of ``args``."""

    __slots__ = ("each", "function", "initializer")

    def __init__(self, function: Function, *, each: bool, initializer: Initializer | None) -> None:
        self.function = function
        self.each = each
        self.initializer = initializer

    def __call__(self, arguments: Any) -> object:
        return _run(self.function, arguments, each=self.each)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.initializer is None:
            return _call, (self.function, self.each)
        # Unpickled after it has run: it may be what makes the function importable.
        return InitializedCall, (dumps(self.function), self.each, self.initializer)


class InitializedCall:
    """A :class:`Call` in a worker, where the first one runs the initializer."""

    __slots__ = ("_each", "_function", "_initializer", "_pickled")

    def __init__(self, pickled: Value, each: bool, initializer: Initializer) -> None:
        self._pickled = pickled
        self._function: Any = None
        self._each = each
        self._initializer = initializer

    def __call__(self, arguments: Any) -> object:
        if self._function is None:
            initialized = _initialize(self._initializer)
            self._function = loads(self._pickled)
            initialized.share_globals(self._function)
        return _run(self._function, arguments, each=self._each)


class Apply:
    """As :class:`Call`, for a function that comes as the first input with each task, pickled."""

    __slots__ = ("each", "initializer")

    def __init__(self, *, each: bool, initializer: Initializer | None) -> None:
        self.each = each
        self.initializer = initializer

    def __call__(self, pickled: Value, arguments: Any) -> object:
        initialized = None if self.initializer is None else _initialize(self.initializer)
        function: Any = loads(pickled)
        if initialized is not None:
            initialized.share_globals(function)
        return _run(function, arguments, each=self.each)


def _call(function: Function, each: bool) -> Call:
    return Call(function, each=each, initializer=None)


def _run(function: Function, arguments: Any, *, each: bool) -> object:
    if each:
        calls: Iterable[tuple[Any, ...]] = arguments
        return [function(*args) for args in calls]
    args, kwargs = arguments
    return function(*args, **kwargs)


# -- initializers ----------------------------------------------------------------------------------


class _Initialized:
    """How an initializer ended: the globals of its module that it has set, or why it failed."""

    def __init__(self, initializer: Initializer) -> None:
        self.failed: InitializerFailed | None = None
        self.module = ""
        self.set_globals: dict[str, object] = {}
        try:
            call: Any = loads(initializer.call)
            function, args = call
            own = _plain_function(function)
            before = dict(own.__globals__) if own is not None else {}
            function(*args)
            if own is not None:
                self.module = own.__module__
                self.set_globals = _set_since(before, own.__globals__)
        except Exception as error:  # noqa: BLE001 - the user's code
            self.failed = InitializerFailed(type(error).__name__, str(error))
            self.failed.__cause__ = error

    def share_globals(self, function: Function) -> None:
        """Let a function of the same module see them, though it was pickled by value on its own."""
        own = _plain_function(function)
        if own is not None and own.__module__ == self.module:
            own.__globals__.update(self.set_globals)


_initialized: dict[int, _Initialized] = {}  # by executor


def _initialize(initializer: Initializer) -> _Initialized:
    """Run it, unless this process has."""
    known = _initialized.get(initializer.executor)
    if known is None:
        known = _initialized[initializer.executor] = _Initialized(initializer)
    if known.failed is not None:
        raise known.failed
    return known


def _set_since(before: dict[str, Any], namespace: dict[str, Any]) -> dict[str, Any]:
    """What was assigned, and what may have been changed where it is."""
    return {
        name: value
        for name, value in namespace.items()
        if not name.startswith("__")
        and (before.get(name, before) is not value or not isinstance(value, _UNCHANGING))
    }


def _plain_function(function: Any) -> FunctionType | None:
    """The function within partials and bound methods."""
    while isinstance(function, partial | MethodType):
        function = function.func if isinstance(function, partial) else function.__func__
    return function if isinstance(function, FunctionType) else None


_UNCHANGING: Final = (int, float, complex, str, bytes, FunctionType, ModuleType, type, type(None))
