"""The instances of classes that are nodes, from one run of a node to the next.

A node's state counts from the end of a run on; a run that fails or is given up leaves no trace in it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from types import ModuleType
from typing import Any, Final, TypeAlias

from executor.host import Invocation, Start
from executor.states import StateError, bare_instance, restore
from protocol.messages import NodeId, RunId
from protocol.serialization import DeserializationError
from protocol.values import Value

Load: TypeAlias = Callable[[Value], object]
Save: TypeAlias = Callable[[object], Value]


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
        return self._save(self._held[invocation.key.run, invocation.key.node])

    def abandon(self, invocation: Invocation) -> None:
        """A run has not ended well: what it did to its instance is dropped with it."""
        if invocation.checkpoint:
            self._held.pop((invocation.key.run, invocation.key.node), None)

    def release(self, run: RunId) -> None:
        for key in [key for key in self._held if key[0] == run]:
            del self._held[key]

    def _made(self, kind: type, start: Start) -> Any:
        try:
            changes: Any = {} if start.changes is None else self._load(start.changes)
        except DeserializationError as error:
            raise StateError(f"what was set {error}") from error
        instance = new_instance(kind) if start.state is None else restore(kind, start.state)
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


def new_instance(kind: type) -> Any:
    """A node's own instance; the class's data attributes become its own, copied (rule 37)."""
    instance = bare_instance(kind)
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
