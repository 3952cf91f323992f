"""What a described body does, step by step: real bodies and the reference both do what this says.

Every value that a body makes carries a digest of all that the run has read, so two runs that read
different things make different values.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from typing import Any, TypeAlias

from tests.differential.description import Op, Script

END = ("end",)
CANCELLED = ("cancelled",)

Action: TypeAlias = tuple[Any, ...]
"""``(take, port)`` is answered by ``(chunk, value)`` or END; ``(emit, value)`` by None or CANCELLED;
``(cancel, port)`` by anything. The last is ``(return, value)``, ``(raise, value)``, ``(raise,)``,
``(stop,)`` (nothing is given), ``(skip, return or raise)`` or ``(reraise,)``."""

Steps: TypeAlias = Generator[Action, Any, None]


def new_state() -> dict[str, int]:
    """What a class keeps from run to run."""
    return {"run": -1, "memory": 0}


def perform(script: Script, given: tuple[Any, ...], state: dict[str, int]) -> Steps:
    """The actions of one run. ``given`` has a value for each port, None where there is a stream."""
    yield from _Run(script, given, state).steps()


class _Run:
    def __init__(self, script: Script, given: tuple[Any, ...], state: dict[str, int]) -> None:
        state["run"] += 1
        self._script = script
        self._state = state
        self._emitted = 0
        self._digest = state["memory"]
        self._has_met_end = False
        self._log("given", given)

    def steps(self) -> Steps:
        script = self._script
        for op, port in self._operations():
            if op == "emit":
                answer = yield ("emit", self._value(self._emitted))
                self._emitted += 1
                if answer == CANCELLED:
                    self._log("cancelled", self._emitted)
                    if script.on_cancel != "decline":
                        yield self._end_by_cancel()
            elif op == "cancel":
                yield ("cancel", port)
            else:
                yield from self._read(port, to_the_end=op == "drain")
        yield self._end()

    def _operations(self) -> Generator[Op, None, None]:
        yield from self._script.prologue
        for _ in range(self._script.rounds):
            self._has_met_end = False
            yield from self._script.loop
            if self._has_met_end:
                break
        yield from self._script.epilogue

    def _read(self, port: int, *, to_the_end: bool) -> Steps:
        while True:
            answer = yield ("take", port)
            self._log(port, answer)
            if answer == END:
                self._has_met_end = True
                return
            if not to_the_end:
                return

    def _end_by_cancel(self) -> Action:
        how = self._script.on_cancel
        if how == "raise":
            return ("raise", self._value("cancelled"))
        return ("reraise",) if how == "propagate" else ("stop",)

    def _end(self) -> Action:
        how = self._script.ends
        if self._script.skips and self._digest % 3 == 0:
            return ("skip", "return" if how == "return" else "raise")
        if how in ("return", "raise"):
            return (how, self._value("final"))
        return ("raise",) if how == "bare" else ("stop",)

    def _log(self, *entry: object) -> None:
        self._digest = zlib.crc32(repr(entry).encode(), self._digest)
        if not self._emitted:
            # What comes after the first chunk depends on where a cancel is thrown: it is not kept.
            self._state["memory"] = self._digest

    def _value(self, label: object) -> Any:
        name = self._script.name
        digest = zlib.crc32(repr((name, self._state["run"], label)).encode(), self._digest)
        return make_value(self._script, f"{name}.{label}", self._emitted, digest)


def make_value(script: Script, label: str, index: int, digest: int) -> Any:
    """A value of the script's kind; with several outputs, a tuple of them."""
    if script.outputs == 1:
        return _single(script.value, label, index, digest)
    return tuple(_single(script.value, label, index, digest + o) for o in range(script.outputs))


def _single(kind: str, label: str, index: int, digest: int) -> Any:
    return {
        "str": f"{label}:{digest:08x};",
        "bytes": digest.to_bytes(5, "big"),
        "int": digest,
        "float": digest / 2,
        "bool": digest % 2 == 1,
        "mixed": digest if index % 2 else digest / 2,
        "none": None,
        "list": [label, digest],
        "items": [digest + item for item in range(digest % 5)],
    }[kind]


def map_element(name: str, skips: bool, element: Any, beside: Any) -> str | None:
    """What a mapped body gives; None stands for SKIP."""
    digest = zlib.crc32(repr((name, element, beside)).encode())
    return None if skips and digest % 3 == 0 else f"{name}:{digest:08x};"
