"""The instances of classes that are nodes, and their states on the way to whoever keeps them.

A node's state is what pickling its instance would store: its attributes, or what ``__getstate__`` makes
of them. It counts from the end of a run on; a run that fails or is given up leaves no trace in it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from types import ModuleType
from typing import Any, Final, TypeAlias

from executor.host import Invocation, Start
from protocol.messages import NodeId, RunId
from protocol.serialization import DeserializationError, SerializationError, dumps, dumps_or_none
from protocol.values import Local, Value

Load: TypeAlias = Callable[[Value], object]
Save: TypeAlias = Callable[[object], Value]


class StateError(Exception):
    """A node's state cannot leave its instance, or not make one; the text says why."""


class Instances:
    """One instance for each node of each run, from its first invocation to ``release``."""

    def __init__(self, load: Load, save: Save) -> None:
        self._load = load
        self._save = save
        self._held: dict[tuple[RunId, NodeId], Any] = {}

    def take(self, invocation: Invocation, kind: type) -> Any:
        """The instance to run: the one that is held, or a new one of what the invocation starts from.

        Raises:
            StateError: what it says does not fit the class, or cannot be unpickled; or the state was
                resident elsewhere.
            Exception: whatever the class's constructor raises.
        """
        key = (invocation.key.run, invocation.key.node)
        may_go_on = invocation.start is None or invocation.resumes
        instance = self._held.get(key) if may_go_on else None
        if instance is None:
            if invocation.resumes and not invocation.checkpoint:
                raise StateError(_LOST)
            instance = self._held[key] = self._made(kind, invocation.start or _NEW)
        return instance

    def checkpoint(self, invocation: Invocation) -> Value | None:
        """The state after a run, if the invocation asks for it.

        Raises:
            StateError: it does not pickle.
        """
        if not invocation.checkpoint:
            return None
        instance = self._held[invocation.key.run, invocation.key.node]
        state = instance.__getstate__()
        try:
            return self._save(state)
        except SerializationError as error:
            raise StateError(f"{_blame(state) or error}; {_CURE}") from error

    def abandon(self, invocation: Invocation) -> None:
        """A run has not ended well: what it did to its instance is dropped with it."""
        if invocation.checkpoint:
            self._held.pop((invocation.key.run, invocation.key.node), None)

    def release(self, run: RunId) -> None:
        for key in [key for key in self._held if key[0] == run]:
            del self._held[key]

    def _made(self, kind: type, start: Start) -> Any:
        try:
            state = None if start.state is None else self._load(start.state)
            changes: Any = {} if start.changes is None else self._load(start.changes)
        except DeserializationError as error:
            raise StateError(str(error)) from error
        instance = new_instance(kind) if start.state is None else _restored(kind, state)
        for name, value in changes.items():
            try:
                setattr(instance, name, value)
            except (AttributeError, TypeError) as error:
                raise StateError(f"attribute {name!r} cannot be set: {error}") from error
        return instance


_NEW: Final = Start()

_LOST: Final = (
    'the worker that held it has ended, and with state="resident" there is no other copy; '
    'state="checkpoint" survives that'
)
_CURE: Final = (
    'keep the state in its worker by @node(state="resident"), or leave this out in __getstate__()'
)


def new_instance(kind: type) -> Any:
    """A node's own instance; the class's data attributes become its own, copied (rule 37)."""
    instance = _bare(kind)
    own = getattr(instance, "__dict__", None)
    if own is not None:
        for name, value in data_attributes(kind).items():
            own[name] = initial_value(kind, name, value)
    # After that, so that a constructor which appends to a list appends to the node's own.
    instance.__init__()
    return instance


def data_attributes(kind: type) -> dict[str, Any]:
    """What a class and its bases define that is neither callable nor a descriptor, nor ``__x``."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        for name, value in vars(base).items():
            found.pop(name, None)
            if _is_data(name, value):
                found[name] = value
    return found


# What abc and typing keep in the classes they make.
_MACHINERY: Final = frozenset({"_abc_impl", "_is_protocol", "_is_runtime_protocol"})


def _is_data(name: str, value: object) -> bool:
    if name.startswith("__") or name in _MACHINERY or isinstance(value, ModuleType):
        return False
    return not (callable(value) or hasattr(value, "__get__"))


def initial_value(kind: type, name: str, value: object) -> Any:
    """A node's copy of a class attribute.

    Raises:
        StateError: it cannot be copied.
    """
    try:
        return deepcopy(value)
    except Exception as error:
        raise StateError(
            f"{kind.__name__}.{name} cannot be copied for the node: {error}; make it in __init__()"
        ) from error


def attributes_in(state: object) -> dict[str, Any] | None:
    """The attributes by name in what ``__getstate__`` gave; None if that is the class's own affair."""
    if state is None:
        return {}
    # The default of a class with __slots__ is (its __dict__ or None, its slots).
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    found: dict[str, Any] = {}
    for part in parts:
        if part is not None and not isinstance(part, dict):
            return None
        found.update(part or {})
    return found


def snapshot(state: object) -> Value:
    """A copy of a state that stays in this process, so that a run which fails can be undone.

    Of what does not pickle only the dict of attributes is copied: assignments are undone then, changes
    inside of an attribute's value are not.
    """
    copied = dumps_or_none(state)
    if copied is not None:
        return copied
    return Local(dict(state) if isinstance(state, dict) else state)


def _restored(kind: type, state: Any) -> Any:
    """As unpickling does it: ``__init__`` is not called."""
    instance = _bare(kind)
    if hasattr(instance, "__setstate__"):
        instance.__setstate__(state)
        return instance
    attributes = attributes_in(state)
    if attributes is None:
        raise StateError(f"{kind.__name__} has a __getstate__() and no __setstate__() for what it gives")
    for name, value in attributes.items():
        object.__setattr__(instance, name, value)
    return instance


def _bare(kind: Any) -> Any:
    """An instance whose ``__init__`` was not called."""
    return kind.__new__(kind)


def _blame(state: object) -> str | None:
    """Which attribute does not pickle, and where in it."""
    for name, value in (attributes_in(state) or {}).items():
        try:
            dumps(value)
        except SerializationError as error:
            return str(error).replace("value", f"self.{name}", 1)
    return None
