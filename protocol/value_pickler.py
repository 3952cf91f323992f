"""Pickles whole what workers cannot import: cloudpickle, told better what that is.

Imported when it is first needed, because cloudpickle takes 25 ms to import.
"""

from __future__ import annotations

import pickle
import sys
from io import BytesIO
from operator import attrgetter
from types import FunctionType, ModuleType
from typing import Any, Final

import cloudpickle

from protocol.definitions import Reduced, define, definition_of, received_definition_of
from protocol.importing import travels_by_value


class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # it ships no types
    """Functions are pickled whole each time, classes once: their definitions then name them."""

    _family: list[type] | None = None
    """Collects the classes that are pickled whole here, for a definition of all of them."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, FunctionType, ModuleType)):
            _register(obj.__name__ if isinstance(obj, ModuleType) else obj.__module__)
        if isinstance(obj, type) and not _is_found(obj):
            if self._family is None:
                return definition_of(obj) or self._define(obj)
            known = received_definition_of(obj)
            if known is not None:
                return known
            if obj not in self._family:
                self._family.append(obj)
        return super().reducer_override(obj)

    def _define(self, kind: type) -> Reduced | None:
        family = [kind]
        pickled = self._pickled_whole(family)
        if len(family) > 1:  # it was found only while the first was pickled
            pickled = self._pickled_whole(family)
        define(family, pickled)
        return definition_of(kind)

    def _pickled_whole(self, family: list[type]) -> bytes:
        file = BytesIO()
        pickler = ValuePickler(file, pickle.HIGHEST_PROTOCOL)
        pickler._family = family
        pickler.dump(tuple(family))
        return file.getvalue()


_HEAP_TYPE: Final = 1 << 9
"""CPython's flag of a class that was made at run time, and not compiled in."""


def _register(module_name: object) -> None:
    """Cloudpickle takes for importable whatever is in ``sys.modules``."""
    if module_name != "__main__" and travels_by_value(module_name):
        module = sys.modules.get(str(module_name))
        if module is not None:
            cloudpickle.register_pickle_by_value(module)


def _is_found(kind: type) -> bool:
    """Whether a worker has the class, under its name or compiled in."""
    if not kind.__flags__ & _HEAP_TYPE:
        return True
    if travels_by_value(kind.__module__):
        return False
    try:
        found = attrgetter(kind.__qualname__)(sys.modules.get(kind.__module__))
    except AttributeError:
        return False
    return found is kind
