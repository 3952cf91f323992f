"""The longest way from a node to a result."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.resolver.criticality import criticalities

pairs = st.tuples(st.integers(0, 9), st.integers(0, 9))
acyclic = st.lists(pairs.filter(lambda edge: edge[0] != edge[1]), max_size=30).map(
    lambda edges: [(min(edge), max(edge)) for edge in edges]
)


@given(acyclic)
def test_it_is_the_length_of_the_longest_path(edges: list[tuple[int, int]]) -> None:
    @cache
    def longest(node: int) -> int:
        return max(
            (longest(consumer) + 1 for producer, consumer in edges if producer == node), default=0
        )

    assert criticalities(10, edges) == [longest(node) for node in range(10)]


def test_a_long_chain_needs_no_recursion() -> None:
    assert criticalities(10_000, [(node, node + 1) for node in range(9_999)])[0] == 9_999
