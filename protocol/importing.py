"""Which modules a worker can import, and which therefore travel by value.

A worker is a fresh interpreter with this process's ``sys.path``. A module that was loaded from
elsewhere (the user's script, a job file, a test module) does not exist there: what it defines has
to be pickled whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Final

JOB_MODULE: Final = "__orchestrator_job__"
"""The name under which a file given on the command line is loaded; never importable."""

_by_value: set[str] = {"__main__", "__mp_main__", JOB_MODULE}


def register_by_value(module: ModuleType) -> None:
    """Let everything this module defines travel by value, whether or not workers could import it.

    The module must be in ``sys.modules`` by the time one of its functions is pickled.
    """
    _by_value.add(module.__name__)


def travels_by_value(module_name: object) -> bool:
    """Whether what the module defines has to be pickled whole to arrive in a worker.

    A ``__module__`` may be anything; what is no name says nothing.
    """
    if not isinstance(module_name, str):
        return False
    return module_name in _by_value or not worker_can_import(module_name)


def worker_can_import(module_name: str) -> bool:
    """Whether a fresh interpreter with this process's ``sys.path`` would find the module.

    It looks and does not import. The first question about a module costs some file system accesses;
    answers are kept until ``sys.path`` changes.
    """
    if module_name in _by_value:
        return False
    elsewhere = _elsewhere.get()
    if _answers.path != sys.path or _answers.elsewhere is not elsewhere:
        _answers.path = list(sys.path)
        _answers.elsewhere = elsewhere
        _answers.importable.clear()
    known = _answers.importable.get(module_name)
    if known is None:
        known = _answers.importable[module_name] = _is_findable(module_name)
    return known


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where workers that this process did not start look for modules: environment and ``sys.path``."""

    prefix: str
    sys_path: tuple[str, ...]


@contextmanager
def for_workers(elsewhere: Elsewhere) -> Iterator[None]:
    """Inside, "workers" means those of another process, in this thread and context.

    What they would find under a name must be the very file that was loaded here, or be installed
    there as it is here, maybe in another environment.
    """
    token = _elsewhere.set(elsewhere)
    try:
        yield
    finally:
        _elsewhere.reset(token)


_elsewhere: Final[ContextVar[Elsewhere | None]] = ContextVar("elsewhere", default=None)
_EVERYWHERE: Final = sys.stdlib_module_names | {
    *("protocol", "executor", "orchestrator"),  # executor.bootstrap pins them in every worker
    "cloudpickle",  # what loads values that travel whole
}

_INSTALLED: Final = frozenset(("site-packages", "dist-packages"))


class _Answers:
    def __init__(self) -> None:
        self.path: list[str] = []
        self.elsewhere: Elsewhere | None = None
        self.importable: dict[str, bool] = {}


_answers: Final = _Answers()


def _is_findable(module_name: str) -> bool:
    parent, _, _ = module_name.rpartition(".")
    if not parent:
        found = _find_spec(module_name, None)
        elsewhere = _elsewhere.get()
        return found is not None and (elsewhere is None or _is_same(module_name, found, elsewhere))
    if not worker_can_import(parent):
        return False
    path = _submodule_path(parent)
    if path is not None and _find_spec(module_name, path) is not None:
        return True
    # Extension modules and some packages make submodules while they are imported themselves.
    loaded = sys.modules.get(module_name)
    return loaded is not None and getattr(loaded, "__file__", None) is None


def _is_same(name: str, here: ModuleSpec, elsewhere: Elsewhere) -> bool:
    if name in _EVERYWHERE or here.origin in ("built-in", "frozen"):
        return True
    there = PathFinder.find_spec(name, elsewhere.sys_path)
    if there is not None:
        ours, theirs = _places(here), _places(there)
        return ours == theirs or (_are_installed(ours) and _are_installed(theirs))
    # Found by a finder that the environment installs, as for packages in development.
    return PathFinder.find_spec(name, sys.path) is None and elsewhere.prefix == sys.prefix


def _places(spec: ModuleSpec) -> list[str]:
    return [place for place in (spec.origin, *(spec.submodule_search_locations or ())) if place]


def _are_installed(places: list[str]) -> bool:
    """Whether these are files of a package that an installer has put there."""
    return all(not _INSTALLED.isdisjoint(Path(place).parts) for place in places)


def _submodule_path(package: str) -> Sequence[str] | None:
    # A package may extend its own path when it is imported, as it would in the worker.
    loaded = sys.modules.get(package)
    if loaded is not None:
        return getattr(loaded, "__path__", None)
    parent, _, _ = package.rpartition(".")
    spec = _find_spec(package, _submodule_path(parent) if parent else None)
    return None if spec is None else spec.submodule_search_locations


def _find_spec(module_name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    # Not importlib.util.find_spec: that takes the word of whatever is in sys.modules.
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is None:
            continue
        try:
            spec: ModuleSpec | None = find(module_name, path, None)
        except Exception:  # noqa: BLE001 - a foreign finder; the module counts as not found
            continue
        if spec is not None:
            return spec
    return None
