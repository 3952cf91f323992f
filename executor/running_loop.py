"""Which asyncio loop this thread is said to run, looked at without importing asyncio.

``asyncio.run`` refuses to run inside a running loop. Where several bodies share a thread, a loop may
only be called running while code that belongs to it is stepped.
"""

from __future__ import annotations

import sys
from typing import Any

AsyncioLoop = Any


def leave_running_loop() -> AsyncioLoop | None:
    """From now on this thread runs no asyncio loop; returns the one it ran."""
    events: Any = sys.modules.get("asyncio.events")
    if events is None:
        return None
    loop = events._get_running_loop()  # noqa: SLF001 - made for implementors of event loops
    if loop is not None:
        events._set_running_loop(None)  # noqa: SLF001 - as above
    return loop


def enter_running_loop(loop: AsyncioLoop | None) -> None:
    """From now on this thread runs ``loop``, which had been left."""
    if loop is not None:
        sys.modules["asyncio.events"]._set_running_loop(loop)  # noqa: SLF001 - as above
