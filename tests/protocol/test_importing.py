"""What travels by reference to workers that another process has started."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol.importing import Elsewhere, for_workers, worker_can_import
from protocol.serialization import dumps, loads

NAME = "a_module_of_these_tests"


@pytest.fixture
def module_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Makes the module in a directory, and gives the directory; the first one is imported here."""

    def make(directory: str) -> str:
        path = tmp_path / directory
        path.mkdir(parents=True)
        (path / f"{NAME}.py").write_text("")
        if NAME not in sys.modules:
            monkeypatch.syspath_prepend(str(path))
            module = importlib.import_module(NAME)
            del sys.modules[NAME]  # so that it is not there afterwards
            monkeypatch.setitem(sys.modules, NAME, module)
        return str(path)

    return make


def elsewhere(*sys_path: str, prefix: str = sys.prefix) -> Elsewhere:
    return Elsewhere(prefix, sys_path)


def test_a_module_goes_by_reference_if_they_would_find_the_same_file(
    module_in: Callable[[str], str],
) -> None:
    here = module_in("here")
    assert worker_can_import(NAME)
    with for_workers(elsewhere(here)):
        assert worker_can_import(NAME)
    with for_workers(elsewhere()):
        assert not worker_can_import(NAME)
    assert worker_can_import(NAME)


def test_a_module_of_the_same_name_in_another_place_is_another_one(
    module_in: Callable[[str], str],
) -> None:
    here, there = module_in("here"), module_in("there")
    with for_workers(elsewhere(there, here)):
        assert not worker_can_import(NAME)


def test_a_package_that_is_installed_in_both_environments_goes_by_reference(
    module_in: Callable[[str], str],
) -> None:
    module_in("here/site-packages")
    with for_workers(elsewhere(module_in("there/site-packages"), prefix="/another/environment")):
        assert worker_can_import(NAME)
    with for_workers(elsewhere(module_in("a_checkout"), prefix="/another/environment")):
        assert not worker_can_import(NAME)


def test_code_travels_to_an_environment_of_which_nothing_is_known() -> None:
    variable = 2
    with for_workers(elsewhere(prefix="/another/environment")):
        # What rebuilds it there is itself never sent.
        function: Any = loads(dumps(lambda x: x * variable))
    assert function(21) == 42


def test_what_every_interpreter_has_goes_by_reference() -> None:
    with for_workers(elsewhere("/another/library", prefix="/another/environment")):
        assert worker_can_import("sys")
        assert worker_can_import("json.decoder")
        assert worker_can_import("executor.body")
