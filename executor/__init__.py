"""Worker processes: bodies, the pool that runs them, and the pool as an executor.

``ProcessExecutor`` is imported when it is first used: a worker needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from executor.process_executor import ProcessExecutor

__all__ = ["ProcessExecutor"]


def __getattr__(name: str) -> Any:
    if name != "ProcessExecutor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from executor.process_executor import ProcessExecutor  # noqa: PLC0415

    globals()[name] = ProcessExecutor
    return ProcessExecutor
