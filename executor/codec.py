"""How values leave and enter bodies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from executor.states import save, snapshot
from protocol import serialization
from protocol.values import Local, Value


@dataclass(frozen=True, slots=True)
class Codec:
    """Values pickled, or passed by reference within one process.

    ``save`` makes a value of the state of an instance, which must not change with it.
    """

    dumps: Callable[[object], Value]
    loads: Callable[[Value], object]
    dump_exception: Callable[[BaseException], Value | None]
    save: Callable[[object], Value] = save


def _by_reference(value: Value) -> object:
    return value.object if isinstance(value, Local) else serialization.loads(value)


PICKLED: Final = Codec(serialization.dumps, serialization.loads, serialization.dump_exception)
BY_REFERENCE: Final = Codec(Local, _by_reference, Local, snapshot)
