"""Where in the user's code something was written."""

from __future__ import annotations

import sys
import types


def caller_place(above: int = 0) -> str:
    """``file:line`` of the code that called the function that asks; ``above`` goes further out."""
    frame = sys._getframe(above + 2)  # noqa: SLF001 - the frame alone; inspect.stack() reads sources
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def definition_place(body: object) -> str | None:
    """``file:line`` of a function's definition; None for what is not a function in Python."""
    if not isinstance(body, types.FunctionType):
        return None
    return f"{body.__code__.co_filename}:{body.__code__.co_firstlineno}"
