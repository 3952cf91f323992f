"""A census of Python code: the most complex functions under a directory, and totals.

    orchestrator run examples/code_census.py --workers 2 --set root=src

Files are listed as a stream; each is parsed and measured on any free worker (``measure.map``); the
results come back in order, whatever the number of workers, and are reduced to one table.
"""

import ast
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import Flow, Stream, node, parameter

SHOWN = 20

# Names and counts are small, and files differ much in size: let many be on their way, and many small
# ones be measured while a large one takes its time.
AHEAD = 64

BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.IfExp,
    ast.ExceptHandler,
    ast.comprehension,
    ast.match_case,
    ast.Assert,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass
class Measured:
    """One file: how many lines, and each function's (complexity, name, line)."""

    path: str
    lines: int = 0
    functions: list[tuple[int, str, int]] = field(default_factory=list)
    error: str = ""


@dataclass
class Census:
    """All files together; ``top`` holds (complexity, path, line, name), the most complex first."""

    files: int = 0
    unreadable: int = 0
    lines: int = 0
    functions: int = 0
    complexity: int = 0
    top: list[tuple[int, str, int, str]] = field(default_factory=list)


@node(window=AHEAD)
def list_files(root: str) -> Iterator[str]:
    """Every Python file under ``root``, in a fixed order; installed packages are left out."""
    directory = Path(root)
    if not directory.is_dir():
        raise NotADirectoryError(f"root={root!r} is not a directory")
    for path in sorted(directory.rglob("*.py")):
        name = path.relative_to(directory)
        if "site-packages" not in name.parts:
            yield str(name)


@node(window=AHEAD)
def measure(path: str, root: str) -> Measured:
    """Parse one file and measure its functions."""
    measured = Measured(path)
    try:
        with tokenize.open(Path(root, path)) as file:
            source = file.read()
        tree = ast.parse(source)
    except (SyntaxError, ValueError, OSError, RecursionError) as error:
        measured.error = f"{type(error).__name__}: {error}"
        return measured
    measured.lines = source.count("\n")
    for item in ast.walk(tree):
        if isinstance(item, FUNCTIONS):
            measured.functions.append((complexity(item), item.name, item.lineno))
    return measured


@node
def tally(files: Stream[Measured]) -> Census:
    """Add the files up, keeping the most complex functions."""
    census = Census()
    for file in files:
        census.files += 1
        census.unreadable += bool(file.error)
        census.lines += file.lines
        census.functions += len(file.functions)
        census.complexity += sum(found for found, _, _ in file.functions)
        census.top += [(found, file.path, line, name) for found, name, line in file.functions]
        census.top.sort(key=lambda row: (-row[0], *row[1:]))
        del census.top[SHOWN:]
    return census


@node
def show(census: Census) -> None:
    """Print the table; what a worker prints comes out where the flow was started."""
    print(f"{'complexity':>10}  function")
    for found, path, line, name in census.top:
        print(f"{found:>10}  {name}  ({path}:{line})")
    mean = census.complexity / census.functions if census.functions else 0.0
    print(
        f"{census.files} files ({census.unreadable} unreadable), {census.lines} lines, "
        f"{census.functions} functions, mean complexity {mean:.2f}"
    )


def complexity(function: ast.AST) -> int:
    """McCabe's count: one more than the decisions, those of nested functions left to them.

    Each ``and`` or ``or`` decides as often as it has further operands.
    """
    decisions = 0
    pending = list(ast.iter_child_nodes(function))
    while pending:
        item = pending.pop()
        if isinstance(item, FUNCTIONS):
            continue
        decisions += isinstance(item, BRANCHES)
        if isinstance(item, ast.BoolOp):
            decisions += len(item.values) - 1
        pending.extend(ast.iter_child_nodes(item))
    return 1 + decisions


with Flow() as flow:
    root = parameter("root", sysconfig.get_paths()["stdlib"])
    flow.files = list_files(root)
    flow.measured = measure.map(flow.files, root, ahead=AHEAD)
    flow.census = tally(flow.measured)
    flow.table = show(flow.census)

if __name__ == "__main__":
    flow.run()
