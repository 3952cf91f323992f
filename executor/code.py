"""A body's code on its way to a worker: by reference where it can be imported there, else by value."""

from __future__ import annotations

import importlib
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias

from executor.blueprint import Blueprint, blueprint
from protocol.messages import Digest
from protocol.serialization import dumps, worker_can_import
from protocol.values import Local, Value

Accumulate: TypeAlias = Callable[[Any, Any], object] | type[list[Any]] | None


class Imported(NamedTuple):
    """Stands for a body that is found under a name in a module."""

    module: str
    qualname: str


@dataclass(frozen=True, slots=True)
class BodyCode:
    """All that a worker needs to know of a template to run it; equal code has equal options.

    ``body`` is the user's function or class, or its name. ``accumulate``: None sums what can be
    summed, ``list`` collects the chunks, a function folds ``(accumulated, chunk)``. ``retry_on``: the
    exceptions of the body after which it may be tried again.
    """

    body: Callable[..., Any] | type | Imported
    stream_in: tuple[str, ...] = ()
    multiple_outputs: bool = False
    accumulate: Accumulate = None
    retry_on: tuple[type[BaseException], ...] = (Exception,)


@dataclass(frozen=True, slots=True)
class LoadedCode:
    """Code ready to run, and its shape."""

    body: Callable[..., Any]
    shape: Blueprint
    multiple_outputs: bool
    accumulate: Accumulate
    retry_on: tuple[type[BaseException], ...] = (Exception,)


def encode_code(code: BodyCode) -> Value:
    """Serialize code for workers, by reference if a worker can import the same body.

    Raises:
        SerializationError: the body travels by value and captures something that does not pickle.
    """
    return dumps(replace(code, body=by_reference(code.body) or code.body))


def load_code(payload: object) -> LoadedCode:
    """Make code runnable; ``payload`` is a :class:`BodyCode`, as it was unpickled or kept."""
    if not isinstance(payload, BodyCode):
        raise TypeError(f"expected code, got {type(payload).__name__}")
    body = _resolve(payload.body) if isinstance(payload.body, Imported) else payload.body
    shape = blueprint(body, payload.stream_in)
    return LoadedCode(body, shape, payload.multiple_outputs, payload.accumulate, payload.retry_on)


DIGEST_BYTES: Final = 16
_UNREACHABLE: Final = "<locals>"


def digest_of(payload: Value) -> Digest:
    """What names serialized code: equal code has equal digests.

    Raises:
        TypeError: it is local to this process, so it has no bytes.
    """
    if isinstance(payload, Local):
        raise TypeError(f"{payload!r} was never serialized")
    frames = (payload,) if isinstance(payload, bytes) else payload
    digest = blake2b(digest_size=DIGEST_BYTES)
    for frame in frames:
        digest.update(len(frame).to_bytes(8, "little"))
        digest.update(frame)
    return Digest(digest.digest())


def by_reference(body: object) -> Imported | None:
    """The name under which a worker would find the same body; None if it would not."""
    module = getattr(body, "__module__", None)
    qualname = getattr(body, "__qualname__", None)
    if module is None or qualname is None or _UNREACHABLE in qualname or module not in sys.modules:
        return None
    name = Imported(module, qualname)
    try:
        found = _lookup(name)
    except AttributeError:
        return None
    # @node puts a template in the body's place; the body is then its __wrapped__.
    same = found is body or getattr(found, "__wrapped__", None) is body
    return name if same and worker_can_import(module) else None


def _resolve(name: Imported) -> Callable[..., Any]:
    found = _lookup(name)
    body: Callable[..., Any] = getattr(found, "__wrapped__", found)
    return body


def _lookup(name: Imported) -> Any:
    return operator.attrgetter(name.qualname)(importlib.import_module(name.module))
