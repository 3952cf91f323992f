"""What the names of a flow or a group stand for, once it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from orchestrator.errors import MOST_SHOWN
from orchestrator.graph.draft import UNCONNECTED, DraftNode, OutputRef, Placeholder, Scope
from orchestrator.graph.nearest import did_you_mean


class Reader(Protocol):
    """A node, as messages call it."""

    @property
    def label(self) -> str: ...


class Names:
    """The names of one flow or one group, all defined.

    ``problems`` collects a sentence for each name that stands for nothing, once for each.

    Args:
        scope: the flow or group; placeholders of another one are left as they are.
        held: what was assigned to each name.
        called: how messages call the flow or group.
    """

    def __init__(self, scope: Scope, held: Mapping[str, object], called: str) -> None:
        self.problems: list[str] = []
        self._scope = scope
        self._held = held
        self._called = called
        self._complained: set[str] = set()

    def check(self, placeholders: Iterable[Placeholder]) -> None:
        """Note each name that was read and stands for nothing, whoever read it (SEMANTICS 14)."""
        for placeholder in placeholders:
            self.resolve(placeholder, None)

    def resolve(self, argument: object, reader: Reader | None) -> object:
        """An argument, with a name of this scope replaced by what it stands for.

        A name may stand for a name or for one output, as where a group returns its argument.
        UNCONNECTED where it stands for nothing, which is among ``problems`` then.
        """
        found: Any = argument
        output: int | None = None
        passed: list[str] = []
        while True:
            if isinstance(found, OutputRef):
                if output:
                    return self._complain(passed[-1], self._no_such_output(passed[-1], output, found))
                found, output = found.of, found.index
            elif isinstance(found, Placeholder) and found.owner is self._scope:
                held = self._held.get(found.name, UNCONNECTED)
                if found.name in passed:
                    return self._complain(found.name, self._of_itself(found))
                if not isinstance(held, DraftNode | OutputRef | Placeholder):
                    return self._complain(found.name, self._undefined(found, held, reader))
                passed.append(found.name)
                found = held
            elif output is not None and isinstance(found, DraftNode | Placeholder):
                return OutputRef(found, output)
            else:
                return found

    def _complain(self, name: str, problem: str) -> object:
        if name not in self._complained:
            self._complained.add(name)
            self.problems.append(problem)
        return UNCONNECTED

    def _of_itself(self, placeholder: Placeholder) -> str:
        return f"{placeholder.name!r} (at {placeholder.place}) stands for nothing but itself"

    def _no_such_output(self, name: str, output: int, stands_for: OutputRef) -> str:
        return (
            f"output {output} of {name!r} is read, but {name!r} stands for output {stands_for.index} "
            f"of {stands_for.of!r}, and so has output 0 only"
        )

    def _undefined(self, placeholder: Placeholder, held: object, reader: Reader | None) -> str:
        name = placeholder.name
        by = self._called if reader is None else reader.label
        where = f"{by} reads {name!r} (at {placeholder.place})"
        if held is not UNCONNECTED:
            return (
                f"{where} before it was defined, and it is not a node but {held!r}; "
                "define it before its first use"
            )
        return f"{where}, which is not defined in {self._called}{self._near(name)}"

    def _near(self, name: str) -> str:
        """A hint, as long as somebody will read it: to search all names takes milliseconds."""
        if len(self.problems) >= MOST_SHOWN:
            return ""
        return did_you_mean(name, [each for each, of in self._held.items() if isinstance(of, DraftNode)])
