"""The algebra of generations, the tuples that version a node's data (SEMANTICS 3-12, 23).

``(g,)`` is the final value of run g (run level 0), ``(g, k)`` chunk k of run g (run level 1), and
``None`` stands for nothing yet. More elements mean less final: ``(0, 0) < (0, 1) < (0,) < (1, 0)``.
"""

from __future__ import annotations

from typing import TypeAlias

Generation: TypeAlias = tuple[int, ...] | None


def compare(a: Generation, b: Generation) -> int:
    """-1, 0 or 1 as a is before, equal to or after b (rule 6).

    A prefix is *after* what it is a prefix of: it completes it. None is before everything.

    >>> compare((0, 7), (0,)), compare((0,), (1, 0)), compare(None, (0, 0)), compare((1,), (1,))
    (-1, -1, -1, 0)
    """
    if a is None or b is None:
        return (a is not None) - (b is not None)
    for x, y in zip(a, b, strict=False):
        if x != y:
            return 1 if x > y else -1
    return (len(a) < len(b)) - (len(a) > len(b))


def clip(generation: Generation, run_level: int) -> Generation:
    """The greatest generation of at most ``run_level + 1`` elements that is not after this (rule 7).

    >>> clip((1, 2), 0), clip((0, 0), 0), clip((1, 2, 3), 1), clip((2, 0, 5), 1)
    ((0,), None, (1, 1), (1,))
    """
    if generation is None or len(generation) <= run_level + 1:
        return generation
    kept = list(generation[: run_level + 1])
    while kept and kept[-1] == 0:
        kept.pop()
    if not kept:
        return None
    kept[-1] -= 1
    return tuple(kept)


def inc(generation: Generation, run_level: int) -> tuple[int, ...]:
    """The least generation of ``run_level + 1`` elements that is after this (rules 8, 11).

    What a node emits next: a final value is ``inc(g, 0)``, a chunk ``inc(g, 1)``.

    >>> inc(None, 1), inc((0, 0), 1), inc((0, 1), 0), inc((0,), 1), inc((0, 0), 2)
    ((0, 0), (0, 1), (0,), (1, 0), (0, 1, 0))

    Raises:
        ValueError: nothing is after ``()``.
    """
    length = run_level + 1
    if generation is None:
        return (0,) * length
    if not generation:
        raise ValueError("nothing comes after the generation ()")
    if len(generation) > length:
        return generation[:length]
    return (*generation[:-1], generation[-1] + 1, *(0,) * (length - len(generation)))


def parent(generation: Generation) -> Generation:
    """What the generation is a part of (rule 9): a chunk's run, a run's whole.

    >>> parent((1, 2)), parent((1,)), parent(()), parent(None)
    ((1,), (), None, None)
    """
    return generation[:-1] if generation else None


def main(generation: Generation) -> Generation:
    """The run that the generation belongs to (rule 9).

    >>> main((2, 5)), main((2,)), main(()), main(None)
    ((2,), (2,), (), None)
    """
    return generation[:1] if generation else generation


def stitch(generation: Generation, defaulted: int) -> Generation:
    """A producer's generation as a consumer counts that took its default so many times (rule 10).

    >>> stitch((0, 3), 1), stitch(None, 1), stitch(None, 0), stitch((), 2)
    ((1, 3), (0,), None, ())
    """
    if generation is None:
        return (defaulted - 1,) if defaulted else None
    if not generation:
        return generation
    return (generation[0] + defaulted, *generation[1:])


def readable(generation: Generation, run_level: int) -> Generation:
    """The generation whose data a node at ``generation`` shows at a run level; None: none (rule 12).

    Chunks are not readable after their run; in the middle of a run the final value is the one before.

    >>> readable((0,), 0), readable((0,), 1), readable((2, 5), 1), readable((2, 5), 0)
    ((0,), None, (2, 5), (1,))
    >>> readable((0, 5), 0)
    """
    if generation is None or len(generation) <= run_level:
        return None
    if len(generation) == run_level + 1:
        return generation
    shown = (*generation[:run_level], generation[run_level] - 1)
    return shown if shown[-1] >= 0 else None


def is_stale(producer: Generation, consumer: Generation, *, run_level: int, defaulted: int = 0) -> bool:
    """Whether an edge has nothing new for its consumer (rule 23).

    A stream's first chunk is new to a consumer; a final value only when it is complete.

    >>> is_stale((0, 0), None, run_level=1), is_stale((0, 0), None, run_level=0)
    (False, True)
    """
    return compare(stitch(clip(producer, run_level), defaulted), consumer) <= 0
