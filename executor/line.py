"""Who is next: attempts that wait for a worker, a line for each run, served in turn.

So one run with a million small bodies delays another by one body, not by a million.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from executor.host import Invocation
from protocol.messages import AttemptKey, RunId


class Line:
    """Invocations in the order in which they are to be served; iterating gives their keys, by run."""

    def __init__(self) -> None:
        # The run that is served next stands first. Invariant: none is empty.
        self._runs: OrderedDict[RunId, OrderedDict[AttemptKey, Invocation]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __contains__(self, key: AttemptKey) -> bool:
        waiting = self._runs.get(key.run)
        return waiting is not None and key in waiting

    def __iter__(self) -> Iterator[AttemptKey]:
        for waiting in self._runs.values():
            yield from waiting

    def add(self, invocation: Invocation) -> None:
        """Let one wait, behind the others of its run."""
        key = invocation.key
        waiting = self._runs.get(key.run)
        if waiting is None:
            waiting = self._runs[key.run] = OrderedDict()
        waiting[key] = invocation

    def first(self) -> Invocation:
        """The one to be served next; there must be one."""
        waiting = next(iter(self._runs.values()))
        return next(iter(waiting.values()))

    def take(self) -> Invocation:
        """Serve the first; its run stands last then."""
        run, waiting = self._runs.popitem(last=False)
        _, invocation = waiting.popitem(last=False)
        if waiting:
            self._runs[run] = waiting
        return invocation

    def remove(self, key: AttemptKey) -> bool:
        """Serve it no more; False if it does not wait here."""
        waiting = self._runs.get(key.run)
        if waiting is None or waiting.pop(key, None) is None:
            return False
        if not waiting:
            del self._runs[key.run]
        return True

    def clear(self) -> None:
        self._runs.clear()
