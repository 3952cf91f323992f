"""How commands end: exit codes, and a sentence on standard error for what went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import click

from orchestrator.cli import show
from orchestrator.errors import InvalidFlowError

FAILED: Final = 1
INVALID: Final = 2
UNAVAILABLE: Final = 69  # EX_UNAVAILABLE of sysexits.h: no coordinator is there, or it has ended
MISMATCH: Final = 78  # EX_CONFIG: the coordinator is of another version
INTERRUPTED: Final = 130


def fail(message: str, code: int) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


@contextmanager
def reporting() -> Iterator[None]:
    """Turn what a command raises into a message and an exit code."""
    try:
        yield
        _flush()
    except BrokenPipeError as error:
        if show.is_of_node(error):
            fail(show.failure(error), FAILED)
        raise  # whoever read what we print has left: click ends us without a word
    except InvalidFlowError as error:
        fail(str(error), INVALID)
    except KeyboardInterrupt as error:
        if not show.is_of_node(error):
            click.echo("interrupted", err=True)
            sys.exit(INTERRUPTED)
        fail(show.failure(error), FAILED)
    except click.ClickException:
        raise
    except BaseException as error:
        # SystemExit too: a body that calls sys.exit() has failed, whatever code it gave.
        if not isinstance(error, Exception) and not show.is_of_node(error):
            raise
        code = _code_of_service(error)
        fail(show.failure(error) if code is None else str(error), FAILED if code is None else code)


def _flush() -> None:
    """Have standard output take what is left; what nobody reads any more is no failure of the flow."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # Else the interpreter complains as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _code_of_service(error: BaseException) -> int | None:
    """The code for what is wrong with a coordinator elsewhere; None for other errors."""
    if show.is_of_node(error):
        return None
    # Only here: the other commands start faster without.
    from orchestrator.service.errors import (  # noqa: PLC0415
        CoordinatorLost,
        ServiceError,
        VersionMismatch,
    )
    from protocol.directory import InsecureTransport  # noqa: PLC0415
    from protocol.endpoints import EndpointError, EndpointInUse, NobodyListens  # noqa: PLC0415

    if isinstance(error, VersionMismatch):
        return MISMATCH
    if isinstance(error, NobodyListens | CoordinatorLost):
        return UNAVAILABLE
    if isinstance(error, EndpointInUse | ServiceError):
        return FAILED
    return INVALID if isinstance(error, EndpointError | InsecureTransport) else None
