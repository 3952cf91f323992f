"""The final value of a generator (rules 42-44, A5)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.accumulation import UNREAD_LIMIT_BYTES, Accumulator
from protocol.messages import Absence, Missing


def final(chunks: list[Any], how: Any = None, *, is_read: bool = True) -> Any:
    accumulator = Accumulator(how, is_read=is_read)
    for chunk in chunks:
        accumulator.add((chunk,))
    outcome = accumulator.final()
    return outcome if isinstance(outcome, Missing) else outcome[0]


@given(st.lists(st.integers(), min_size=1))
def test_rule_42_integers_are_summed(chunks: list[int]) -> None:
    assert final(chunks) == sum(chunks)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_rule_42_floats_are_folded_from_the_left(chunks: list[float]) -> None:
    expected = chunks[0]
    for chunk in chunks[1:]:
        expected += chunk
    assert final(chunks) == expected


@given(st.lists(st.text(), min_size=1))
def test_rule_42_strings_are_joined(chunks: list[str]) -> None:
    assert final(chunks) == "".join(chunks)


@given(st.lists(st.binary(), min_size=1))
def test_a5_bytes_are_joined(chunks: list[bytes]) -> None:
    assert final(chunks) == b"".join(chunks)


def test_rule_42_a_bool_sums_as_an_int() -> None:
    assert final([True, True, 3]) == 5


@pytest.mark.parametrize("chunks", [[1, 2.0], ["a", b"b"], [[1], [2]], [None, None], [1, 2, "x"]])
def test_rule_44_chunks_that_cannot_be_added_leave_no_value_and_name_the_types(
    chunks: list[Any],
) -> None:
    missing = final(chunks)
    assert missing.absence is Absence.NO_VALUE
    assert type(chunks[0]).__name__ in missing.reason
    assert type(chunks[-1]).__name__ in missing.reason
    assert "cannot be added" in missing.reason


def test_rule_44_bug_b8_a_third_chunk_does_not_begin_anew() -> None:
    assert isinstance(final([[1], [2], [3]]), Missing)


def test_rule_42_one_chunk_of_any_type_is_the_final_value() -> None:
    assert final([{"a": 1}]) == {"a": 1}


def test_rule_44_bug_b9_no_chunk_is_no_value() -> None:
    assert final([]) == Missing(Absence.NO_VALUE, "the generator yielded no chunk")


def test_rule_42_outputs_are_added_each_for_itself() -> None:
    accumulator = Accumulator(None, is_read=True)
    accumulator.add((1, "a"))
    accumulator.add((2, "b"))
    assert accumulator.final() == (3, "ab")


def test_chunks_of_different_width_leave_no_value() -> None:
    accumulator = Accumulator(None, is_read=True)
    accumulator.add((1, 2))
    accumulator.add((3,))
    assert isinstance(accumulator.final(), Missing)


def test_a5_accumulate_list_gives_the_chunks() -> None:
    assert final([[1], 2, "x"], list) == [[1], 2, "x"]


def test_a5_a_folding_function_starts_with_the_first_chunk() -> None:
    assert final([[1], [2], [3]], lambda sums, chunk: sums + chunk) == [1, 2, 3]


def test_a5_what_a_folding_function_raises_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        final([1, 0], lambda left, right: left // right)


def test_a5_an_unread_value_is_not_kept_beyond_its_limit() -> None:
    block = b"x" * (UNREAD_LIMIT_BYTES // 2)
    assert isinstance(final([block] * 3, is_read=False), Missing)
    assert "not kept" in final([block] * 3, is_read=False).reason
    assert len(final([block] * 3, is_read=True)) == 3 * len(block)
    assert final([1] * 10, is_read=False) == 10
