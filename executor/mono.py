"""Reports of bodies that are plain functions: they return or fail, and know no stream."""

# ruff: noqa: ARG002 - what is never said needs no arguments

from __future__ import annotations

from protocol.messages import AttemptKey
from protocol.values import Value


class MonoReports:
    """The part of ``executor.host.Reports`` that such a body's host never makes."""

    def chunks(self, key: AttemptKey, first: int, count: int, width: int, values: list[Value]) -> None:
        raise AssertionError(key)

    def read(self, key: AttemptKey, port: int, upto: int) -> None:
        raise AssertionError(key)

    def wait(self, key: AttemptKey, port: int, chunk: int, resting_on: int) -> None:
        raise AssertionError(key)

    def cancel_stream(self, key: AttemptKey, port: int) -> None:
        raise AssertionError(key)

    def cancel_thrown(self, key: AttemptKey, merged: int, emitted: int) -> None:
        raise AssertionError(key)
