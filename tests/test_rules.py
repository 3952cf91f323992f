"""Every rule of the semantics has a test that cites it, and what counts as citing."""

from __future__ import annotations

import pytest

from tests.rules import cited_by, uncited


def test_every_rule_is_cited_by_a_test() -> None:
    assert not uncited()  # as "python -m tests.rules" prints them


@pytest.mark.parametrize(
    ("name", "docstring", "rules"),
    [
        ("test_rule_37_a_class_keeps_its_state", "", {"37"}),
        ("test_rules_55_to_57_a_cancel", "", {"55", "56", "57"}),
        ("test_rule_17_and_38_a_group", "", {"17", "38"}),
        ("test_rules_19_33_a_thing", "", {"19", "33"}),
        ("test_a4_values_and_i10", "", {"A4", "I10"}),
        ("test_16_3_a_context", "", {"16.3"}),
        ("test_a_lock_is_refused_rule_16_2", "", {"16.2"}),
        (
            "test_nothing",
            "Proves rules 42-44, 59a and A5; see 16.10 and I4.",
            {"42", "43", "44", "59", "A5", "16.10", "I4"},
        ),
        ("test_in_37_steps_of_16_bytes", "It takes 37 steps and 3.5 s.", set()),
    ],
)
def test_a_test_cites_rules_in_its_name_and_its_docstring(
    name: str, docstring: str, rules: set[str]
) -> None:
    assert cited_by(name, docstring) == rules
