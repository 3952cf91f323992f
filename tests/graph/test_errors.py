"""The errors cross processes whole."""

from __future__ import annotations

import pickle

import pytest

from orchestrator.errors import (
    FlowDefinitionError,
    FlowError,
    InvalidFlowError,
    MissingDefaultError,
    MissingDefaults,
    NotSerializableError,
    SharedPrimitiveError,
    TerminalInputError,
)

MEMBERS = tuple(
    MissingDefaults(f"add#{number}", "job.py:3", ("def add(x)", "        -")) for number in range(2)
)


@pytest.mark.parametrize(
    "error",
    [
        FlowDefinitionError(("one",)),
        FlowDefinitionError(("one", "two")),
        NotSerializableError("the constant", "it is a lock"),
        SharedPrimitiveError("'lock', which node 'a' uses,", "threading.Lock"),
        TerminalInputError("'a'", "input()", "job.py:3"),
        MissingDefaultError(MEMBERS, 2),
        MissingDefaultError(MEMBERS[:1], 1),
    ],
)
def test_an_error_survives_pickling_both_ways(error: FlowError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.args) == (type(error), str(error), error.args)
    assert vars(again) == vars(error)
    assert isinstance(again, InvalidFlowError)
