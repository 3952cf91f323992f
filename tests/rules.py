"""Prints the rules of the semantics that no test cites: ``python -m tests.rules``.

A test cites a rule in its name or in its own docstring; what a module's docstring says does not count.
Names say ``rule_37``, ``rules_19_33``, ``rules_42_to_44``, ``a5``, ``i4``, ``16_3`` between underscores;
docstrings say ``rule 37``, ``rules 19, 33 and 59a``, ``rules 42-44``, ``A5``, ``I4``, ``16.3``.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent

RULES = (
    *(str(number) for number in range(1, 87)),
    *(f"A{number}" for number in range(1, 9)),
    *(f"16.{number}" for number in range(1, 17)),
    *(f"I{number}" for number in range(1, 11)),
)

_NUMBERS = r"\d+[a-e]?(?:(?:, | and |-|, and )\d+[a-e]?)*"
_IN_DOCSTRING = re.compile(rf"\brules? ({_NUMBERS})|\b([AI]\d+)\b|\b(16\.\d+)\b", re.IGNORECASE)
_IN_NAME = re.compile(
    r"(?:^|_)(?:(?:rule_)?(16_\d+)|rules?_(\d+[a-e]?(?:_(?:to_|and_)?\d+[a-e]?)*)|([ai]\d+))(?=_|$)"
)


def main() -> int:
    """Print each rule without a test; 1 if there is one."""
    missing = uncited()
    for rule in missing:
        print(rule)
    print(f"{len(RULES) - len(missing)} of {len(RULES)} rules are cited by a test", file=sys.stderr)
    return 1 if missing else 0


def uncited() -> list[str]:
    """The rules without a test, in order."""
    cited = citations()
    return [rule for rule in RULES if rule not in cited]


def citations() -> dict[str, list[str]]:
    """The tests that cite each rule, as ``path::name``."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for test in _tests(ast.parse(path.read_text())):
            for rule in cited_by(test.name, ast.get_docstring(test) or ""):
                found[rule].append(f"{path.relative_to(TESTS)}::{test.name}")
    return found


def cited_by(name: str, docstring: str) -> set[str]:
    """The rules that a test with this name and docstring cites."""
    found: set[str] = set()
    for section, numbers, letter in _IN_NAME.findall(name.removeprefix("test_").lower()):
        found |= _rules(numbers.replace("_to_", "-").replace("_and_", ",").replace("_", ","))
        found |= {letter.upper(), section.replace("_", ".")}
    for numbers, letter, section in _IN_DOCSTRING.findall(docstring):
        found |= _rules(numbers.replace(" and ", ","))
        found |= {letter.upper(), section}
    return found - {""}


def _rules(numbers: str) -> set[str]:
    found = set()
    for part in filter(None, (part.strip() for part in numbers.split(","))):
        first, _, last = (re.sub(r"[a-e]", "", end) for end in part.partition("-"))
        found |= {str(number) for number in range(int(first), int(last or first) + 1)}
    return found


def _tests(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


if __name__ == "__main__":
    sys.exit(main())
