"""How an outcome travels: kinds and fields as plain data, the exceptions of nodes beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias, get_args, get_type_hints

import msgspec

from orchestrator.runtime.outcome import Outcome
from protocol.values import Value


@dataclass(frozen=True, slots=True)
class Crashed:
    """The coordinator could not run the flow to an outcome: a defect, or its pool is broken."""

    detail: str


AnyOutcome: TypeAlias = Outcome | Crashed

_KINDS: Final[dict[str, Any]] = {kind.__name__: kind for kind in (*get_args(Outcome), Crashed)}
_CAUSE: Final = "cause"  # the field with a value of the user's
_PARTS: Final = "failures"  # the field with outcomes


def encode_outcome(outcome: AnyOutcome) -> tuple[bytes, list[Value]]:
    """The outcome, and the values that it refers to by their place in the list."""
    causes: list[Value] = []
    return msgspec.msgpack.encode(_plain(outcome, causes)), causes


def decode_outcome(encoded: bytes, causes: Sequence[Value]) -> AnyOutcome:
    """The outcome again.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    try:
        return _outcome(msgspec.msgpack.decode(encoded, type=_Plain), causes)
    except (LookupError, TypeError, AttributeError) as error:
        raise msgspec.ValidationError(f"an outcome that does not fit together: {error!r}") from error


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    fields: dict[str, Any]


def _plain(outcome: AnyOutcome, causes: list[Value]) -> _Plain:
    given = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    if given.get(_CAUSE) is not None:
        causes.append(given[_CAUSE])
        given[_CAUSE] = len(causes) - 1
    if _PARTS in given:
        given[_PARTS] = [_plain(part, causes) for part in given[_PARTS]]
    return _Plain(type(outcome).__name__, given)


def _outcome(plain: _Plain, causes: Sequence[Value]) -> AnyOutcome:
    kind = _KINDS[plain.kind]
    hints = get_type_hints(kind)
    given = {name: _field(name, value, hints[name], causes) for name, value in plain.fields.items()}
    outcome: AnyOutcome = kind(**given)
    return outcome


def _field(name: str, value: Any, hint: Any, causes: Sequence[Value]) -> Any:
    if name == _CAUSE:
        return None if value is None else causes[value]
    if name == _PARTS:
        return tuple(_outcome(part, causes) for part in msgspec.convert(value, list[_Plain]))
    return msgspec.convert(value, hint)
