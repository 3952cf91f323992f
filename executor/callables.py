"""An executor's functions on their way to its workers: each is pickled and sent as seldom as can be.

A function that workers can import, or that is pickled by value and has not changed, is *code*: it goes
to each worker once and tasks name it by its digest. Of functions by value there may be ever new ones (a
lambda in a loop), and workers keep what they were sent; so after some of these the rest *ride* with
their tasks, and nothing of them stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary

from executor.code import BodyCode, by_reference, digest_of, encode_code
from executor.host import Code
from executor.task import Apply, Call, Function, Initializer
from executor.unchanged import Ingredients
from protocol.messages import Digest
from protocol.serialization import dumps
from protocol.values import Value, size_bytes

BY_VALUE_LIMIT: Final = 500
"""So many different functions by value become code."""

BY_VALUE_LIMIT_BYTES: Final = 32 << 20
"""And no more of them than take this much."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A function to be invoked; the ``rider`` is its task's first input where it is not in the code."""

    code: Code
    rider: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    """A function that was encoded before; ``ingredients`` is None where it goes by reference."""

    ingredients: Ingredients | None
    encoded: dict[bool, Encoded] = field(default_factory=dict)  # by ``each``


class Callables:
    """Encodes functions. Any thread may use it; at worst two of them do the same work."""

    def __init__(self, initializer: Initializer | None) -> None:
        self._initializer = initializer
        self._known: WeakKeyDictionary[Any, _Known] = WeakKeyDictionary()
        self._by_value: set[Digest] = set()
        self._by_value_bytes = 0

    def encode(self, function: Function, *, each: bool = False) -> Encoded:
        """A function as code, to be called once or on ``each`` element of a list.

        Raises:
            SerializationError: it captures something that does not pickle.
        """
        if type(function) not in _LASTING:
            return self._encode_by_value(function, each)
        known = self._known.get(function)
        if known is None or (known.ingredients is not None and not known.ingredients.are_unchanged()):
            known = self._look_at(function)
            if known is None:
                return self._encode_by_value(function, each)
            self._known[function] = known
        encoded = known.encoded.get(each)
        if encoded is None:
            by_value = known.ingredients is not None
            encode = self._encode_by_value if by_value else self._encode_by_reference
            encoded = known.encoded[each] = encode(function, each)
        return encoded

    def _look_at(self, function: Function) -> _Known | None:
        """What to remember of a function; None where it may change unseen."""
        if by_reference(function) is not None:
            return _Known(None)
        if not isinstance(function, FunctionType):
            return None
        ingredients = Ingredients(function)
        return _Known(ingredients) if ingredients.are_fixed else None

    def _encode_by_reference(self, function: Function, each: bool) -> Encoded:
        payload = self._payload(Call(function, each=each, initializer=self._initializer))
        return Encoded(Code(digest_of(payload), payload))

    def _encode_by_value(self, function: Function, each: bool) -> Encoded:
        if len(self._by_value) < BY_VALUE_LIMIT:
            payload = self._payload(Call(function, each=each, initializer=self._initializer))
            digest = digest_of(payload)
            if digest in self._by_value or self._make_room(digest, size_bytes(payload)):
                return Encoded(Code(digest, payload))
        # Of one name, so that the pool learns how long its calls take.
        name = f"{getattr(function, '__qualname__', type(function).__qualname__)} {each}"
        apply = self._payload(Apply(each=each, initializer=self._initializer))
        return Encoded(Code(digest_of(name.encode()), apply), (dumps(dumps(function)),))

    def _make_room(self, digest: Digest, size: int) -> bool:
        if self._by_value_bytes + size > BY_VALUE_LIMIT_BYTES:
            return False
        self._by_value.add(digest)
        self._by_value_bytes += size
        return True

    def _payload(self, body: Call | Apply) -> Value:
        return encode_code(BodyCode(body))


_LASTING: Final = frozenset({FunctionType, BuiltinFunctionType, type})
"""What goes on to be the same object from call to call, unlike a bound method."""
