"""Makes values of Python objects, and objects of values.

A value is one pickle stream, by reference where a worker can import what the object is made of and
by value (cloudpickle) where it cannot. Large buffers leave the stream and become parts of their own.
Whoever gets a value owns all of it: nothing is shared with the sender or between receivers, and every
buffer that was writable is writable again.

Unpickling runs the sender's code: give ``loads`` only what an authenticated peer has sent.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from io import BytesIO
from types import FunctionType
from typing import Any, Final

from protocol.definitions import definition_of, renew
from protocol.importing import JOB_MODULE, register_by_value, travels_by_value, worker_can_import
from protocol.unpicklable import find_unpicklable
from protocol.values import VALUE_LIMIT_BYTES, Local, Value, size_bytes

__all__ = [
    "JOB_MODULE",
    "OUT_OF_BAND_BYTES",
    "DeserializationError",
    "SerializationError",
    "dump_exception",
    "dumps",
    "dumps_or_none",
    "loads",
    "register_by_value",
    "renew",
    "worker_can_import",
]

OUT_OF_BAND_BYTES: Final = 64 * 1024
"""From this size on a buffer is a part of its own, so that it is not copied into the stream."""


class SerializationError(Exception):
    """An object cannot be pickled. ``path`` leads to the part of it that is to blame."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} cannot be pickled: {self.reason}"


class DeserializationError(Exception):
    """A value cannot be unpickled here; the exception that unpickling raised is the ``__cause__``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot be unpickled: {self.reason}"


def dumps(value: object, *, owner: object = None) -> Value:
    """Serialize an object. Where it holds ``owner``, what is loaded holds the ``owner`` given there.

    A number, text or None costs a quarter of a microsecond, other small objects about one more than
    ``pickle.dumps``. What is made of something that workers cannot import is pickled twice: by
    reference up to the first such class or function, then by value.

    Raises:
        SerializationError: a part of it does not pickle, or it is too large to travel.
    """
    dumped: Value
    if _is_plain(value):
        dumped = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    else:
        try:
            dumped = _dump(_ReferencePickler, value, owner)
        except _USERS:  # whatever stops pickle may be nothing to cloudpickle
            dumped = _dump_by_value(value, owner)
    size = size_bytes(dumped)
    if size > VALUE_LIMIT_BYTES:
        reason = f"it takes {size} bytes, and at most {VALUE_LIMIT_BYTES} can travel"
        raise SerializationError("value", reason)
    return dumped


def _is_plain(value: Any) -> bool:
    """Whether it is made of nothing but atoms, as the arguments of most calls are."""
    kind = type(value)
    if kind is tuple:
        return len(value) <= _PLAIN_LIMIT and all(map(_is_plain, value))
    return kind in _ATOMS or (kind is dict and not value)


def dumps_or_none(value: object, *, owner: object = None) -> Value | None:
    """Like ``dumps``; None where that raises, without looking for what is to blame."""
    try:
        dumped = _dump(_ReferencePickler, value, owner)
    except _USERS:
        try:
            dumped = _dump(_value_pickler(), value, owner)
        except _USERS:
            return None
    return dumped if size_bytes(dumped) <= VALUE_LIMIT_BYTES else None


def loads(value: Value, *, owner: object = None) -> object:
    """The object of a value; what it is made of belongs to the caller alone, but for ``owner``.

    Raises:
        DeserializationError: unpickling raised.
        TypeError: the value is local to its process and has no serialized form.
    """
    if isinstance(value, Local):
        raise TypeError(f"{value!r} was never serialized")
    token = None if owner is None else _owner.set(owner)
    try:
        if isinstance(value, bytes):
            return pickle.loads(value)
        stream, *buffers = value
        # A received buffer may be read-only memory of the transport's; the object gets its own.
        return pickle.loads(stream, buffers=[bytearray(buffer) for buffer in buffers])
    except _USERS as error:
        raise DeserializationError(f"{type(error).__name__}: {error}") from error
    finally:
        if token is not None:
            _owner.reset(token)


def dump_exception(error: BaseException) -> Value | None:
    """Serialize an exception if it comes out of a round trip as the same type, else None.

    Its traceback, cause and context do not travel.
    """
    try:
        value = dumps(error)
        survives = type(loads(value)) is type(error)
    except Exception:  # noqa: BLE001 - whatever it is, the exception does not survive
        return None
    return value if survives else None


# What the user's code may raise while it is pickled or unpickled; an interrupt is none of its doing.
_USERS: Final = (Exception, SystemExit)

_ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
_PLAIN_LIMIT: Final = 8
"""To look at the elements of a longer tuple would cost more than it can save."""


# The pickler's own attribute, which cloudpickle's class hides by one of the same name.
_DISPATCH_TABLE: Final = vars(pickle.Pickler)["dispatch_table"]

_owner: Final[ContextVar[object]] = ContextVar("_owner")


def owner_of_value() -> object:
    """What unpickling calls in place of the owner, so the name is part of the format."""
    return _owner.get()


def _reduce(owner: object, obj: Any) -> Any:
    return (owner_of_value, ()) if obj is owner else obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)


def _dump(pickler: Callable[..., pickle.Pickler], value: object, owner: object = None) -> Value:
    large: list[memoryview] = []

    def stays_in_band(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND_BYTES:
            return True  # comes out of the stream as a private, writable object
        large.append(view)
        return False

    file = BytesIO()
    dumper = pickler(file, pickle.HIGHEST_PROTOCOL, buffer_callback=stays_in_band)
    if owner is not None:
        table = getattr(dumper, "dispatch_table", copyreg.dispatch_table)
        _DISPATCH_TABLE.__set__(dumper, {**table, type(owner): partial(_reduce, owner)})
    dumper.dump(value)
    stream = file.getvalue()
    if not large:
        return stream
    # Copied now: a generator may overwrite an array that it has yielded.
    return (stream, *(bytes(view) for view in large))


class _ByValueError(Exception):
    """Something in the object is defined where a worker cannot import it."""


class _ReferencePickler(pickle.Pickler):
    """The C pickler, stopped at the first function or unknown class that has to travel by value."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, (type, FunctionType)):
            return NotImplemented
        if "<locals>" not in obj.__qualname__ and not travels_by_value(obj.__module__):
            return NotImplemented
        known = definition_of(obj) if isinstance(obj, type) else None
        if known is None:
            raise _ByValueError
        return known


def _dump_by_value(value: object, owner: object) -> Value:
    pickler = _value_pickler()
    try:
        return _dump(pickler, value, owner)
    except _USERS as error:
        path, reason = find_unpicklable(value, error, lambda part: _dump(pickler, part, owner))
        raise SerializationError(path, reason) from error


def _value_pickler() -> Callable[..., pickle.Pickler]:
    from protocol.value_pickler import ValuePickler  # noqa: PLC0415 - 25 ms, which many runs never need

    return ValuePickler
