"""Finds the flow that a TARGET names: ``module:flow`` or ``path.py[:flow]``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType

import click

from orchestrator.cli.exits import INVALID, fail
from orchestrator.graph.flow import Flow
from protocol.serialization import JOB_MODULE, register_by_value


class TargetError(Exception):
    """The target cannot be had; the message says what to change. ``detail`` is its traceback, if any."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


def load(target: str) -> Flow:
    """The flow of a target; ends the command with a message if it cannot be had."""
    try:
        return load_flow(target)
    except TargetError as error:
        if error.detail:
            click.echo(error.detail.rstrip(), err=True)
        fail(str(error), INVALID)


def load_flow(target: str) -> Flow:
    """The flow of a target. Runs the target's module; a file is not run as ``__main__``.

    Raises:
        TargetError: there is no such module, file or flow, or the module raised.
    """
    source, separator, name = target.rpartition(":")
    if not separator:
        source, name = target, ""
    if source.endswith(".py"):
        return _flow_of(_load_file(Path(source)), name, source)
    if not name:
        raise TargetError(
            f"{target!r} is neither 'module:flow' nor a file 'path.py[:flow]'"
            + (f"; did you mean {target}.py?" if Path(f"{target}.py").is_file() else "")
        )
    return _flow_of(_load_module(source), name, source)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TargetError(f"there is no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(JOB_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[JOB_MODULE] = module
    # Like python: what lies beside the file can be imported, here and in the workers.
    sys.path.insert(0, str(path.resolve().parent))
    register_by_value(module)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _failed(str(path), error) from error
    return module


def _load_module(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name + ".").startswith(error.name + "."):
            raise TargetError(f"there is no module {error.name!r}") from error
        raise _failed(name, error) from error
    except Exception as error:
        raise _failed(name, error) from error


def _failed(source: str, error: Exception) -> TargetError:
    trace = _beyond_import(error.__traceback__)
    text = "".join(traceback.format_exception(type(error), error, trace))
    return TargetError(f"{source} cannot be loaded: {type(error).__name__}: {error}", text)


def _beyond_import(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the target's own first frame on."""
    first = trace
    while first is not None and (
        first.tb_frame.f_code.co_filename in (__file__, importlib.__file__)
        or first.tb_frame.f_code.co_filename.startswith("<frozen importlib")
    ):
        first = first.tb_next
    return first if first is not None else trace


def _flow_of(module: ModuleType, name: str, source: str) -> Flow:
    flows = {key: value for key, value in vars(module).items() if isinstance(value, Flow)}
    if name:
        found = vars(module).get(name)
        if isinstance(found, Flow):
            return found
        problem = "is not a Flow" if name in vars(module) else "is not defined"
        raise TargetError(f"{name!r} {problem} in {source}; {_flows(flows)}")
    if len({id(flow) for flow in flows.values()}) != 1:
        raise TargetError(f"name the flow, {source}:NAME; {_flows(flows)}")
    return next(iter(flows.values()))


def _flows(flows: dict[str, Flow]) -> str:
    if not flows:
        return "it defines no Flow at its top level"
    return f"it defines {', '.join(flows)}"
