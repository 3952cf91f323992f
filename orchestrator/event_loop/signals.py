"""What signals do while a loop runs in the main thread.

===========  ========================================================================================
SIGINT       first: KeyboardInterrupt is thrown into the root task at its await, which may clean up
             with awaits; when it has ended the other tasks are cancelled and the run raises
             KeyboardInterrupt. If the root task had ended before, the others are cancelled at once.
             One that comes when nothing is left to be cancelled is raised by the run.
             second, of either kind: raised at once, wherever the code is.
SIGTERM      the same with SystemExit(143).
SIGUSR2      all tasks are written to standard error: what each waits for, and where.
===========  ========================================================================================

A task that computes without awaiting is not disturbed by the first signal: it is delivered when the
loop gets its turn. A handler that the application has installed is left alone, so under one's own
handler, or inside another event loop, a signal does what it did before. All is restored when the
run ends.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from orchestrator.event_loop.tasks import TaskHandle

_SIGTERM_STATUS: Final = 128 + signal.SIGTERM


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Inside, SIGTERM raises SystemExit(143) before and after runs as well, as SIGINT does its error."""
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def signals_end_run(
    interrupt: Callable[[BaseException], None], wakeup_fd: int, describe: Callable[[], str]
) -> Iterator[None]:
    """Install the handlers; does nothing outside the main thread.

    Args:
        interrupt: told of the first signal, inside the handler: it must only take a note.
        wakeup_fd: written to on every signal, so that the poller wakes.
        describe: what to write on SIGUSR2.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    has_interrupted = False

    def end(signum: int, _frame: FrameType | None) -> None:
        nonlocal has_interrupted
        error = KeyboardInterrupt() if signum == signal.SIGINT else SystemExit(_SIGTERM_STATUS)
        if has_interrupted:
            raise error
        has_interrupted = True
        interrupt(error)

    def dump(_signum: int, _frame: FrameType | None) -> None:
        sys.stderr.write(describe() + "\n")

    wanted: dict[int, tuple[tuple[Any, ...], Callable[[int, FrameType | None], None]]] = {
        signal.SIGINT: ((signal.default_int_handler,), end),
        signal.SIGTERM: ((signal.SIG_DFL, _exit), end),
        signal.SIGUSR2: ((signal.SIG_DFL,), dump),
    }
    before = {number: signal.getsignal(number) for number in wanted}
    ours = [number for number, (defaults, _) in wanted.items() if before[number] in defaults]
    outer_fd = None
    try:
        # SIGINT is the first to be ours and the last to be let go: what it raises in between would
        # leave the others installed, and a descriptor that will soon be somebody else's.
        for number in ours:
            signal.signal(number, wanted[number][1])
        outer_fd = signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
        if outer_fd != -1:  # another loop's, which we run inside of: it needs to know of its signals
            signal.set_wakeup_fd(outer_fd)
        yield
    finally:
        if outer_fd is not None:
            signal.set_wakeup_fd(outer_fd)
        for number in reversed(ours):
            signal.signal(number, before[number])


def _exit(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(_SIGTERM_STATUS)


class Interruption:
    """The orderly end of a run: ``error`` is raised in the root task, then the others are cancelled."""

    def __init__(self, root: TaskHandle[Any], error: BaseException) -> None:
        self.error = error
        self.is_late = not root.is_living  # so the run itself must raise the error
        self._has_cancelled = False
        if root.is_living:
            root.interrupt(error)

    def cancel_once(self, tasks: Iterable[TaskHandle[Any]]) -> None:
        """The root task has ended: cancel the others, the first time this is called."""
        if not self._has_cancelled:
            self._has_cancelled = True
            for task in list(tasks):
                task.cancel()
