"""Imports point one way, and what decides is pure (DESIGN 3, STYLE 17)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("protocol", "executor", "orchestrator")

# A package may import itself and what stands before it.
MAY_IMPORT = {
    "protocol": {"protocol"},
    "executor": {"protocol", "executor"},
    "orchestrator": {"protocol", "executor", "orchestrator"},
}

# They hold the decisions; a name ending in ``.*`` stands for all modules of a package.
PURE = (
    "protocol.messages",
    "protocol.values",
    "protocol.delivery",
    "protocol.errors",
    "protocol.client_messages",
    "protocol.framing",
    "protocol.link",
    "protocol.resumable",
    "protocol.serialization",
    "executor.line",
    "executor.instances",
    "executor.states",
    "protocol.definitions",
    "protocol.value_pickler",
    "executor.sites",
    "executor.pool_machine",
    "executor.roster",
    "executor.actions",
    "executor.worker_states",
    "executor.ladder",
    "executor.limits",
    "executor.losses",
    "executor.leavings",
    "executor.marks",
    "executor.starting",
    "executor.watching",
    "executor.lease",
    "executor.placement",
    "executor.scheduling",
    "executor.scheduler",
    "executor.revocation",
    "executor.unchanged",
    "executor.callables",
    "executor.outcomes",
    "executor.blueprint",
    "executor.accumulation",
    "executor.life_cycle",
    "executor.body_task",
    "executor.unwinding",
    "executor.resuming",
    "executor.surroundings",
    "executor.retry",
    "executor.fold",
    "orchestrator.spec",
    "orchestrator.node_state",
    "orchestrator.progress",
    "orchestrator.report",
    "orchestrator.service.ended",
    "orchestrator.service.errors",
    "orchestrator.service.outcomes",
    "orchestrator.service.submission",
    "orchestrator.errors",
    "orchestrator.resources",
    "orchestrator.resolver.*",
    "orchestrator.graph.*",
    "orchestrator.runtime.finals",
    "orchestrator.runtime.gate",
    "orchestrator.runtime.limits",
    "orchestrator.runtime.flow_run",
    "orchestrator.runtime.machine",
    "orchestrator.runtime.maps",
    "orchestrator.runtime.outcome",
    "orchestrator.runtime.progress",
    "orchestrator.runtime.repair",
    "orchestrator.runtime.replay",
    "orchestrator.runtime.retrying",
    "orchestrator.runtime.results",
    "orchestrator.runtime.attempts",
    "orchestrator.runtime.chunk_log",
    "orchestrator.runtime.failures",
    "orchestrator.runtime.invoking",
    "orchestrator.runtime.state",
    "orchestrator.runtime.status",
    "orchestrator.runtime.streams",
    "orchestrator.runtime.waits",
    "orchestrator.runtime.wiring",
)

# Clocks, sockets, threads, chance, files and processes.
IMPURE = {
    "asyncio", "concurrent", "fcntl", "io", "mmap", "multiprocessing", "os", "pathlib", "psutil",
    "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "subprocess", "tempfile",
    "threading", "time", "uuid", "zmq",
}  # fmt: skip

# What a pure module needs all the same, and why.
ALLOWED = {
    ("protocol.serialization", "io"),  # BytesIO is memory
    ("protocol.value_pickler", "io"),
}

TIMES_OF_DAY = {"time.time", "time.time_ns", "time.CLOCK_REALTIME", "time.localtime", "time.gmtime"}

# Only these know ZeroMQ.
KNOW_ZMQ = {"protocol.transport", "orchestrator.event_loop"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Each import of a module, wherever it stands in it: its line and the module imported."""
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield statement.lineno, alias.name
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path}:{statement.lineno} imports relatively"
            yield statement.lineno, statement.module or ""


def pure_modules() -> list[str]:
    found = []
    for entry in PURE:
        package = entry.removesuffix(".*")
        found += [
            name
            for name in MODULES
            if name == package or (entry != package and name.startswith(f"{package}."))
        ]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_from_orchestrator_to_executor_to_protocol(module: str) -> None:
    allowed = MAY_IMPORT[module.partition(".")[0]]
    wrong = [
        f"{MODULES[module]}:{line} imports {imported}"
        for line, imported in imports(MODULES[module])
        if (package := imported.partition(".")[0]) in PACKAGES and package not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize(
    "module", [name for name in MODULES if name.startswith("orchestrator.event_loop")]
)
def test_the_event_loop_imports_nothing_of_ours(module: str) -> None:
    wrong = [
        f"{MODULES[module]}:{line} imports {imported}"
        for line, imported in imports(MODULES[module])
        if imported.partition(".")[0] in PACKAGES and not imported.startswith("orchestrator.event_loop")
    ]
    assert not wrong


@pytest.mark.parametrize("module", pure_modules())
def test_what_decides_reads_no_clock_and_touches_no_socket_thread_or_file(module: str) -> None:
    wrong = [
        f"{MODULES[module]}:{line} imports {imported}"
        for line, imported in imports(MODULES[module])
        if (top := imported.partition(".")[0]) in IMPURE and (module, top) not in ALLOWED
    ]
    assert not wrong


@pytest.mark.parametrize("module", MODULES)
def test_nothing_reads_the_time_of_day_f28(module: str) -> None:
    """So it may be set at any moment: every deadline is one of ``time.monotonic``."""
    tree = ast.parse(MODULES[module].read_text())
    names = {
        f"{each.value.id}.{each.attr}"
        for each in ast.walk(tree)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name)
    }
    imported = {
        f"{each.module}.{alias.name}"
        for each in ast.walk(tree)
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }
    assert not (names | imported) & TIMES_OF_DAY
    assert "datetime" not in {name.partition(".")[0] for _, name in imports(MODULES[module])}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("protocol")])
def test_only_the_transport_of_the_protocol_knows_zeromq(module: str) -> None:
    knows = any(imported.partition(".")[0] == "zmq" for _, imported in imports(MODULES[module]))
    assert not knows or module in KNOW_ZMQ


def test_importing_orchestrator_loads_nothing_heavy() -> None:
    """What a run or the command line needs is imported when it is needed."""
    heavy = {"zmq", "click", "rich", "cloudpickle", "psutil"}
    program = f"import sys, orchestrator; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


def test_every_entry_of_these_lists_exists() -> None:
    """So that a module that is renamed does not silently leave them."""
    listed = {entry.removesuffix(".*") for entry in PURE} | {module for module, _ in ALLOWED} | KNOW_ZMQ
    missing = sorted(listed - set(MODULES))
    if missing:
        pytest.skip(f"not written yet: {', '.join(missing)}")


def test_the_walk_sees_imports_wherever_they_stand(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("import a.b\ndef f():\n    from c.d import e\n")
    assert list(imports(source)) == [(1, "a.b"), (3, "c.d")]


def test_the_event_loop_can_be_had_without_the_rest() -> None:
    code = (
        "import sys, orchestrator.event_loop\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'executor', 'protocol', 'zmq', 'msgspec', 'greenlet', 'cloudpickle', 'asyncio'}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_a_flow_that_needs_no_thread_needs_no_zeromq() -> None:
    program = (
        "import sys\n"
        "from orchestrator import Flow, node\n"
        "with Flow() as flow:\n"
        "    flow.number = node(abs)(-1)\n"
        "flow.run(workers=1)\n"
        "print(flow.number.get_data(), 'zmq' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "(1,) False\n"
