"""Classes that workers cannot import, pickled whole once, and from then on carried along as they are.

Theory of operation. In the place of such a class a value holds a call of ``defined``, with the pickle of
the class's *family* (it, and all such classes that it needs), the pickle's digest, and the class's place
in the family. Who unpickles that looks the class up; only the first time is it made of the pickle, and
where the class comes from, the very same one is found. A definition does not follow changes of the class
until ``renew`` is called, at the start of a run: what a worker does to its class stays there.

Families made in one process may overlap: cloudpickle knows each class that it takes apart or makes, and
makes none twice. A class that was received is not pickled again, but named as it came.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, MutableMapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary


class Definition(NamedTuple):
    """What makes a class elsewhere: the arguments of ``defined``."""

    digest: bytes
    family: bytes
    place: int


Reduced: TypeAlias = tuple[Callable[[bytes, bytes, int], type], Definition]


def definition_of(kind: type) -> Reduced | None:
    """What to pickle in place of a class; None if it has no definition yet."""
    known = _made.get(kind) or _received.get(kind)
    return None if known is None else (defined, known)


def received_definition_of(kind: type) -> Reduced | None:
    """The same, where the class comes from another process."""
    known = _received.get(kind)
    return None if known is None else (defined, known)


def define(family: Sequence[type], pickled: bytes) -> None:
    """Name classes of this process by this pickle of all of them, but for those that have a name."""
    digest = blake2b(pickled, digest_size=_DIGEST_BYTES).digest()
    for place, kind in enumerate(family):
        _classes[digest, place] = kind
        _made.setdefault(kind, Definition(digest, pickled, place))


def defined(digest: bytes, family: bytes, place: int) -> type:
    """A class; it is what unpickling calls, so its name and parameters are part of the format."""
    kind = _classes.get((digest, place))
    if kind is None:
        made: Any = pickle.loads(family)
        for index, each in enumerate(made):
            _classes[digest, index] = each
            _received[each] = Definition(digest, family, index)  # the newest, if it has changed
        kind = made[place]
    return kind


def renew() -> None:
    """Pickle each class of this process anew when it is next met: it may have changed."""
    _made.clear()


_DIGEST_BYTES: Final = 16

_made: Final[MutableMapping[type, Definition]] = WeakKeyDictionary()
_received: Final[MutableMapping[type, Definition]] = WeakKeyDictionary()
_classes: Final[MutableMapping[tuple[bytes, int], type]] = WeakValueDictionary()
