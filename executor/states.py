"""The state of a class's instance as a value, and instances of such values.

It is what pickling the instance would store: its attributes, or what ``__getstate__`` makes of them.
Where the state holds the instance itself (a bound method, a part that knows its whole), what is made of
it holds the new instance.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from protocol.serialization import (
    DeserializationError,
    SerializationError,
    dumps,
    dumps_or_none,
    loads,
)
from protocol.values import Local, Value


class StateError(Exception):
    """A state cannot leave its instance, or not make one; the text says why."""


class Kept(NamedTuple):
    """A state that did not pickle, ``Local`` to this process, with the instance that it belongs to."""

    instance: Any
    state: Any


def save(instance: Any) -> Value:
    """Serialize the state.

    Raises:
        StateError: it does not pickle.
    """
    state = _state_of(instance)
    try:
        return dumps(state, owner=instance)
    except SerializationError as error:
        raise StateError(f"{_blame(instance, state) or error}; {_CURE}") from error


def snapshot(instance: Any) -> Value:
    """Copy a state that stays in this process, so that a run which fails can be undone.

    Of what does not pickle only the dict of attributes is copied: assignments are undone then, changes
    inside of an attribute's value are not.
    """
    state = _state_of(instance)
    saved = dumps_or_none(state, owner=instance)
    if saved is None:
        saved = Local(Kept(instance, dict(state) if isinstance(state, dict) else state))
    return saved


def portable(saved: Value) -> Value:
    """A state for another process.

    Raises:
        SerializationError: it was kept because it does not pickle.
    """
    if not isinstance(saved, Local):
        return saved
    kept = saved.object
    assert isinstance(kept, Kept)
    return dumps(kept.state, owner=kept.instance)


def restore(kind: type, saved: Value) -> Any:
    """An instance with this state, as unpickling makes it: ``__init__`` is not called.

    Raises:
        StateError: the state cannot be unpickled, or does not fit the class.
    """
    instance, state = _opened(kind, saved)
    if hasattr(instance, "__setstate__"):
        try:
            instance.__setstate__(state)
        except Exception as error:
            raise StateError(f"__setstate__() raised {type(error).__name__}: {error}") from error
    elif not _set_attributes(instance, state):
        raise StateError(f"{kind.__name__} has a __getstate__() and no __setstate__() for what it gives")
    return instance


def read_attributes(kind: type, saved: Value) -> dict[str, Any]:
    """The attributes by name in a state.

    Raises:
        StateError: it cannot be unpickled, or its ``__getstate__`` gives something else.
    """
    instance, state = _opened(kind, saved)
    if not isinstance(saved, Local):
        _set_attributes(instance, state)  # for what holds the instance
    attributes = _attributes_in(state)
    if attributes is None:
        raise StateError(
            f"the __getstate__() of its class gives {type(state).__name__}; "
            "give a dict of attributes, so that they can be read here"
        )
    return attributes


def bare_instance(kind: Any) -> Any:
    """An instance whose ``__init__`` was not called."""
    return kind.__new__(kind)


_CURE: Final = (
    'keep the state in its worker by @node(state="resident"), or leave this out in __getstate__()'
)


def _state_of(instance: Any) -> Any:
    try:
        return instance.__getstate__()
    except Exception as error:
        raise StateError(f"__getstate__() raised {type(error).__name__}: {error}") from error


def _opened(kind: type, saved: Value) -> tuple[Any, Any]:
    """An instance to be filled with the state, and the state."""
    if isinstance(saved, Local):
        assert isinstance(saved.object, Kept)
        return saved.object
    instance = bare_instance(kind)
    try:
        return instance, loads(saved, owner=instance)
    except DeserializationError as error:
        raise StateError(f"the state {error}") from error


def _set_attributes(instance: Any, state: object) -> bool:
    attributes = _attributes_in(state)
    if attributes is None:
        return False
    if hasattr(instance, "__dict__"):
        vars(instance).clear()
    for name, value in attributes.items():
        object.__setattr__(instance, name, value)
    return True


def _attributes_in(state: object) -> dict[str, Any] | None:
    """None if what ``__getstate__`` gave is the class's own affair."""
    # The default of a class with __slots__ is (its __dict__ or None, its slots).
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    found: dict[str, Any] = {}
    for part in parts:
        if part is not None and not isinstance(part, dict):
            return None
        found.update(part or {})
    return found


def _blame(instance: object, state: object) -> str | None:
    """Which attribute does not pickle, and where in it."""
    for name, value in (_attributes_in(state) or {}).items():
        try:
            dumps(value, owner=instance)
        except SerializationError as error:
            return str(error).replace("value", f"self.{name}", 1)
    return None
