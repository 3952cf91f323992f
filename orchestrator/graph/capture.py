"""What a body must not share with anything outside of it, if it runs in a worker (SEMANTICS 16.2, 16.9).

A worker has copies of what a body captures. To change one there is lost, which is warned of where the
node is defined; to wait for others through one is to wait for ever, which is refused when the flow is
compiled. So is reading from the terminal, which workers do not have.
"""

from __future__ import annotations

import builtins
import inspect
import sys
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from orchestrator.errors import SharedPrimitiveError, TerminalInputError
from orchestrator.graph.outside import UNKNOWN, Change, Use, uses

Body: TypeAlias = Callable[..., object] | type


class NodeSharingWarning(UserWarning):
    """A body changes a variable from outside of it, but will change only the copy of its worker."""


def warn_of_changes(body: Body, called: str, defined: str) -> None:
    """Warn of each variable from outside that a body changes, once, at its first change."""
    warned = set()
    for use in uses(body):
        done = _change(use)
        if done is None or use.name in warned:
            continue
        warned.add(use.name)
        filename, _, line = use.place.rpartition(":")
        warnings.warn_explicit(
            f"node {called} ({defined}) {done} {use.name!r}, which is outside of it. A worker has a "
            "copy of it, so nobody else sees the change. Make it an input and return it; or keep it as "
            'an attribute in a node that is a class; or run the node here: @node(placement="inline")',
            NodeSharingWarning,
            filename,
            int(line),
            getattr(body, "__module__", None),
            getattr(body, "__globals__", {}).setdefault("__warningregistry__", {}),
        )


def refuse_shared(body: Body, node: str) -> None:
    """Refuse a body for workers that shares with others what does not reach across processes.

    Raises:
        SharedPrimitiveError: it uses a lock, a queue or the like from outside.
        TerminalInputError: it reads from the terminal.
    """
    for name, value, place in _captured(body):
        refuse_primitive(value, f"{name!r}, which node {node} uses at {place},")
    for use in uses(body):
        if use.value is builtins.input:
            raise TerminalInputError(node, "input()", use.place)
        if _reads_stdin(use):
            raise TerminalInputError(node, "sys.stdin", use.place)


def refuse_primitive(value: object, subject: str) -> None:
    """Refuse a value for workers that would be a thing of its own there, if it pickles at all.

    Raises:
        SharedPrimitiveError: it is a lock, a queue or the like; ``subject`` says whose.
    """
    kind = primitive_kind(value)
    if kind is not None:
        raise SharedPrimitiveError(subject, kind)


def primitive_kind(value: object) -> str | None:
    """How to call a value that synchronizes tasks, threads or processes; None for all others."""
    for ancestor in type(value).__mro__:
        module, name = ancestor.__module__, ancestor.__qualname__
        if name in _PRIMITIVES.get(module, ()):
            return f"{_PUBLIC.get(module, module)}.{name[0].upper()}{name[1:]}"
    return None


# By the module of the class: no module is imported to recognize what may never be used.
_ASYNC_AND_THREAD: Final = frozenset(
    {"Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier"}
)
_QUEUES: Final = frozenset({"Queue", "SimpleQueue"})  # the others are derived from these
_PRIMITIVES: Final = {
    "orchestrator.event_loop.queues": {"AsyncQueue", "AsyncSetQueue", "AsyncMapQueue"},
    "orchestrator.event_loop.synchronization": {*_ASYNC_AND_THREAD, "CountdownLatch"},
    "_thread": {"lock", "RLock"},
    "threading": {*_ASYNC_AND_THREAD, "_RLock"},
    "queue": _QUEUES,
    "_queue": _QUEUES,
    "asyncio.locks": _ASYNC_AND_THREAD,
    "asyncio.queues": _QUEUES,
    "multiprocessing.synchronize": {*_ASYNC_AND_THREAD, "SemLock"},
    "multiprocessing.queues": _QUEUES,
}
_PUBLIC: Final = {
    "orchestrator.event_loop.queues": "orchestrator.event_loop",
    "orchestrator.event_loop.synchronization": "orchestrator.event_loop",
    "_thread": "threading",
    "_queue": "queue",
    "asyncio.locks": "asyncio",
    "asyncio.queues": "asyncio",
    "multiprocessing.synchronize": "multiprocessing",
    "multiprocessing.queues": "multiprocessing",
}

_CONTAINERS: Final = (list, dict, set, bytearray, deque)
_ALTERING: Final = frozenset(
    {"add", "append", "appendleft", "clear", "difference_update", "discard", "extend", "extendleft"}
    | {"insert", "intersection_update", "move_to_end", "pop", "popitem", "popleft", "remove", "reverse"}
    | {"rotate", "setdefault", "sort", "subtract", "symmetric_difference_update", "update"}
)


def _change(use: Use) -> str | None:
    """What a use does to the variable, as a verb; None if that is nothing to warn of."""
    if use.change is Change.ASSIGNS:
        return str(use.change.value)
    # Not isinstance, which asks the object itself: a proxy may stand for nothing yet, and raise.
    kind = type(use.value)
    if use.value is UNKNOWN or issubclass(kind, types.ModuleType):
        return None  # a setting of a module is made for the process it is made in
    if use.change is not None:
        return str(use.change.value)
    if issubclass(kind, _CONTAINERS) and use.attribute in _ALTERING:
        return f"calls .{use.attribute}() of"
    return None


def _captured(body: Body) -> Iterator[tuple[str, object, str]]:
    """What a body has from outside: each variable's name, value and place."""
    if isinstance(body, types.FunctionType):
        place = f"{body.__code__.co_filename}:{body.__code__.co_firstlineno}"
        for parameter in inspect.signature(body).parameters.values():
            yield parameter.name, parameter.default, place
    elif isinstance(body, type):
        place = f"{body.__module__}.{body.__qualname__}"
        for ancestor in body.__mro__:
            for name, value in vars(ancestor).items():
                yield f"{ancestor.__name__}.{name}", value, place
    for use in uses(body):
        yield use.name, use.value, use.place


# To ask whether there is a terminal is not to read from it.
_HARMLESS: Final = frozenset({"isatty", "encoding", "fileno", "name"})


def _reads_stdin(use: Use) -> bool:
    if use.value is sys:
        return use.attribute == "stdin" and use.further not in _HARMLESS
    return use.value is sys.stdin is not None and use.attribute not in _HARMLESS
