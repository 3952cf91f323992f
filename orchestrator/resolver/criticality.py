"""How far each node is from the last result that depends on it: the critical path goes first."""

from __future__ import annotations

from collections.abc import Iterable


def criticalities(nodes: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """For each node the number of nodes on the longest path from it, itself not counted.

    ``edges`` are (producer, consumer) and hold no cycle: those that stay a generation behind are left
    out. O(nodes + edges), by taking nodes from the sinks on (Kahn 1962, Comm. ACM 5:558).

    >>> criticalities(4, [(0, 1), (1, 2), (0, 3)])
    [2, 1, 0, 0]
    """
    producers: list[list[int]] = [[] for _ in range(nodes)]
    unseen = [0] * nodes  # consumers that have not been taken
    for producer, consumer in edges:
        producers[consumer].append(producer)
        unseen[producer] += 1
    longest = [0] * nodes
    taken = [node for node in range(nodes) if not unseen[node]]
    while taken:
        node = taken.pop()
        for producer in producers[node]:
            longest[producer] = max(longest[producer], longest[node] + 1)
            unseen[producer] -= 1
            if not unseen[producer]:
                taken.append(producer)
    return longest
